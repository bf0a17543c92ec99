"""What a sweep is judged by: scores of the trained network, and the time of a forward pass."""

import math
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from dilsearch.baselines.trial import TrialResult
from dilsearch.errors import SweepError

Direction: TypeAlias = Literal["maximize", "minimize"]

_COLUMNS: Final = {"miou": "mean_iou", "latency": "latency_ms"}
_LATENCY: Final = "latency_ms"
_NAME: Final = re.compile(r"[a-z][a-z0-9_]*")


def column_of(name: str) -> str:
    """Where the values of an objective stand in a table of trials."""
    return _COLUMNS.get(name, name)


@dataclass(frozen=True, slots=True)
class Objectives:
    """One or more figures that a sweep tries to better, the first of which is a score.

    Args:
        names: As they were given: ``"miou"``, ``"latency"``, or the name of any score that the
            data set has.

    Raises:
        SweepError: If a name is none, is repeated, or the first is the latency.
    """

    names: tuple[str, ...]

    def __post_init__(self) -> None:
        said = f"objectives = '{','.join(self.names)}'"
        for name in self.names:
            if not _NAME.fullmatch(name):
                raise SweepError(
                    f"{said}: '{name}' is no name of a score; give miou, latency or a score such "
                    "as far_accuracy, joined by commas"
                )
        if len(set(self.columns)) < len(self.names):
            raise SweepError(f"{said} names one figure twice; name each once")
        if not self.names or self.primary == _LATENCY:
            raise SweepError(
                f"{said} has no score in the first place, and without one the smallest rates are "
                "best; put a score first, as in miou,latency"
            )

    @classmethod
    def parse(cls, text: str) -> "Objectives":
        """Read ``"miou,latency"``.

        Raises:
            SweepError: As the constructor.
        """
        return cls(tuple(name.strip() for name in text.split(",")))

    def __str__(self) -> str:
        return ",".join(self.names)

    @property
    def columns(self) -> tuple[str, ...]:
        """Where their values stand in a table of trials."""
        return tuple(column_of(name) for name in self.names)

    @property
    def primary(self) -> str:
        """Column of the first, a score, by which the best trial is chosen."""
        return self.columns[0]

    @property
    def directions(self) -> tuple[Direction, ...]:
        """Scores are to be high, and the latency low."""
        return tuple("minimize" if name == _LATENCY else "maximize" for name in self.columns)

    @property
    def single(self) -> bool:
        """Whether there is but one, so that trials can be pruned."""
        return len(self.names) == 1

    @property
    def needs_latency(self) -> bool:
        """Whether the time of a forward pass has to be measured."""
        return _LATENCY in self.columns

    def require_scores(self, known: Iterable[str]) -> None:
        """Refuse names that are no scores, before any network is trained for them.

        Args:
            known: Names of the scores that the data set has.

        Raises:
            SweepError: If an objective is not among them.
        """
        scores = tuple(known)
        for name, column in zip(self.names, self.columns, strict=True):
            if column != _LATENCY:
                _require_known(name, column, scores)

    def values(self, result: TrialResult) -> list[float]:
        """Their values in the result of a trial, in order.

        Raises:
            SweepError: If the result lacks one, or has no number for it.
        """
        known = {**result.scores}
        if result.latency_ms is not None:
            known[_LATENCY] = result.latency_ms
        return [
            _number(name, column, known)
            for name, column in zip(self.names, self.columns, strict=True)
        ]


def _require_known(name: str, column: str, known: Collection[str]) -> None:
    if column not in known:
        raise SweepError(
            f"objective '{name}' is not among the scores of this data set, "
            f"{', '.join(known) or 'which has none'}; choose one of these"
        )


def _number(name: str, column: str, known: dict[str, float | None]) -> float:
    _require_known(name, column, known)
    value = known[column]
    if value is None or not math.isfinite(value):
        raise SweepError(
            f"objective '{name}' has no value for this network ({column} is {value}); a score is "
            "undefined where it counts no pixel, and infinite or no number where training diverged"
        )
    return float(value)
