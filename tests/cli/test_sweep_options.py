"""What may be asked of a sweep: checked by words alone, before anything is read or made."""

import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dilsearch.cli.sweep_options import SweepOptions
from dilsearch.cli.sweep_setup import SweepSetup
from dilsearch.errors import DilsearchError
from dilsearch.space import SearchSpace

PLAIN = SweepOptions(space="toy", data=None, profile=None, device="auto", overrides=[])
OUT = Path("there")


def options(**given: Any) -> SweepOptions:
    return replace(PLAIN, **given)


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"grid": "50:100:10", "seeds": "0-9", "pruner": "none"},
        {"trials": 5, "seed": 3, "pruner": "hyperband"},
        {"trials": 5, "total": 5},
        {"trials": 5, "objectives": "miou,latency"},
        {"objectives": "far_accuracy,latency"},
    ],
)
def test_what_goes_together_is_let_through(given: dict[str, Any]) -> None:
    options(**given).check()


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"grid": "1:2:1", "trials": 2}, "--grid and --trials exclude each other"),
        ({"grid": "9:2:1"}, 'grid "9:2:1" runs backwards'),
        ({"seeds": "0-2", "trials": 2}, "--seeds belongs to a grid"),
        ({"seeds": "two"}, "--seeds two: 'two' is no seed"),
        ({"seed": 0}, "--seed belongs to --trials; a grid is trained with each of --seeds"),
        ({"total": 4}, "--total counts proposed trials, and a grid has its own number"),
        ({"trials": 9, "total": 4}, "--trials 9 is more than the 4 of --total"),
        (
            {"trials": 2, "total": 9, "workers": 3},
            "--workers 3 are more than the 2 trials that they share; start fewer",
        ),
        ({"pruner": "median"}, "--pruner median belongs to --trials"),
        (
            {"pruner": "meadian", "trials": 2},
            r"there is no pruner 'meadian' \(did you mean 'median'\?\)",
        ),
        (
            {"pruner": "median", "trials": 2, "objectives": "miou,latency"},
            r"--pruner median judges by one objective, and there are 2 \(miou,latency\)",
        ),
        ({"objectives": "latency"}, "put a score first"),
        ({"objectives": "miou,miou"}, "names one figure twice"),
        ({"heartbeat_seconds": 5, "grace_seconds": 9}, "--grace 9 s is less than two heartbeats"),
    ],
)
def test_what_does_not_go_together_is_told(given: dict[str, Any], text: str) -> None:
    with pytest.raises(DilsearchError, match=text):
        options(**given).check()


def test_all_faults_are_told_at_once() -> None:
    with pytest.raises(DilsearchError, match=r"(?s)2 faults:.*--total.*--seed"):
        options(total=3, seed=1).check()


@pytest.mark.parametrize(
    ("given", "pruner"),
    [
        ({}, "none"),
        ({"trials": 5}, "median"),
        ({"trials": 5, "objectives": "miou,latency"}, "none"),
        ({"trials": 5, "pruner": "none"}, "none"),
    ],
)
def test_only_proposed_plans_with_one_objective_are_pruned(
    given: dict[str, Any], pruner: str
) -> None:
    assert options(**given).pruner_name == pruner


@pytest.mark.parametrize(
    ("given", "total", "at_most"),
    [({}, None, None), ({"trials": 7}, 7, None), ({"trials": 7, "total": 40}, 40, 7)],
)
def test_trials_are_the_total_unless_one_is_given(
    given: dict[str, Any], total: int | None, at_most: int | None
) -> None:
    assert (options(**given).study_total, options(**given).at_most) == (total, at_most)


def test_folder_and_study_are_named_after_space_and_protocol() -> None:
    space = SearchSpace.load("toy")
    digits = space.hash[:8]
    assert options().folder(space) == Path("runs/toy-grid")
    assert options().study_name(space) == f"toy-grid-{digits}"
    assert options(trials=3, seed=2).folder(space) == Path("runs/toy-tpe-seed2")
    assert options(trials=3).study_name(space) == f"toy-tpe-seed0-{digits}"
    assert options(out=OUT, study="mine").folder(space) == OUT
    assert options(study="mine").study_name(space) == "mine"


def test_words_say_what_was_asked_for_and_no_defaults() -> None:
    assert options().words(OUT) == ["dilsearch", "sweep", "toy", "--out", "there"]
    asked = options(
        trials=4, seed=1, pruner="none", workers=2, profile="smoke", overrides=["data.size_px=32"]
    )
    assert shlex.join(asked.words(OUT)) == (
        "dilsearch sweep toy --out there --trials 4 --seed 1 --pruner none --workers 2 "
        "--profile smoke --set data.size_px=32"
    )


@pytest.mark.parametrize(
    ("storage", "shown"),
    [
        ("postgresql://me:s3cret@host/name", "postgresql://me:***@host/name"),
        (
            "postgresql+psycopg://me:a/b@host:5432/name",
            "postgresql+psycopg://me:***@host:5432/name",
        ),
        ("redis://:s3cret@host", "redis://:***@host"),
        (
            "postgresql://host/name?user=me&password=s3cret",
            "postgresql://host/name?user=me&password=***",
        ),
        ("postgresql://host:5432/name", "postgresql://host:5432/name"),
        ("sqlite:////a/b@c.db", "sqlite:////a/b@c.db"),
        ("there/study.journal", "there/study.journal"),
    ],
)
def test_no_command_line_holds_a_password(storage: str, shown: str) -> None:
    asked = options(storage=storage, workers=2)
    assert shown in asked.words(OUT)
    assert "s3cret" not in " ".join(asked.words(OUT))
    # Workers are given it by their environment: everybody can read what processes are called with.
    assert "--storage" not in asked.worker_words(OUT, 0, 2)
    assert SweepSetup(asked).worker_environment == {"DILSEARCH_STORAGE": storage}
    assert SweepSetup(options()).worker_environment == {}


def test_a_worker_has_the_command_without_the_others_and_is_quiet() -> None:
    asked = options(trials=4, workers=2, data=Path("d"), device="cpu")
    assert shlex.join(asked.worker_words(OUT, 1, 2)) == (
        "dilsearch sweep toy --out there --trials 4 --data d --device cpu --worker --quiet"
    )


@given(trials=st.integers(20, 200), workers=st.integers(1, 20))
def test_workers_share_what_a_command_takes_on(trials: int, workers: int) -> None:
    asked = options(trials=trials, total=1000, workers=workers)
    shares = []
    for number in range(workers):
        words = asked.worker_words(OUT, number, workers)
        shares.append(int(words[words.index("--trials") + 1]))
    assert sum(shares) == trials
    assert max(shares) - min(shares) <= 1
