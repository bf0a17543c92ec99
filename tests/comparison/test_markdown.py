from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from dilsearch.comparison.markdown import (
    differences_in_words,
    equal_cost_in_words,
    reached_in_words,
    to_markdown,
)
from dilsearch.comparison.methods import Methods, read_methods
from dilsearch.comparison.noise import difference
from dilsearch.comparison.tables import Comparison, Pair

WriteRun = Callable[..., Path]
Trials = list[dict[str, Any]]


@pytest.fixture
def compare(tmp_path: Path, write_run: WriteRun) -> Callable[..., Comparison]:
    """Searches of the scores given beside one control, and whatever else."""

    def of(scores: list[float], *others: Path, **asked: Any) -> Comparison:
        runs = [
            write_run(tmp_path / f"run{seed}", seed=seed, score=score, control=0.5)
            for seed, score in enumerate(scores)
        ]
        return Comparison.of(read_methods(list(map(str, (*runs, *others)))), **asked)

    return of


@pytest.mark.parametrize(
    ("scores", "said"),
    [
        (
            [0.7, 0.72, 0.74, 0.76, 0.78, 0.8],
            "search is better than control by 0.250 ± 0.015 mean IoU (6 pairs of equal seeds, "
            "p = 0.031).",
        ),
        (
            [0.4, 0.42, 0.44, 0.41, 0.43, 0.45],
            "search is worse than control by 0.075 ± 0.008 mean IoU (6 pairs of equal seeds, "
            "p = 0.031).",
        ),
        (
            [0.4, 0.6, 0.4, 0.6, 0.4, 0.66],
            "search minus control is +0.010 ± 0.050 mean IoU, which is within noise (6 pairs of "
            "equal seeds, p = 1). That does not make them equal: mean and standard error leave "
            "room for a difference of 0.060.",
        ),
        (
            [0.7, 0.8],
            "search minus control is +0.250 ± 0.050 mean IoU, and so few seeds cannot tell whether "
            "that is chance (2 pairs of equal seeds: p is 0.5 at the least; 6 pairs could tell).",
        ),
        (
            [0.7],
            "search minus control is +0.200 mean IoU, and so few seeds cannot tell whether "
            "that is chance (1 pair of equal seeds: p is 1 at the least; 6 pairs could tell).",
        ),
    ],
)
def test_who_is_better_and_how_surely(scores: list[float], said: str) -> None:
    nothing = pd.DataFrame()
    methods = Methods(nothing, score="mean_iou", needed_px=63, sources=(), remarks=())
    found = difference(dict(enumerate(scores)), dict.fromkeys(range(len(scores)), 0.5))
    pairs = (Pair("search", "control", found),)
    assert differences_in_words(Comparison(methods, None, nothing, nothing, pairs)) == [said]


def test_unpaired_seeds_say_so(
    tmp_path: Path, compare: Callable[..., Comparison], write_run: WriteRun
) -> None:
    hand = [
        write_run(
            tmp_path / f"hand{seed}",
            seed=seed,
            control=0.3,
            stages=("control", "evaluate"),
            overrides=("control.rate=2",),
        )
        for seed in range(50, 54)
    ]
    found = compare([0.7, 0.72, 0.74, 0.76], *hand)
    assert differences_in_words(found)[1] == (
        "search is better than control, rate 2 by 0.430 ± 0.013 mean IoU (4 and 4 seeds, unpaired, "
        "p = 0.029)."
    )


def test_what_it_cost_to_reach_a_score(
    tmp_path: Path,
    compare: Callable[..., Comparison],
    write_sweep: WriteRun,
    grid_trials: Trials,
    tpe_trials: Trials,
) -> None:
    grid = write_sweep(tmp_path / "grid", grid_trials)
    tpe = write_sweep(tmp_path / "tpe", tpe_trials, protocol="tpe")
    assert reached_in_words(compare([0.7, 0.9, 0.95], grid, tpe, threshold=0.7)) == [
        "search: 160 samples, 6.0 s, the median of the 3 of 3 seeds that reached it.",
        "grid: 90 samples (60 to 120), 7.5 s, the median of the 2 of 2 seeds that reached it.",
        "tpe: 140 samples, 140 s; its seed reached it.",
        "control: none of its 3 seeds did, for 60 samples, 2.0 s.",
    ]


