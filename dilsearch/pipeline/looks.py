"""Looks at a network while it is retrained: its validation score, and whether to go on."""

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Final

import pandas as pd
import torch
from torch import nn

from dilsearch.baselines.trial import Look
from dilsearch.pipeline.randomness import lent_generators
from dilsearch.pipeline.stages import validation_scores
from dilsearch.training import Evaluation, Hooks
from dilsearch.training.checkpoints import Row

_COLUMNS: Final = ("step", "samples", "seconds", "mean_iou")


class PrunedError(Exception):
    """A look said that a training is not worth its end.

    Args:
        history: The rows of the steps that were done.
        evaluation: What the last look saw.
    """

    def __init__(self, history: Sequence[Row], evaluation: Evaluation) -> None:
        super().__init__(f"pruned at step {history[-1]['step']}")
        self.history = list(history)
        self.evaluation = evaluation


def look_steps(steps: int, looks: int) -> tuple[int, ...]:
    """After which steps to look: evenly spaced, the last at the end; each step at most once."""
    return tuple(sorted({-(-steps * number // looks) for number in range(1, looks + 1)}))


@dataclass
class LookLog:
    """What the looks at one network saw.

    Args:
        started: ``time.monotonic`` when the trial began.
        say: Takes a line for each look.
    """

    started: float
    say: Callable[[str], None]
    rows: list[tuple[int, int, float, float]] = field(default_factory=list, init=False)

    def add(self, step: int, samples: int, mean_iou: float) -> None:
        """Note one look."""
        seconds = time.monotonic() - self.started
        self.rows.append((step, samples, round(seconds, 3), mean_iou))
        self.say(f"look at step {step}: mean IoU {mean_iou:.4f} on the validation set")

    @property
    def frame(self) -> pd.DataFrame:
        """As written to ``looks.csv``."""
        return pd.DataFrame(self.rows, columns=list(_COLUMNS))


@dataclass
class Looks(Hooks):
    """Scores a network after some steps of its training, which goes on as if nothing had been.

    Args:
        model: The network that is trained.
        steps: After which steps to look.
        score: Scores it and restores its mode.
        ask: Told step and mean IoU; whether to stop.
        log: Where looks are noted.
        device: What the network is trained on.
    """

    model: nn.Module
    steps: Collection[int]
    score: Callable[[nn.Module], Evaluation]
    ask: Look
    log: LookLog
    device: torch.device

    def is_finished(self, history: Sequence[Row]) -> bool:
        """Look if it is time to.

        Raises:
            PrunedError: If the answer is to stop.
        """
        step, samples = int(history[-1]["step"]), int(history[-1]["samples"])
        if step not in self.steps:
            return False
        with lent_generators(self.device, "look", step):  # a loader draws even to go in order
            evaluation = self.score(self.model)
        mean_iou = validation_scores(evaluation)["mean_iou"]
        if mean_iou is None:  # no pixel has a label, so there is nothing to judge by
            return False
        self.log.add(step, samples, mean_iou)
        if self.ask(step, mean_iou):
            raise PrunedError(history, evaluation)
        return False
