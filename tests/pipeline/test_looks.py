"""When to look at a network that trains, and what a look leaves alone."""

import random

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from dilsearch.pipeline.looks import LookLog, Looks, PrunedError, look_steps
from dilsearch.training import Evaluation, Hooks


@given(steps=st.integers(1, 2000), looks=st.integers(1, 50))
def test_they_are_evenly_spaced_and_the_last_is_at_the_end(steps: int, looks: int) -> None:
    at = look_steps(steps, looks)
    assert at[-1] == steps
    assert at[0] >= 1
    assert len(at) == min(steps, looks)
    gaps = {after - before for before, after in zip((0, *at), at, strict=False)}
    assert max(gaps) - min(gaps) <= 1


def test_published_budgets() -> None:
    assert look_steps(20, 8) == (3, 5, 8, 10, 13, 15, 18, 20)
    assert look_steps(3, 8) == (1, 2, 3)


class Answers:
    """Scores with a known result, drawing numbers on the way as a network might."""

    def __init__(self, *hits: int) -> None:
        self.hits = hits
        self.seen: list[nn.Module] = []

    def __call__(self, model: nn.Module) -> Evaluation:
        random.random()
        np.random.rand()
        torch.rand(1)
        self.seen.append(model)
        return Evaluation({"all": np.diag(self.hits).astype(np.int64)}, np.zeros(0, np.int64))


def looks(score: Answers, *, stop: bool = False) -> tuple[Looks, list[tuple[int, float]], LookLog]:
    asked: list[tuple[int, float]] = []

    def ask(step: int, mean_iou: float) -> bool:
        asked.append((step, mean_iou))
        return stop

    log = LookLog(0.0, lambda line: None)
    model, cpu = nn.Identity(), torch.device("cpu")
    return Looks(model, (2, 4), score, ask, log, cpu), asked, log


def history(steps: int) -> list[dict[str, float | int]]:
    return [{"step": step + 1, "samples": 3 * (step + 1), "loss": 1.0} for step in range(steps)]


def run_through(hooks: Hooks, steps: int = 5) -> None:
    for step in range(1, steps + 1):
        assert not hooks.is_finished(history(step))


def test_the_network_is_scored_at_its_steps_and_at_no_other() -> None:
    score = Answers(5, 5)
    hooks, asked, log = looks(score)
    run_through(hooks)
    assert asked == [(2, 1.0), (4, 1.0)]
    assert score.seen == [hooks.model] * 2
    assert log.frame[["step", "samples", "mean_iou"]].to_numpy().tolist() == [[2, 6, 1], [4, 12, 1]]


def test_a_network_that_should_stop_does_with_all_that_is_known_of_it() -> None:
    hooks, asked, _ = looks(Answers(5, 5), stop=True)
    with pytest.raises(PrunedError, match="pruned at step 2") as pruning:
        run_through(hooks)
    assert pruning.value.history == history(2)
    assert pruning.value.evaluation.counts["all"].tolist() == [[5, 0], [0, 5]]
    assert len(asked) == 1


def test_a_score_without_pixels_decides_nothing() -> None:
    hooks, asked, log = looks(Answers(0, 0), stop=True)
    run_through(hooks)
    assert not asked
    assert log.frame.empty


def test_a_look_draws_nothing() -> None:
    def drawn() -> tuple[float, float, float]:
        return random.random(), float(np.random.rand()), float(torch.rand(1))

    def after(between: object) -> tuple[float, float, float]:
        random.seed(3)
        np.random.seed(3)
        torch.manual_seed(3)
        if callable(between):
            between()
        return drawn()

    undisturbed = after(None)
    hooks, asked, _ = looks(Answers(5, 5))
    assert after(lambda: run_through(hooks)) == undisturbed
    assert asked
    # negative control: the scores do draw
    assert all(map(float.__ne__, after(lambda: Answers(5, 5)(nn.Identity())), undisturbed))
