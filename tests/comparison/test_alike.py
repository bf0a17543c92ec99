from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dilsearch.comparison.alike import require_alike
from dilsearch.comparison.sources import find_sources
from dilsearch.errors import ComparisonError
from dilsearch.runs import RunFolder

WriteRun = Callable[..., Path]


def check(*given: object) -> None:
    require_alike(find_sources([str(text) for text in given]).finished)


def fault(*given: object) -> str:
    with pytest.raises(ComparisonError) as caught:
        check(*given)
    return str(caught.value)


@pytest.fixture
def run(tmp_path: Path, write_run: WriteRun) -> Path:
    return write_run(tmp_path / "a")


def test_methods_may_differ_in_what_is_theirs(
    tmp_path: Path, run: Path, write_run: WriteRun, write_sweep: WriteRun
) -> None:
    own = (
        "search.steps=40",
        "search.smoothing=0",
        "control.rate=3",
        "sites.1.initial=4.0",
        "sweep.targets=3",
    )
    other = write_run(tmp_path / "b", overrides=own)
    sweep = write_sweep(tmp_path / "sweep", [{"seed": 0, "target_px": 40, "mean_iou": 0.5}])
    check(run, f"other={other}", sweep)


def test_the_same_field_and_steps_may_be_said_in_two_ways(
    tmp_path: Path, run: Path, write_run: WriteRun
) -> None:
    said = ("field.needed_px=63", "retrain.base_steps=5")
    check(run, f"other={write_run(tmp_path / 'b', overrides=said)}")


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("train.batch_size=8", "train.batch_size is 8, not 4"),
        ("retrain.steps=21", "retrain.steps is 21, not 20"),
        ("sites.1.upper=5", "sites.1.upper is 5, not absent"),
        ("gap.policy=report", "gap.policy is report, not enforce"),
        ("model.options.width=16", "model.options.width is 16, not 32"),
        ("field.needed_px=64", "field.needed_px is 64, not 63"),
    ],
)
def test_another_recipe_is_refused(
    tmp_path: Path, run: Path, write_run: WriteRun, override: str, said: str
) -> None:
    other = write_run(tmp_path / "b", seed=1, overrides=(override,))
    assert fault(run, other) == (
        f"{other} was not trained like {run}: {said}. Compare runs with one recipe and one retrain "
        "budget; only search, control, sweep and the initial rates of sites may differ."
    )


def test_many_differences_are_counted(tmp_path: Path, run: Path, write_run: WriteRun) -> None:
    changed = [f"train.{key}" for key in (
        "batch_size=8", "learning_rate=0.5", "momentum=0.5", "weight_decay=0.5", "warmup_steps=6",
        "poly_power=0.5", "loss=ohem",
    )]  # fmt: skip
    other = write_run(tmp_path / "b", overrides=changed)
    assert "train.warmup_steps is 6, not 5, and 2 more. Compare" in fault(run, other)


def test_other_data_is_refused(tmp_path: Path, run: Path, write_run: WriteRun) -> None:
    other = write_run(tmp_path / "b", seed=1, data="e" * 64)
    assert fault(run, other) == (
        f"{run} and {other} were trained on different data (hash dddddddddddd and eeeeeeeeeeee), "
        "and scores of different ones say nothing of the methods; compare runs of the same"
    )


def test_another_network_of_ones_own_is_refused(
    tmp_path: Path, run: Path, write_run: WriteRun
) -> None:
    other = write_run(tmp_path / "b", seed=1)
    RunFolder.open(run).note_hash("network", "1" * 64)
    check(run, other)  # built in: known by the recipe alone
    RunFolder.open(other).note_hash("network", "2" * 64)
    assert f"{run} and {other} trained different networks (hash 1111" in fault(run, other)


