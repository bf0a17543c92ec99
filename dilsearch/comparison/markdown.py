"""A comparison as Markdown: the table, what it says in plain sentences, and how it was counted."""

import math
from collections.abc import Hashable, Iterable, Iterator, Mapping
from typing import Any

import pandas as pd

from dilsearch.comparison.alike import seeds_of
from dilsearch.comparison.costs import best_within, curves
from dilsearch.comparison.noise import FEWEST_PAIRS, LEVEL, Difference
from dilsearch.comparison.sources import CONTROL, SEARCH, SWEEPS, Source
from dilsearch.comparison.tables import (
    Comparison,
    Pair,
    decimals,
    grouped,
    seconds_in_words,
    shown_table,
)

_COUNTED = (
    "A search is charged for the samples of its search and of retraining its plan, a control for "
    "those of its training"
)
_SWEPT = (
    ", and a sweep for those of every trial that was trained to its end or pruned. What a killed, "
    "interrupted or failed trial had seen before is not recorded and not charged"
)
_ANSWERED = (
    "A trial with the plan and seed of another was answered from that one: it cost nothing, and is "
    "no mark of its own in the figure of fields."
)
_SECONDS = (
    "Samples are the same on every machine. Seconds are as they were taken, on whatever machine it "
    "was and beside whatever else ran on it, so they compare only runs that had it to themselves."
)
_BIASED = (
    "The best of n trials was chosen on the validation images that also score it here, so that its "
    "score is higher than the same plan would get on new images, the more so the larger n is. What "
    "a search finds was chosen without them, and a control beforehand."
)
_TWO_VIEWS = (
    "A grid with several seeds has two rows: with the best of its targets for each seed, as a "
    "person with one seed would take it, and at the one target whose mean over seeds is best, as "
    "Fig. 5 of RegSeg takes it. The cost of both, and the curves, are those of all targets."
)
_TESTED = (
    f"A difference counts as more than chance if p is at most {LEVEL:g}, by a permutation test: of "
    "the signs of the differences where seeds match, of the labels where they do not; all of them, "
    "or 20,000 drawn where there are more than 65,536. What follows ± in a difference is its "
    "standard error, and elsewhere the standard deviation over seeds."
)
_SEVERAL = (
    "The values of p are those of each comparison by itself: of twenty without any difference, one "
    "would be expected to look like more than chance."
)


def to_markdown(comparison: Comparison, figures: Iterable[tuple[str, str]] = ()) -> str:
    """The whole comparison.

    Args:
        comparison: What is shown.
        figures: File and title of each figure beside it.
    """
    score = comparison.score_in_words
    parts = [
        f"# Comparison by {score}\n",
        _table(shown_table(comparison)),
        f"The task asks for a field of {comparison.methods.needed_px} px. Ranges are median (least "
        "to greatest) over seeds.\n",
        *(f"![{title}]({file})\n" for file, title in figures),
        f"## What differs\n\n{_bullets(differences_in_words(comparison))}",
    ]
    if comparison.threshold is not None:
        parts.append(
            f"## Cost at which {score} {comparison.threshold:g} was first reached\n\n"
            + _bullets(reached_in_words(comparison))
        )
    if equal := equal_cost_in_words(comparison):
        parts.append(f"## At equal cost\n\n{_bullets(equal)}")
    parts.append(f"## How it was counted\n\n{_bullets(_notes(comparison))}")
    parts.append(f"## What is compared\n\n{_bullets(_sources(comparison))}")
    return "\n".join(parts)


def differences_in_words(comparison: Comparison) -> list[str]:
    """One sentence for each pair: better, worse, within noise, or too few seeds to tell."""
    if not comparison.pairs:
        return ["There is one method only, and nothing to hold it against."]
    return [_in_words(pair, comparison.score_in_words) for pair in comparison.pairs]


def reached_in_words(comparison: Comparison) -> list[str]:
    """One sentence for each method: what it had spent when it first reached the threshold."""
    sentences = []
    rows = comparison.summary[comparison.summary["name"] == comparison.summary["method"]]
    for row in rows.to_dict("records"):
        seeds, reached = row["seeds"], row["reached"]
        if not reached:
            never = "its seed never did" if seeds == 1 else f"none of its {seeds} seeds did"
            sentences.append(f"{row['name']}: {never}, for {_cost(row, 'mean')}.")
            continue
        who = "its seed" if seeds == 1 else f"{reached} of {seeds} seeds"
        said = f"; {who}" if reached == 1 else f", the median of the {who} that"
        sentences.append(f"{row['name']}: {_cost(row, 'reached_median')}{said} reached it.")
    return sentences


def equal_cost_in_words(comparison: Comparison) -> list[str]:
    """What every sweep had reached for the samples that each search took: one sentence a pair."""
    summary, plans = comparison.summary, comparison.methods.plans
    by_cost = curves(plans)
    sentences = []
    for search in summary[summary["kind"] == SEARCH].to_dict("records"):
        cost = search["samples_mean"]
        reached = best_within(by_cost, cost)
        for sweep in summary[summary["kind"].isin(SWEEPS)].to_dict("records"):
            if sweep["name"] == sweep["method"]:
                best = reached.loc[reached["method"] == sweep["name"], "best"]
                sentences.append(_at_cost(search["name"], cost, sweep, best.dropna()))
    return sentences


