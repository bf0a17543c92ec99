"""The one value that passes between stages: the dilation rates of every site."""

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeAlias, get_args

from dilsearch.errors import PlanError
from dilsearch.sites import Kind

SCHEMA_VERSION = 2
"""Of the files written. Version 1 had rates for sites and branches only, one for all axes."""
_KINDS = get_args(Kind)
_SITE_KEYS = frozenset({"kind", "rates", "causal"})
_MOST_AXES = 3
_FEW = 8

Rows: TypeAlias = tuple[tuple[float, ...], ...]
"""Rates by branch or channel, then by axis."""


@dataclass(frozen=True, slots=True)
class SiteRates:
    """The rates of one site.

    Args:
        kind: ``"site"`` for one rate, ``"branch"`` for one per equal group of channels,
            ``"channel"`` for one per input channel.
        rates: The rates in channel order, each finite and greater than 0; where axes have their
            own, those of the first branch or channel come first: h0, w0, h1, w1, ...
        axes: Rates in a row: 1 where one stands for all axes, else as many as there are axes.
        causal: Whether the site's last tap is the one that stays in place.

    Raises:
        PlanError: If they are not as many as kind and axes ask for, or one is no rate.
    """

    kind: Kind
    rates: tuple[float, ...]
    axes: int = 1
    causal: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "rates", tuple(float(rate) for rate in self.rates))
        if self.kind not in _KINDS:
            raise PlanError(f"kind '{self.kind}' is unknown; use one of {', '.join(_KINDS)}")
        if not 1 <= self.axes <= _MOST_AXES:
            raise PlanError(f"axes = {self.axes} is not a number of axes; give 1, 2 or 3")
        count = len(self.rates)
        if not count or count % self.axes or (self.kind == "site" and count != self.axes):
            each = "" if self.axes == 1 else f" for each of {self.axes} axes"
            raise PlanError(
                f"a plan of kind '{self.kind}' has {count} rates; "
                f"give one{each} for 'site', at least one{each} for 'branch' and 'channel'"
            )
        for rate in self.rates:
            if not (math.isfinite(rate) and rate > 0):
                raise PlanError(f"rate {rate} is not a finite number above 0; correct it")

    @property
    def count(self) -> int:
        """How many rows there are: 1, or the number of branches or channels."""
        return len(self.rates) // self.axes

    @property
    def rows(self) -> Rows:
        """The rates of each branch or channel: one value for all axes, or one for each."""
        starts = range(0, len(self.rates), self.axes)
        return tuple(self.rates[start : start + self.axes] for start in starts)

    @property
    def is_integer(self) -> bool:
        """Whether every rate is a whole number."""
        return all(rate.is_integer() for rate in self.rates)

    def replace(self, rates: Sequence[float]) -> "SiteRates":
        """Other rates of the same form."""
        return replace(self, rates=tuple(rates))