def test_a_method_has_one_run_of_each_seed(
    tmp_path: Path, run: Path, write_run: WriteRun, write_sweep: WriteRun
) -> None:
    other = write_run(tmp_path / "b")
    assert fault(run, other) == (
        f"'search' has two runs of seed 0, {run} and {other}; leave one out, or name them apart, "
        "LABEL=FOLDER"
    )
    check(run, f"again={other}")
    trial = {"target_px": 40, "mean_iou": 0.5}
    one = write_sweep(tmp_path / "g1", [{**trial, "seed": seed} for seed in (0, 1)])
    two = write_sweep(tmp_path / "g2", [{**trial, "seed": seed} for seed in (1, 2)])
    assert fault(one, two).startswith(f"'grid' has two runs of seed 1, {one} and {two};")


def test_a_name_stands_for_one_kind(
    tmp_path: Path, run: Path, write_sweep: WriteRun, tpe_trials: list[dict[str, Any]]
) -> None:
    sweep = write_sweep(tmp_path / "tpe", tpe_trials, protocol="tpe")
    assert fault(f"A={run}", f"A={sweep}") == (
        f"'A' would stand for a search ({run}) and a tpe ({sweep}); give each kind a name of its "
        "own, LABEL=FOLDER"
    )


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("search.smoothing=0", "search.smoothing is 0.0, not absent"),
        ("sites.1.initial=4.0", "sites.1.initial is 4.0, not 1.0"),
    ],
)
def test_the_seeds_of_a_method_share_its_settings(
    tmp_path: Path, run: Path, write_run: WriteRun, override: str, said: str
) -> None:
    other = write_run(tmp_path / "b", seed=1, overrides=(override,))
    assert fault(run, other) == (
        f"'search' would stand for {run} and {other}, whose settings differ: {said}. Name them "
        "apart, LABEL=FOLDER."
    )
    check(run, f"other={other}")


@pytest.mark.parametrize(
    ("described", "said"),
    [
        ({"pruner": "hyperband"}, "sweep.pruner is hyperband, not median"),
        ({"looks": 4}, "sweep.looks is 4, not absent"),
        ({"first": {"exp48": "a (1)"}}, "sweep.first.exp48 is a (1), not absent"),
        ({"enforce": False}, "sweep.enforce is False, not absent"),
        ({"sites": {"a": "2 rates"}}, "sweep.sites.a is 2 rates, not absent"),
    ],
)
def test_the_seeds_of_a_sweep_share_what_describes_it(
    tmp_path: Path,
    write_sweep: WriteRun,
    tpe_trials: list[dict[str, Any]],
    described: dict[str, Any],
    said: str,
) -> None:
    one = write_sweep(tmp_path / "a", tpe_trials, protocol="tpe")
    other = [{**trial, "seed": 1} for trial in tpe_trials]
    same = write_sweep(tmp_path / "b", other, protocol="tpe", seed=1)
    two = write_sweep(tmp_path / "c", other, protocol="tpe", seed=1, description=described)
    check(one, same)  # their seeds differ, and may
    assert fault(one, two).endswith(f"settings differ: {said}. Name them apart, LABEL=FOLDER.")


def test_the_grids_of_a_method_have_the_same_targets(tmp_path: Path, write_sweep: WriteRun) -> None:
    trial = {"target_px": 40, "mean_iou": 0.5}
    one = write_sweep(tmp_path / "g1", [{**trial, "seed": 0}])
    check(one, write_sweep(tmp_path / "g2", [{**trial, "seed": 1}]))
    other = write_sweep(tmp_path / "g3", [{**trial, "seed": 1, "target_px": 80}])
    assert "sweep.targets_px is [80], not [40]" in fault(one, other)


def test_the_seeds_of_a_sweep_share_its_budget(
    tmp_path: Path, write_sweep: WriteRun, tpe_trials: list[dict[str, Any]]
) -> None:
    one = write_sweep(tmp_path / "a", tpe_trials, protocol="tpe", total=6)
    other = [{**trial, "seed": 1} for trial in tpe_trials]
    two = write_sweep(tmp_path / "b", other, protocol="tpe", seed=1, total=7)
    assert "whose settings differ: sweep.total is 7, not 6. Name" in fault(one, two)
