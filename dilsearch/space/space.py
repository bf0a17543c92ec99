"""``SearchSpace``: one resolved search space, from file, profile and overrides to values."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Self

import tomli_w
from pydantic import Field, ValidationError

from dilsearch.errors import SpaceError
from dilsearch.space.data_sections import DataSection
from dilsearch.space.faults import SECTION_NAMES, explain
from dilsearch.space.locate import SpaceFile, did_you_mean, locate, read_document
from dilsearch.space.overlay import Origin, Overlay, Override, read_overrides, read_sites
from dilsearch.space.section import Rule, Section
from dilsearch.space.sections import (
    ControlSection,
    FieldSection,
    GapSection,
    ModelSection,
    RetrainSection,
    SearchSection,
    TrainSection,
)
from dilsearch.space.sites_section import SitesSection
from dilsearch.space.sweep_section import SweepSection

NOT_OF_RUNS = ("name", "title", "profile", "sweep")
"""Sections that a run does not go by: what it is called, and what is said of a sweep."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One value of a space with its meaning, as ``dilsearch spaces NAME`` shows it."""

    key: str
    value: Any
    description: str


class SearchSpace(Section):
    """What is searched, on which data, and for how long: every value decided.

    Read one with ``SearchSpace.load``. Sections are attributes: ``space.train.batch_size``.
    """

    name: str = Field(min_length=1, description="name of the space; the file's name if absent")
    title: str = Field(min_length=1, description="the space in one line")
    profile: str | None = Field(default=None, description="profile that the values come from")
    model: ModelSection
    sites: tuple[SitesSection, ...]
    gap: GapSection = GapSection()
    data: Annotated[DataSection, Field(discriminator="name")]
    train: TrainSection
    search: SearchSection
    retrain: RetrainSection
    control: ControlSection = ControlSection()
    field: FieldSection = FieldSection()
    sweep: SweepSection = SweepSection()

    def broken_rules(self) -> Iterator[Rule]:
        """Something is searched, and warm-up ends before training does."""
        if not self.sites:
            yield "sites", "there is no section [[sites]]; add one for the convolutions to search"
        for stage, steps in (("search", self.search_steps), ("retrain", self.retrain_steps)):
            if self.train.warmup_steps >= steps:
                yield (
                    "train.warmup_steps",
                    f"warmup_steps = {self.train.warmup_steps} leaves no step at the full "
                    f"learning rate of {stage}.steps = {steps}; give fewer",
                )

    @classmethod
    def load(
        cls,
        name_or_path: str | Path,
        profile: str | None = None,
        overrides: Iterable[str] = (),
        sites: Iterable[str] = (),
    ) -> Self:
        """Read a space file and resolve it.

        Every profile is checked, also those not chosen. A file that ``to_toml`` wrote is resolved
        already and keeps its name and profile.

        Args:
            name_or_path: A space that ships with dilsearch, or the path of a TOML file.
            profile: One of the file's profiles; None for the one it names as default.
            overrides: ``"section.key=value"`` laid over all else; values are TOML, bare words text.
            sites: Sites in the place of the file's: globs, whose convolutions have one rate each
                from the present dilation on, or inline tables with the keys of ``[[sites]]``.

        Raises:
            SpaceError: With every fault found, each with file, place, value and fix.
        """
        file = locate(name_or_path)
        parts = _Parts.of(file, read_document(file), profile)
        settings, unread = read_overrides(overrides)
        chosen, unselected = read_sites(sites)
        faults = [*parts.faults, *unselected, *unread]
        spaces: dict[str | None, Self] = {}
        for candidate in (None, *parts.profiles):
            overlay = parts.overlay(candidate)
            if candidate == parts.profile:
                if chosen:
                    overlay.select(chosen)
                faults += _lay_settings(overlay, settings)
            try:
                spaces[candidate] = cls.model_validate(_with_tuples(overlay.document))
            except ValidationError as error:
                partial = candidate is None and bool(parts.profiles)
                faults += explain(error, overlay, cls, partial=partial)
        if faults:
            raise SpaceError.from_faults(file.label, dict.fromkeys(faults))
        return spaces[parts.profile]

    @property
    def search_steps(self) -> int:
        """Steps of the search."""
        return _steps(self.search, self.needed_px)

    @property
    def retrain_steps(self) -> int:
        """Steps of retraining, and of the control's training."""
        return _steps(self.retrain, self.needed_px)

    @property
    def needed_px(self) -> int:
        """Field that the task asks for, in pixels or steps: what the space sets, or its data."""
        return self.field.needed_px or self.data.needed_px

    @property
    def hash(self) -> str:
        """SHA-256 of what a run goes by; names, and what is said of a sweep, do not count."""
        values = {key: value for key, value in self._document().items() if key not in NOT_OF_RUNS}
        canonical = json.dumps(values, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()

    def to_toml(self) -> str:
        """The resolved space as a file: no profiles, and ``load`` gives an equal space back."""
        return tomli_w.dumps(self._document())

    def describe(self) -> Iterator[Setting]:
        """Every value with its meaning, in the order of the file."""
        for key, value in self:
            sections = value if isinstance(value, tuple) else (value,)
            for number, section in enumerate(sections, start=1):
                if isinstance(section, Section):
                    prefix = f"{key}.{number}" if isinstance(value, tuple) else key
                    yield from _describe_section(prefix, section)

    def _document(self) -> dict[str, Any]:
        document: dict[str, Any] = self.model_dump(exclude_none=True)
        return {key: value for key, value in document.items() if value != {}}


@dataclass(frozen=True, slots=True)
class _Parts:
    """A document taken apart: what all profiles share, the profiles, and the one chosen."""

    shared: Mapping[str, Any]
    profiles: Mapping[str, Mapping[str, Any]]
    profile: str | None
    faults: tuple[str, ...]

    @classmethod
    def of(cls, file: SpaceFile, document: dict[str, Any], profile: str | None) -> "_Parts":
        shared = {"name": file.name, **document}
        profiles = shared.pop("profiles", {})
        default = shared.pop("default_profile", None)
        resolved = shared.get("profile")
        if not isinstance(profiles, dict) or not all(
            isinstance(table, dict) for table in profiles.values()
        ):
            fault = "profiles are tables; write [profiles.NAME.SECTION] and the keys below it"
            return cls(shared, {}, None, (fault,))
        if not profiles:
            unfit = _faults_without_profiles(default, resolved, profile)
            return cls(shared, {}, None, tuple(unfit))
        faults = [*_profile_faults(profiles), *_default_faults(profiles, default, resolved)]
        shared.pop("profile", None)
        if profile is not None and profile not in profiles:
            faults.append(f"there is no profile '{profile}'{_among(profile, profiles)}")
        return cls(shared, profiles, profile or default, tuple(faults))

    def overlay(self, profile: str | None) -> Overlay:
        """The document with one profile laid over it, or none."""
        overlay = Overlay(dict(self.shared))
        if profile is not None:
            overlay.lay(_sections(self.profiles[profile]), Origin(profile=profile))
            overlay.document["profile"] = profile
        return overlay


def _faults_without_profiles(
    default: object, resolved: object, profile: str | None
) -> Iterator[str]:
    if default is not None:
        yield f'default_profile = "{default}" is not among its profiles, for it has none; drop it'
    if profile is not None and profile != resolved:
        has = f"is resolved with profile '{resolved}'" if resolved else "has no profiles"
        yield f"there is no profile '{profile}': the file {has}; load it without a profile"


def _default_faults(
    profiles: Mapping[str, Any], default: object, resolved: object
) -> Iterator[str]:
    if resolved is not None:
        yield (
            "profile belongs to resolved spaces, which have no profiles; "
            "name the one to start from with default_profile"
        )
    if default is None:
        yield f"the file has no 'default_profile'; name one of {', '.join(profiles)}"
    elif not isinstance(default, str) or default not in profiles:
        yield f'default_profile = "{default}" is no profile{_among(str(default), profiles)}'


def _among(given: str, profiles: Mapping[str, Any]) -> str:
    names = list(profiles)
    return f"{did_you_mean(given, names)}; the file has {', '.join(names)}"


def _profile_faults(profiles: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    for profile, table in profiles.items():
        for key, value in table.items():
            if key not in SECTION_NAMES and not isinstance(value, dict | list):
                yield (
                    f"[profiles.{profile}] holds sections only, and '{key}' is none; "
                    f"write [profiles.{profile}.SECTION] and the keys below it"
                )


def _sections(profile: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: value
        for key, value in profile.items()
        if key in SECTION_NAMES or isinstance(value, dict | list)
    }


def _lay_settings(overlay: Overlay, settings: Iterable[Override]) -> Iterator[str]:
    for setting in settings:
        if setting.keys[0] not in SECTION_NAMES:
            hint = did_you_mean(setting.keys[0], SECTION_NAMES)
            hint = hint or f"; there are {', '.join(SECTION_NAMES)}"
            yield f"--set {setting.text}: there is no section [{setting.keys[0]}]{hint}"
        elif len(setting.keys) == 1:
            yield f"--set {setting.text}: name a key of the section, such as train.batch_size=8"
        elif fault := overlay.set(setting):
            yield f"--set {setting.text}: {fault}"


def _with_tuples(value: Any) -> Any:
    """The document with tuples for lists, since the schema is strict and its values immutable."""
    if isinstance(value, dict):
        return {key: _with_tuples(item) for key, item in value.items()}
    if isinstance(value, list):
        return tuple(_with_tuples(item) for item in value)
    return value


def _steps(section: SearchSection | RetrainSection, needed_px: int) -> int:
    if section.steps is not None:
        return section.steps
    assert section.steps_per_px is not None  # one of the two is given, by a rule of the section
    return max(1, round(section.base_steps + section.steps_per_px * needed_px))


def _describe_section(prefix: str, section: Section) -> Iterator[Setting]:
    fields = type(section).model_fields
    for key, value in section:
        yield Setting(f"{prefix}.{key}", value, fields[key].description or "")