class DilationPlan(Mapping[str, tuple[float, ...]]):
    """Rates by site: immutable, ordered as given, equal when sites, kinds and rates are equal.

    ``plan["body.3.conv2"]`` is the tuple of that site's rates, and ``plan.sites`` tells beside them
    whether they stand for the whole site, its branches or its channels, and for which axes.

    Args:
        sites: Site name (the module path) to its rates.

    Raises:
        PlanError: If a value is not a ``SiteRates``; names every such site.
    """

    __slots__ = ("_sites",)

    def __init__(self, sites: Mapping[str, SiteRates]) -> None:
        faults = [
            f"site '{site}': {rates!r} does not say what its rates stand for; write "
            "SiteRates('site', (2,)), or 'branch' or 'channel' with a rate for each"
            for site, rates in sites.items()
            if not isinstance(rates, SiteRates)
        ]
        if faults:
            raise PlanError.from_faults("this is no plan", faults)
        self._sites = dict(sites)

    @classmethod
    def per_branch(cls, rates: Mapping[str, tuple[float, ...]]) -> "DilationPlan":
        """A plan whose every site has one rate for each branch."""
        return cls({site: SiteRates("branch", tuple(values)) for site, values in rates.items()})

    def __getitem__(self, site: str) -> tuple[float, ...]:
        return self._sites[site].rates

    def __iter__(self) -> Iterator[str]:
        return iter(self._sites)

    def __len__(self) -> int:
        return len(self._sites)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, DilationPlan) and self._sites == other._sites

    def __hash__(self) -> int:
        return hash(frozenset(self._sites.items()))

    def __repr__(self) -> str:
        listed = ", ".join(f"{site}: {shown_rates(entry)}" for site, entry in self._sites.items())
        return f"DilationPlan({listed})"

    @property
    def sites(self) -> Mapping[str, SiteRates]:
        """The rates of each site with what they stand for."""
        return MappingProxyType(self._sites)

    def kind(self, site: str) -> Kind:
        """``"site"``, ``"branch"`` or ``"channel"``."""
        return self._sites[site].kind

    @property
    def is_integer(self) -> bool:
        """Whether every rate of every site is a whole number, so that a network can be built."""
        return all(rates.is_integer for rates in self._sites.values())

    @property
    def hash(self) -> str:
        """SHA-256 of the canonical JSON: equal plans have equal hashes on every machine."""
        canonical = json.dumps(self._document(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()

    def replace(self, rates: Mapping[str, tuple[float, ...]]) -> "DilationPlan":
        """The same plan with other rates at the named sites; kinds are kept.

        Raises:
            PlanError: If a site is not in the plan, or the number of its rates changes.
        """
        sites = dict(self._sites)
        for site, values in rates.items():
            if site not in sites:
                raise PlanError(
                    f"site '{site}' is not in the plan; it has {', '.join(sites) or 'no sites'}"
                )
            if len(values) != len(sites[site].rates):
                raise PlanError(
                    f"site '{site}': {len(values)} rates given where it has "
                    f"{len(sites[site].rates)}; give one for each"
                )
            sites[site] = sites[site].replace(values)
        return DilationPlan(sites)

    def to_json(self) -> str:
        """The plan as JSON, with its schema version; integers are written as integers."""
        return json.dumps(self._document(), indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str, *, source: str = "plan") -> "DilationPlan":
        """Read what ``to_json`` wrote; faults name ``source``, the site and the fix.

        Raises:
            PlanError: If the text is not a plan, or was written by a newer dilsearch.
        """
        try:
            document = json.loads(text)
        except json.JSONDecodeError as error:
            raise PlanError(f"{source} is not JSON ({error}); write it with dilsearch") from None
        if not isinstance(document, dict) or "schema_version" not in document:
            raise PlanError(
                f"{source} is not a dilation plan: it has no 'schema_version'. "
                "Use a plan.json or plan.float.json of a run folder."
            )
        version = document["schema_version"]
        if isinstance(version, bool) or version not in range(1, SCHEMA_VERSION + 1):
            raise PlanError(
                f"{source} has schema version {version}, and this dilsearch reads versions 1 to "
                f"{SCHEMA_VERSION}. Upgrade dilsearch to read it."
            )
        entries = document.get("sites")
        if not isinstance(entries, dict):
            raise PlanError(f"{source} has no table 'sites'; each site needs its kind and rates")
        return cls({site: _read_site(entry, site, source) for site, entry in entries.items()})

    def save(self, path: Path | str) -> None:
        """Write ``to_json`` to a file; inside a run folder use the folder's atomic writer."""
        Path(path).write_text(self.to_json(), encoding="utf-8")

    @classmethod
    def load(cls, path: Path | str) -> "DilationPlan":
        """Read a plan file.

        Raises:
            PlanError: If the file is missing or is not a plan.
        """
        try:
            text = Path(path).read_text(encoding="utf-8")
        except OSError as error:
            raise PlanError(f"cannot read plan {path}: {error.strerror}") from None
        except UnicodeDecodeError:
            raise PlanError(
                f"{path} is not a text file; give a plan.json of a run folder"
            ) from None
        return cls.from_json(text, source=str(path))

    def _document(self) -> dict[str, Any]:
        return {
            "schema_version": SCHEMA_VERSION,
            "sites": {
                site: {
                    "kind": entry.kind,
                    "rates": _as_written(entry),
                    **({"causal": True} if entry.causal else {}),
                }
                for site, entry in self._sites.items()
            },
        }


def shown_rates(site: SiteRates) -> str:
    """Rates as a sentence shows them: all of a few, the range of many; axes joined by ``x``."""
    rows = ["x".join(f"{rate:g}" for rate in row) for row in site.rows]
    if len(rows) <= _FEW:
        return f"({', '.join(rows)})"
    mean = sum(site.rates) / len(site.rates)
    return f"({len(rows)} from {min(site.rates):g} to {max(site.rates):g}, mean {mean:.3g})"


def _as_written(site: SiteRates) -> list[Any]:
    rows = [[int(rate) if rate.is_integer() else rate for rate in row] for row in site.rows]
    return rows if site.axes > 1 else [rate for (rate,) in rows]


def _read_site(entry: object, site: str, source: str) -> SiteRates:
    if not isinstance(entry, dict) or not {"kind", "rates"} <= set(entry) <= _SITE_KEYS:
        raise PlanError(
            f"{source}: site '{site}' needs 'kind' and 'rates', and 'causal' if it is; "
            "write it with dilsearch"
        )
    rows = _read_rows(entry["rates"])
    if rows is None:
        raise PlanError(
            f"{source}: site '{site}': rates {entry['rates']!r} are not a list of numbers, or of "
            "lists with a number for each axis"
        )
    causal = entry.get("causal", False)
    if not isinstance(causal, bool):
        raise PlanError(f"{source}: site '{site}': causal = {causal!r} is neither true nor false")
    try:
        rates = tuple(rate for row in rows for rate in row)
        return SiteRates(entry["kind"], rates, len(rows[0]) if rows else 1, causal)
    except (PlanError, OverflowError) as error:
        raise PlanError(f"{source}: site '{site}': {error}") from None


def _read_rows(rates: object) -> list[list[float]] | None:
    """Numbers, or rows of as many numbers each; None if it is something else."""
    if not isinstance(rates, list):
        return None
    nested = any(isinstance(row, list) for row in rates)
    rows = rates if nested else [[rate] for rate in rates]
    alike = all(isinstance(row, list) and len(row) == len(rows[0]) for row in rows)
    return rows if alike and all(_is_number(rate) for row in rows for rate in row) else None


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
