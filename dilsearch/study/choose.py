"""The words of a user turned into a study: its name, parts, variants and seeds."""

import re
from collections.abc import Collection, Sequence
from dataclasses import replace

from dilsearch.space.locate import did_you_mean
from dilsearch.study.cases import Part, Study, StudyError
from dilsearch.study.robustness import STUDIES

_RANGE = re.compile(r"(\d{1,9})(?:-(\d{1,9}))?", re.ASCII)
_MOST_SEEDS = 1000


def find_study(name: str) -> Study:
    """The study of that name.

    Raises:
        StudyError: If there is none.
    """
    _require("study", name, list(STUDIES), "there are")
    return STUDIES[name]


def parse_seeds(text: str) -> tuple[int, ...]:
    """Seeds in the order given, as in ``0-9``, ``0,1,2`` or ``0-3,7``; each counts once.

    Raises:
        StudyError: If the text is no such list.
    """
    seeds: dict[int, None] = {}
    for item in text.split(","):
        match = _RANGE.fullmatch(item.strip())
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (0, -1)
        if not first <= last < first + _MOST_SEEDS:
            raise StudyError(
                f"--seeds {text}: '{item.strip()}' is no seed or range of seeds; give whole "
                f"numbers and rising ranges of at most {_MOST_SEEDS}, such as 0-9 or 0,1,2"
            )
        seeds |= dict.fromkeys(range(first, last + 1))
    return tuple(seeds)


def narrow(
    study: Study,
    parts: Sequence[str] = (),
    variants: Sequence[str] = (),
    seeds: tuple[int, ...] | None = None,
) -> Study:
    """The study with only the named parts and variants, and with other seeds.

    A part that has none of the named variants is left out.

    Args:
        study: The study.
        parts: Names of parts; all if empty.
        variants: Names of variants; all if empty.
        seeds: Seeds for every part; each part's own if None.

    Raises:
        StudyError: If a name is unknown.
    """
    for name in parts:
        _require("part", name, [part.name for part in study.parts], f"'{study.name}' has")
    chosen = [part for part in study.parts if not parts or part.name in parts]
    known = list(dict.fromkeys(variant.name for part in chosen for variant in part.variants))
    for name in variants:
        among = ", ".join(parts) if parts else f"'{study.name}'"
        _require("variant", name, known, f"{among} has")
    narrowed = [_narrow_part(part, variants, seeds) for part in chosen]
    return replace(study, parts=tuple(part for part in narrowed if part.variants))


def without_data(study: Study) -> tuple[Study, list[Part]]:
    """The study without the parts that need a folder of data, and those parts."""
    kept = tuple(part for part in study.parts if not part.needs_data)
    return replace(study, parts=kept), [part for part in study.parts if part.needs_data]


def _narrow_part(part: Part, variants: Collection[str], seeds: tuple[int, ...] | None) -> Part:
    kept = tuple(v for v in part.variants if not variants or v.name in variants)
    return replace(part, variants=kept, seeds=part.seeds if seeds is None else seeds)


def _require(kind: str, name: str, known: Sequence[str], owner: str) -> None:
    if name not in known:
        raise StudyError(
            f"there is no {kind} named '{name}'{did_you_mean(name, known)}; "
            f"{owner} {', '.join(known)}"
        )
