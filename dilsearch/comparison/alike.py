"""Whether runs can be held against each other: the same data, budget and recipe for all.

What a method decides for itself may differ from method to method, and nothing else: how rates are
searched or swept, where they start, and what the control is.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from dilsearch.comparison.sources import Source
from dilsearch.errors import ComparisonError
from dilsearch.space.space import NOT_OF_RUNS

_OWN: Final = ("search", "control")
_NOT_OF_SWEEPS: Final = ("seed", "seeds", "space", "data", "network")
"""Of a sweep's description: what may differ from seed to seed, and what is held elsewhere."""
_SHOWN: Final = 5
_ABSENT: Final = "absent"


def require_alike(sources: Sequence[Source]) -> None:
    """Refuse runs that differ in more than their methods.

    Args:
        sources: At least one.

    Raises:
        ComparisonError: If data, network, retrain budget or recipe differ; if a name stands for
            more than one kind of method, or for runs of one kind with different settings; or if a
            method has two runs of one seed.
    """
    first = sources[0]
    _require_same_hash(sources, "data", "were trained on different data")
    _require_same_hash(sources, "network", "trained different networks")
    for source in sources[1:]:
        if different := list(_different(_recipe(first), _recipe(source))):
            raise ComparisonError(
                f"{source.path} was not trained like {first.path}: {_some(different)}. Compare "
                "runs with one recipe and one retrain budget; only search, control, sweep and the "
                "initial rates of sites may differ."
            )
    with_plans = [source for source in sources if source.has_plans]
    for method in dict.fromkeys(source.method for source in with_plans):
        _require_one_method([source for source in with_plans if source.method == method])


def _require_same_hash(sources: Iterable[Source], what: str, verb: str) -> None:
    known = [
        (source.path, str(source.folder.record["hashes"][what]))
        for source in sources
        if source.folder.record["hashes"].get(what) is not None
    ]
    for path, digest in known[1:]:
        first, expected = known[0]
        if digest != expected:
            raise ComparisonError(
                f"{first} and {path} {verb} (hash {expected[:12]} and {digest[:12]}), and scores "
                "of different ones say nothing of the methods; compare runs of the same"
            )


def _require_one_method(sources: Sequence[Source]) -> None:
    first = sources[0]
    for source in sources[1:]:
        if source.kind != first.kind:
            raise ComparisonError(
                f"'{first.method}' would stand for a {first.kind} ({first.path}) and a "
                f"{source.kind} ({source.path}); give each kind a name of its own, LABEL=FOLDER"
            )
        if different := list(_different(_settings(first), _settings(source))):
            raise ComparisonError(
                f"'{first.method}' would stand for {first.path} and {source.path}, whose settings "
                f"differ: {_some(different)}. Name them apart, LABEL=FOLDER."
            )
    by_seed: dict[int, Source] = {}
    for source in sources:
        for seed in seeds_of(source):
            if seed in by_seed:
                raise ComparisonError(
                    f"'{first.method}' has two runs of seed {seed}, {by_seed[seed].path} and "
                    f"{source.path}; leave one out, or name them apart, LABEL=FOLDER"
                )
            by_seed[seed] = source


def seeds_of(source: Source) -> tuple[int, ...]:
    """The seeds that a folder trained with."""
    if source.is_sweep:
        return tuple(int(seed) for seed in source.swept("seeds"))
    return (source.folder.seed,)


def _recipe(source: Source) -> dict[str, Any]:
    """What all runs must share, by dotted key."""
    document = source.space.model_dump(exclude_none=True, mode="json")
    kept = {key: value for key, value in document.items() if key not in (*NOT_OF_RUNS, *_OWN)}
    kept["sites"] = [
        {key: value for key, value in site.items() if key != "initial"}
        for site in document["sites"]
    ]
    # What counts is what follows from them: steps may be given, or follow from the needed field.
    kept["retrain"] = {"steps": source.space.retrain_steps}
    kept["field"] = {"needed_px": source.space.needed_px}
    return dict(_flat(kept))


def _settings(source: Source) -> dict[str, Any]:
    """What the runs of one method must share beside the recipe, by dotted key."""
    document = source.space.model_dump(exclude_none=True, mode="json")
    initial = [{"initial": site.get("initial")} for site in document["sites"]]
    if not source.is_sweep:
        return dict(_flat({"search": document["search"], "sites": initial}))
    said = source.description()
    settled = {key: value for key, value in said.items() if key not in _NOT_OF_SWEEPS}
    if source.kind != "grid":  # whose trials grow with its seeds; those of others are their budget
        settled["total"] = source.swept("total")
    return dict(_flat({"sweep": settled}))


def _flat(value: Mapping[str, Any], at: str = "") -> Iterator[tuple[str, Any]]:
    for key, entry in value.items():
        if isinstance(entry, Mapping):
            yield from _flat(entry, f"{at}{key}.")
        elif isinstance(entry, list) and entry and all(isinstance(one, Mapping) for one in entry):
            for number, one in enumerate(entry, start=1):
                yield from _flat(one, f"{at}{key}.{number}.")
        else:
            yield f"{at}{key}", entry


def _different(first: Mapping[str, Any], other: Mapping[str, Any]) -> Iterator[str]:
    for key in dict.fromkeys((*first, *other)):
        one, two = first.get(key, _ABSENT), other.get(key, _ABSENT)
        if one != two:
            yield f"{key} is {two}, not {one}"


def _some(different: Sequence[str]) -> str:
    more = len(different) - _SHOWN
    return ", ".join(different[:_SHOWN]) + (f", and {more} more" if more > 0 else "")
