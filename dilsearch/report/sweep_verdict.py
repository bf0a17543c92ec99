"""What a sweep found, in plain sentences that claim no more than its trials can show."""

from collections.abc import Iterator

import pandas as pd

from dilsearch.baselines.record import column_in_words
from dilsearch.report.sweep_marks import counted
from dilsearch.report.sweep_tables import SweepData, targets_table

_UNCHARGED = (
    "What a killed, interrupted or failed trial had seen before is not recorded and not charged."
)
PLUS_MINUS = "\N{PLUS-MINUS SIGN}"


def sweep_verdict(data: SweepData) -> str:
    """What is best, how sure that is, on what it was chosen, and what became of the trials."""
    if data.trained.empty or data.result("best") is None:
        return "No trial of this sweep is complete yet."
    found = _best_target(data) if data.is_grid else _best_trial(data)
    return " ".join([*found, *_front(data), _selection(data), _account(data)])


def score_text(mean: float, std: float | None) -> str:
    """A mean with its standard deviation, if there is one: ``0.971 ± 0.012``."""
    if std is None or pd.isna(std):
        return f"{mean:.3f}"
    return f"{mean:.3f} {PLUS_MINUS} {std:.3f}"


def missing_text(data: SweepData) -> str:
    """What an unfinished sweep lacks; empty for one that is finished."""
    if data.is_finished:
        return ""
    total = data.result("total")
    if total is None or data.trials.empty:
        return "No trial has been written down yet."
    states = data.trials["state"].value_counts()
    parts = [f"{data.finished:,} of {int(total):,} trials have finished"]
    parts += [
        f"{int(states[state])} {words}"
        for state, words in (("running", "still running"), ("waiting", "still waiting"))
        if state in states
    ]
    return ", ".join(parts) + " when the table was written."


def _best_target(data: SweepData) -> Iterator[str]:
    table = targets_table(data).dropna(subset=["mean"])
    best_px = int(data.trials.set_index("number").loc[data.result("best", "trial"), "target_px"])
    best = table[table["target_px"] == best_px].iloc[0]
    others = table[table["target_px"] != best_px].sort_values("mean", ascending=False)
    alike = others["target_px"].isin(_trained_as_often(data, best_px))
    lacking, others = sorted(others.loc[~alike, "target_px"]), others[alike]
    of = f" of {len(table)} targets" if len(table) > 1 else ""
    yield (
        f"The best{of} is {best_px:,} px{_field_part(data, int(best['field_px']))}: "
        f"{column_in_words(data.score)} {score_text(best['mean'], best['std'])} over "
        f"{counted(int(best['seeds']), 'seed')}."
    )
    if len(others):
        second = others.iloc[0]
        name = f"{int(second['target_px']):,} px with {score_text(second['mean'], second['std'])}"
        behind = float(best["mean"] - second["mean"])
        spread = max((std for std in (best["std"], second["std"]) if pd.notna(std)), default=None)
        if spread is None:
            yield f"The runner-up is {name}; one seed each does not tell whether that is noise."
        elif behind < spread:
            yield (
                f"The runner-up, {name}, is within noise: less than one standard deviation behind."
            )
        else:
            yield f"The runner-up, {name}, is more than one standard deviation behind."
    if lacking:
        names = ", ".join(f"{int(target):,}" for target in lacking)
        yield (
            f"What was trained with fewer of the seeds is not held against the best: {names} px."
        )


def _trained_as_often(data: SweepData, target_px: int) -> set[int]:
    """The targets that were trained to the end with every seed with which this one was."""
    seeds = data.trained.groupby("target_px")["seed"].agg(set)
    return {int(str(target)) for target, own in seeds.items() if own >= seeds[target_px]}


def _best_trial(data: SweepData) -> Iterator[str]:
    rows = data.trained.sort_values(["score", "number"], ascending=[False, True])
    number = int(data.result("best", "trial"))
    best = rows[rows["number"] == number].iloc[0]
    of = f" of {counted(data.finished, 'finished trial')}" if data.finished > 1 else ""
    yield (
        f"The best{of} is number {number}, with a field of {int(best['field_px']):,} px"
        f"{_needed_part(data, int(best['field_px']))}: {column_in_words(data.score)} "
        f"{best['score']:.3f}."
    )
    others = rows[(rows["number"] != number) & (rows["plan_hash"] != best["plan_hash"])]
    if len(others):
        second = others.iloc[0]
        yield (
            f"The runner-up, number {int(second['number'])} with {second['score']:.3f}, is "
            f"{best['score'] - second['score']:.3f} behind; each was trained with one seed, which "
            "does not tell whether that is noise."
        )


def _field_part(data: SweepData, field_px: int) -> str:
    return f", with a field of exactly {field_px:,} px{_needed_part(data, field_px)}"


def _needed_part(data: SweepData, field_px: int) -> str:
    needed = data.result("needed_px")
    if needed is None:
        return ""
    return f" ({int(needed):,} needed{'' if field_px >= int(needed) else ', not reached'})"


def _front(data: SweepData) -> Iterator[str]:
    front = data.result("pareto")
    if front:
        names = " and ".join(column_in_words(name) for name in data.objectives)
        number, one = len(front), "trial"
        if data.is_grid:  # all trials of a target are on it, or none
            on_front = data.trials["number"].isin(list(front))
            number, one = data.trials.loc[on_front, "target_px"].nunique(), "target"
        yield (
            f"{counted(number, one)} {'is' if number == 1 else 'are'} on the front of {names}: no "
            "other is at least as good in all and better in one."
        )


def _selection(data: SweepData) -> str:
    return (
        "The best was chosen by its score on the validation set, so that on new images it may "
        "well score a little less."
    )


def _account(data: SweepData) -> str:
    """How many trials came to what end; an answered one is complete and was not trained."""
    states = data.trials["state"].value_counts()
    complete, pruned, failed, interrupted = (
        int(states.get(state, 0)) for state in ("complete", "pruned", "failed", "interrupted")
    )
    of_complete = data.trials["state"] == "complete"
    answered = int(data.trials.loc[of_complete, "answered_from"].notna().sum())
    parts = [f"{counted(complete, 'trial')} {'is' if complete == 1 else 'are'} complete"]
    if answered:
        parts[0] += f" ({answered} of them answered from another with the same plan and seed)"
    parts.append(f"{pruned or 'none'} {'was' if pruned == 1 else 'were'} pruned")
    parts.append(f"{failed or 'none'} failed")
    if interrupted:
        parts.append(f"{interrupted} {'was' if interrupted == 1 else 'were'} interrupted")
    told = f"{', '.join(parts)}."
    return f"{told} {_UNCHARGED}" if failed or interrupted else told