def test_one_seed_of_several_and_the_only_one(
    tmp_path: Path,
    compare: Callable[..., Comparison],
    write_sweep: WriteRun,
    tpe_trials: Trials,
) -> None:
    tpe = write_sweep(tmp_path / "tpe", tpe_trials, protocol="tpe")
    assert reached_in_words(compare([0.7, 0.97], tpe, threshold=0.96))[:2] == [
        "search: 160 samples, 6.0 s; 1 of 2 seeds reached it.",
        "tpe: its seed never did, for 140 samples, 140 s.",
    ]


def test_what_a_sweep_had_for_what_the_search_takes(
    tmp_path: Path,
    compare: Callable[..., Comparison],
    write_sweep: WriteRun,
    grid_trials: Trials,
    tpe_trials: Trials,
) -> None:
    grid = write_sweep(tmp_path / "grid", grid_trials)
    late = [{**trial, "samples": 200} for trial in tpe_trials[:-1]]
    tpe = write_sweep(tmp_path / "tpe", late, protocol="tpe")
    assert equal_cost_in_words(compare([0.7, 0.9], grid, tpe)) == [
        "For the 160 samples that search takes, grid has come to 0.750 ± 0.071 (2 of 2 seeds had "
        "trained a plan by then).",
        "For the 160 samples that search takes, tpe has not trained one plan to its end with any "
        "seed.",
    ]


def test_the_whole_page(
    tmp_path: Path,
    compare: Callable[..., Comparison],
    write_run: WriteRun,
    write_sweep: WriteRun,
    grid_trials: Trials,
    tpe_trials: Trials,
) -> None:
    dead = [{**trial, "seed": 9, "state": "failed"} for trial in grid_trials[:1]]
    grid = write_sweep(tmp_path / "g|rid", [*grid_trials, *dead])
    tpe = write_sweep(tmp_path / "tpe", tpe_trials, protocol="tpe")
    begun = write_run(tmp_path / "begun", stages=("search",))
    found = compare([0.7, 0.9], grid, tpe, begun, threshold=0.7)
    text = to_markdown(found, [("field.png", "mean IoU against field")])
    headings = [line for line in text.splitlines() if line.startswith("#")]
    assert headings == [
        "# Comparison by mean IoU",
        "## What differs",
        "## Cost at which mean IoU 0.7 was first reached",
        "## At equal cost",
        "## How it was counted",
        "## What is compared",
    ]
    assert "| grid at 80 px | 2 | 0.700 ± 0.141 | 79 | 4 |" in text
    assert "The task asks for a field of 63 px." in text
    assert "![mean IoU against field](field.png)" in text
    assert text.count("chosen on the validation images that also score it") == 1
    assert text.count("A grid with several seeds has two rows") == 1
    assert "- grid has no score for seed 9: none of its trials ran to the end.\n" in text
    assert "for those of every trial that was trained to its end or pruned. What a killed" in text
    assert text.count("not charged") == 1
    assert "A trial with the plan and seed of another was answered from that one" in text
    assert "- control has fixed rates, decided beforehand: rate 1.\n" in text
    assert f"- {begun} is left out: no searched" in text
    assert f"- search: `{tmp_path / 'run0'}`, made by `dilsearch run toy --seed 0`\n" in text
    # A folder may have grown since it was begun, so that its command does not tell what it holds.
    assert (
        f", begun by `dilsearch sweep toy --out {grid}`; when read, 5 trials with seeds 0, 1, 9\n"
        in text
    )
    assert "; when read, 7 trials with seed 0\n" in text


def test_without_sweeps_nothing_is_said_of_them(compare: Callable[..., Comparison]) -> None:
    text = to_markdown(compare([0.7]))
    for words in (
        "not charged",
        "answered",
        "best of n trials",
        "two rows",
        "equal cost",
        "first reached",
        "twenty",
    ):
        assert words not in text


def test_one_method_alone(tmp_path: Path, write_sweep: WriteRun, tpe_trials: Trials) -> None:
    tpe = write_sweep(tmp_path / "tpe", tpe_trials, protocol="tpe")
    alone = Comparison.of(read_methods([str(tpe)]))
    assert differences_in_words(alone) == [
        "There is one method only, and nothing to hold it against."
    ]
    assert "permutation" not in to_markdown(alone)
