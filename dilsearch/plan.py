"""The one value that passes between stages: the dilation rates of every site."""

import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dilsearch.errors import PlanError
from dilsearch.sites import Kind

SCHEMA_VERSION = 1
_KINDS: tuple[Kind, ...] = ("site", "branch")


@dataclass(frozen=True, slots=True)
class SiteRates:
    """The rates of one site.

    Args:
        kind: ``"site"`` for one rate, ``"branch"`` for one per equal group of channels.
        rates: The rates in channel order, each finite and greater than 0.
    """

    kind: Kind
    rates: tuple[float, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "rates", tuple(float(rate) for rate in self.rates))
        if self.kind not in _KINDS:
            raise PlanError(f"kind '{self.kind}' is unknown; use one of {', '.join(_KINDS)}")
        if not self.rates or (self.kind == "site" and len(self.rates) != 1):
            raise PlanError(
                f"a plan of kind '{self.kind}' has {len(self.rates)} rates; "
                "give one rate for 'site', at least one for 'branch'"
            )
        for rate in self.rates:
            if not (math.isfinite(rate) and rate > 0):
                raise PlanError(f"rate {rate} is not a finite number above 0; correct it")

    @property
    def is_integer(self) -> bool:
        """Whether every rate is a whole number."""
        return all(rate.is_integer() for rate in self.rates)


class DilationPlan(Mapping[str, tuple[float, ...]]):
    """Rates by site: immutable, ordered as given, equal when sites, kinds and rates are equal.

    ``plan["body.3.conv2"]`` is the tuple of that site's rates; ``plan.kind(site)`` tells whether
    they stand for the whole site or for its branches.

    Args:
        sites: Site name (the module path) to its rates.
    """

    __slots__ = ("_sites",)

    def __init__(self, sites: Mapping[str, SiteRates]) -> None:
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
        listed = ", ".join(
            f"{site}: ({', '.join(f'{rate:g}' for rate in rates)})" for site, rates in self.items()
        )
        return f"DilationPlan({listed})"

    def kind(self, site: str) -> Kind:
        """``"site"`` or ``"branch"``."""
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
            sites[site] = SiteRates(sites[site].kind, tuple(values))
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
        if version != SCHEMA_VERSION:
            raise PlanError(
                f"{source} has schema version {version}, and this dilsearch reads "
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
                    "rates": [int(r) if r.is_integer() else r for r in entry.rates],
                }
                for site, entry in self._sites.items()
            },
        }


def _read_site(entry: object, site: str, source: str) -> SiteRates:
    if not isinstance(entry, dict) or set(entry) != {"kind", "rates"}:
        raise PlanError(f"{source}: site '{site}' needs exactly 'kind' and 'rates'")
    rates = entry["rates"]
    if not isinstance(rates, list) or not all(
        isinstance(rate, int | float) and not isinstance(rate, bool) for rate in rates
    ):
        raise PlanError(f"{source}: site '{site}': rates {rates!r} are not a list of numbers")
    try:
        return SiteRates(entry["kind"], tuple(rates))
    except (PlanError, OverflowError) as error:
        raise PlanError(f"{source}: site '{site}': {error}") from None
