"""A profile and the command line's settings laid over a space file, value by value.

For every value the overlay remembers where it was written, so that a fault is reported at the
place that the user has to change.
"""

import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from dilsearch.space.locate import toml_fault

KeyPath: TypeAlias = tuple[str | int, ...]
"""Keys from the top of the document down to a value; a position in a list counts from 0."""

SITES_OPTION: Final = "--sites"
_LIST_OF_TABLES = "sites"
_SELECTED = {"granularity": "site", "initial": "present"}
"""What the command line's sites have unless it says otherwise: the least that suits any network."""
_SITES_EXAMPLE = """{select = "layer4.*", lower = 1, upper = 8}"""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a value was written: in the file's own sections unless one of these is given.

    Args:
        profile: The profile whose section holds it.
        setting: What the command line says.
        option: The option it is said with.
    """

    profile: str | None = None
    setting: str | None = None
    option: str = "--set"

    @property
    def words(self) -> str:
        """The command line's words, as a sentence begins with them; empty for a file's."""
        return "" if self.setting is None else f"{self.option} {self.setting}: "


@dataclass(frozen=True, slots=True)
class Override:
    """One ``--set key=value`` of the command line, read but not yet laid over anything."""

    text: str
    keys: tuple[str, ...]
    value: Any


@dataclass(slots=True)
class Overlay:
    """A document that other tables are laid over, with the origin of every value."""

    document: dict[str, Any]
    origins: dict[KeyPath, Origin] = field(default_factory=dict)

    def origin(self, path: KeyPath) -> Origin:
        """Where the value at ``path``, or the nearest table or list around it, was written."""
        for length in range(len(path), 0, -1):
            if path[:length] in self.origins:
                return self.origins[path[:length]]
        return Origin()

    def lay(self, table: Mapping[str, Any], origin: Origin) -> None:
        """Lay a nested table over the document: tables key by key, all else replaced whole."""
        self.document = self._merged(self.document, table, origin, ())

    def select(self, chosen: Sequence[tuple[str, Mapping[str, Any]]]) -> None:
        """Put the command line's sites in the place of the document's: words and tables."""
        self.document = {**self.document, _LIST_OF_TABLES: [dict(table) for _, table in chosen]}
        inside = [path for path in self.origins if path[0] == _LIST_OF_TABLES]
        for path in inside:
            del self.origins[path]
        for index, (text, _) in enumerate(chosen):
            self.origins[_LIST_OF_TABLES, index] = Origin(setting=text, option=SITES_OPTION)

    def set(self, override: Override) -> str | None:
        """Lay one override over the document; what is wrong with its key, or None."""
        origin = Origin(setting=override.text)
        if override.keys[0] == _LIST_OF_TABLES:
            return self._set_in_list(override, origin)
        nested = override.value
        for key in reversed(override.keys):
            nested = {key: nested}
        self.lay(nested, origin)
        return None

    def _set_in_list(self, override: Override, origin: Origin) -> str | None:
        tables = self.document.get(_LIST_OF_TABLES)
        count = len(tables) if isinstance(tables, list) else 0
        number = override.keys[1] if len(override.keys) == 3 else ""
        if not (number.isdecimal() and 1 <= int(number) <= count):
            return (
                f"[[{_LIST_OF_TABLES}]] is a list; give a number up to {count} and a key, "
                f"such as {_LIST_OF_TABLES}.1.upper=30"
            )
        assert isinstance(tables, list)
        index, key = int(number) - 1, override.keys[2]
        changed = [dict(table) for table in tables]
        changed[index][key] = override.value
        self.document = {**self.document, _LIST_OF_TABLES: changed}
        self.origins[_LIST_OF_TABLES, index, key] = origin
        return None

    def _merged(
        self, base: Mapping[str, Any], table: Mapping[str, Any], origin: Origin, at: KeyPath
    ) -> dict[str, Any]:
        if at and base.get("name") != table.get("name", base.get("name")):
            # Another network or data set: the keys of the one before it mean nothing there.
            base = {}
            self.origins[at] = origin
        merged = dict(base)
        for key, value in table.items():
            path = (*at, key)
            below = base.get(key)
            if isinstance(value, dict) and isinstance(below, dict):
                merged[key] = self._merged(below, value, origin, path)
            else:
                self.origins[path] = origin
                merged[key] = value
        return merged


def read_overrides(texts: Iterable[str]) -> tuple[list[Override], list[str]]:
    """The command line's settings, and what is wrong with those that cannot be read.

    Settings of a ``name`` come first, since a new name empties its section.
    """
    overrides: list[Override] = []
    faults: list[str] = []
    for text in texts:
        key, equals, value = text.partition("=")
        keys = tuple(part.strip() for part in key.split("."))
        if not equals or not all(keys):
            faults.append(f"--set {text}: write it as key=value, such as train.batch_size=8")
            continue
        try:
            overrides.append(Override(text, keys, _read_value(value.strip())))
        except tomllib.TOMLDecodeError as error:
            faults.append(
                f"--set {text}: the value is not TOML ({toml_fault(error)}); "
                "check its quotes and brackets"
            )
    return sorted(overrides, key=lambda override: override.keys[-1] != "name"), faults


def read_sites(texts: Iterable[str]) -> tuple[list[tuple[str, dict[str, Any]]], list[str]]:
    """The command line's sites as tables of a section, each with its words, and what is wrong.

    A text is a glob, or an inline table with the keys of a [[sites]] section.
    """
    chosen: list[tuple[str, dict[str, Any]]] = []
    faults: list[str] = []
    for text in texts:
        table: Any = {"select": text}
        if text.strip().startswith("{"):
            try:
                document = tomllib.loads(f"value = {text}")
            except tomllib.TOMLDecodeError as error:
                document, why = {}, toml_fault(error)
            else:
                why = "there is more than one table"
            if document.keys() != {"value"}:
                faults.append(
                    f"{SITES_OPTION} {text}: it is not TOML ({why}); write it as in "
                    f"{_SITES_EXAMPLE}"
                )
                continue
            table = document["value"]
        elif "=" in text or '"' in text:
            faults.append(
                f"{SITES_OPTION} {text}: it is neither a glob nor a table in braces; write it as "
                f"in {_SITES_EXAMPLE}"
            )
            continue
        chosen.append((text, {**_SELECTED, **table}))
    return chosen, faults


def _read_value(text: str) -> Any:
    """A TOML value; bare words, which are none, are text."""
    try:
        document = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        if text.startswith(("[", "{", '"', "'")):
            raise
        return text
    return document["value"] if document.keys() == {"value"} else text
