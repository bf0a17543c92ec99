"""What was measured, and who did not take part. Nothing here imports torch."""

from dataclasses import dataclass, field
from typing import Final


@dataclass(frozen=True)
class Measurement:
    """One quantity of one contestant.

    Attributes:
        case: Name of the case.
        at: The value of the quantity that grows; None for a case of one point.
        quantity: A key of ``tables.QUANTITIES``; its ending is the unit.
        contestant: Who was measured.
        values: One for each round that counts, or a single one.
    """

    case: str
    at: float | None
    quantity: str
    contestant: str
    values: tuple[float, ...]


NOT_INSTALLED: Final = "not installed"
"""Why a contestant takes part nowhere."""


@dataclass
class Outcome:
    """What came out.

    Attributes:
        measurements: In the order they were made.
        left_out: Contestant and reason, to the names of the cases that had to do without.
    """

    measurements: list[Measurement] = field(default_factory=list)
    left_out: dict[tuple[str, str], list[str]] = field(default_factory=dict)

    def leave_out(self, contestant: str, reason: str, case: str) -> None:
        """Remember who did not take part, and why."""
        cases = self.left_out.setdefault((contestant, reason), [])
        if case not in cases:
            cases.append(case)