def _at_cost(
    search: str, cost: float, sweep: Mapping[Hashable, Any], best: "pd.Series[float]"
) -> str:
    spent = f"For the {grouped(cost)} samples that {search} takes, {sweep['name']}"
    if not len(best):
        return f"{spent} has not trained one plan to its end with any seed."
    spread = float(best.std(ddof=1)) if len(best) > 1 else math.nan
    digits = decimals(spread)
    std = "" if math.isnan(spread) else f" ± {spread:.{digits}f}"
    return (
        f"{spent} has come to {best.mean():.{digits}f}{std} ({len(best)} of {sweep['seeds']} seeds "
        "had trained a plan by then)."
    )


def _in_words(pair: Pair, score: str) -> str:
    found = pair.difference
    digits = decimals(found.error)
    by = f"{found.mean:+.{digits}f}"
    error = "" if math.isnan(found.error) else f" ± {found.error:.{digits}f}"
    one, two = found.seeds
    if found.paired:
        from_seeds = f"{one} pair{'s' if one > 1 else ''} of equal seeds"
    else:
        from_seeds = f"{one} and {two} seeds, unpaired"
    match found.verdict:
        case "better" | "worse":
            return (
                f"{pair.first} is {found.verdict} than {pair.second} by "
                f"{abs(found.mean):.{digits}f}{error} {score} ({from_seeds}, p = {_p(found.p)})."
            )
        case "within noise":
            return (
                f"{pair.first} minus {pair.second} is {by}{error} {score}, which is "
                f"within noise ({from_seeds}, p = {_p(found.p)}).{_room(found)}"
            )
        case "too few seeds":
            return (
                f"{pair.first} minus {pair.second} is {by}{error} {score}, and so few "
                f"seeds cannot tell whether that is chance ({from_seeds}: p is "
                f"{_p(found.smallest_p)} at the least; {FEWEST_PAIRS} pairs could tell)."
            )


def _room(found: Difference) -> str:
    if math.isnan(found.largest):
        return ""
    return (
        " That does not make them equal: mean and standard error leave room for a difference of "
        f"{found.largest:.{decimals(found.error)}f}."
    )


def _notes(comparison: Comparison) -> Iterator[str]:
    plans = comparison.methods.plans
    swept = plans["kind"].isin(SWEEPS)
    yield f"{_COUNTED}{_SWEPT if swept.any() else ''}."
    if plans["answered_from"].notna().any():
        yield _ANSWERED
    yield _SECONDS
    if swept.any():
        yield _BIASED
    if (comparison.summary["name"] != comparison.summary["method"]).any():
        yield _TWO_VIEWS
    if comparison.pairs:
        yield _TESTED
    if len(comparison.pairs) > 1:
        yield _SEVERAL
    for method, rates in _control_rates(plans):
        yield f"{method} has fixed rates, decided beforehand: {rates}."
    yield from _seeds_without_score(comparison)
    for remark in comparison.methods.remarks:
        yield remark if remark.endswith(".") else f"{remark}."


def _seeds_without_score(comparison: Comparison) -> Iterator[str]:
    """A seed without a score is in no mean, and a reader has to know."""
    scored = set(zip(comparison.seeds["method"], comparison.seeds["seed"], strict=True))
    trained = comparison.methods.plans.drop_duplicates(["method", "seed"])
    for method, seed in zip(trained["method"], trained["seed"], strict=True):
        if (method, seed) not in scored:
            yield f"{method} has no score for seed {seed}: none of its trials ran to the end."


def _control_rates(plans: pd.DataFrame) -> Iterator[tuple[str, str]]:
    controls = plans[plans["kind"] == CONTROL].drop_duplicates("method")
    yield from zip(controls["method"], controls["rates"], strict=True)


def _sources(comparison: Comparison) -> Iterator[str]:
    for source in comparison.methods.sources:
        command = source.folder.record.get("command")
        verb = "begun" if source.is_sweep else "made"  # a sweep grows by other commands
        made = f", {verb} by `{command}`" if command else ""
        called = source.method if source.has_plans else source.label or CONTROL
        yield f"{called}: `{source.path}`{made}{_holdings(source)}"


def _holdings(source: Source) -> str:
    """How far a sweep had grown when it was read."""
    if not source.is_sweep:
        return ""
    seeds, total = seeds_of(source), source.swept("total")
    trials = "1 trial" if total == 1 else f"{total:,} trials"
    named = ", ".join(map(str, seeds))
    return f"; when read, {trials} with {'seed' if len(seeds) == 1 else 'seeds'} {named}"


def _cost(row: Mapping[Hashable, Any], which: str) -> str:
    """Samples, with their range where one is known and has a width, and seconds."""
    samples, seconds = row[f"samples_{which}"], row[f"seconds_{which}"]
    least, greatest = (row.get(f"samples_reached_{end}", math.nan) for end in ("min", "max"))
    spread = f" ({grouped(least)} to {grouped(greatest)})" if least < greatest else ""
    return f"{grouped(samples)} samples{spread}, {seconds_in_words(seconds)} s"


def _p(value: float) -> str:
    return f"{value:.2g}"


def _bullets(sentences: Iterable[str]) -> str:
    return "".join(f"- {sentence}\n" for sentence in sentences)


def _table(frame: pd.DataFrame) -> str:
    """A table as GitHub renders it; all but the first column are set right."""
    lines = [[_escaped(str(name)) for name in frame.columns]]
    lines.append(["---", *["---:"] * (len(frame.columns) - 1)])
    lines += [[_escaped(str(value)) for value in row] for row in frame.itertuples(index=False)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
