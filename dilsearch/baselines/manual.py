"""Rate schedules in the manual style of the RegSeg paper, for a field that is aimed at."""

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from dilsearch.errors import SweepError
from dilsearch.geometry import FieldGraph, Limits
from dilsearch.geometry.bounds import limits_of
from dilsearch.geometry.choose import Chosen, choose_with_fields
from dilsearch.plan import DilationPlan

_USUAL_GROWTH: Final = 2


@dataclass(frozen=True, slots=True)
class ManualSchedule:
    """The manual schedule that comes closest to a field.

    Args:
        target_px: The field aimed at.
        field_px: The larger side of the field that it has behind the last site.
        growth: By how much the rate grows from one site to the next.
        largest: The rate at which it stops growing.
        plan: Its rates.
    """

    target_px: int
    field_px: int
    growth: int
    largest: int
    plan: DilationPlan


def manual_schedule(
    target_px: int, form: DilationPlan, graph: FieldGraph, *, limits: Limits | None = None
) -> ManualSchedule:
    """The schedule whose exact field is closest to a target, as a person would write it.

    Large branches grow by the same amount from site to site and then keep one rate, as in
    1, 2, 4, 6, 8, 10, 12, 12, 12; all smaller branches stay at the lower limit. No rate exceeds its
    limit or its bound, and none lies below the one in front of it unless these ask for it. Sites
    and channels with one rate for all have the large one. Where a network has a single site, there
    is nothing to grow along, and any rate may be its.

    Of schedules equally close the one with the growth nearest to 2 is taken, the paper's, and of
    these the one with the smallest largest rate.

    Args:
        target_px: The field aimed at, in px.
        form: A plan of the sites; its rates do not matter.
        graph: The network's field graph.
        limits: Limits of the rates by site.

    Raises:
        SweepError: If the target is below 1 px, or the form has no sites.
        PlanError: As ``choose_rates``.

    Source: the ablation studies published with the code of RegSeg (Gao 2022), exp43 to exp52.
    """
    return manual_schedules((target_px,), form, graph, limits=limits)[0]


def manual_schedules(
    targets_px: Sequence[int],
    form: DilationPlan,
    graph: FieldGraph,
    *,
    limits: Limits | None = None,
) -> tuple[ManualSchedule, ...]:
    """``manual_schedule`` for several targets, which look at the same schedules once.

    Raises:
        SweepError: As ``manual_schedule``.
        PlanError: As ``manual_schedule``.
    """
    if not form:
        raise SweepError("a plan without sites has no schedule; search at least one convolution")
    for target_px in targets_px:
        if target_px < 1:
            raise SweepError(f"the target field {target_px} px is below 1 px; give a larger one")
    family = _Family(form, graph.in_form_of(form), limits)
    return tuple(family.closest(target_px) for target_px in targets_px)


class _Family:
    """The manual schedules of one network, each made when it is first asked for."""

    def __init__(self, form: DilationPlan, graph: FieldGraph, limits: Limits | None) -> None:
        self._form, self._graph, self._limits = form, graph, limits
        self._lowest = min(limits_of(site, limits)[0] for site in form)
        self._highest = max(limits_of(site, limits)[1] for site in form)
        self._members: dict[tuple[int, int], Chosen] = {}

    def closest(self, target_px: int) -> ManualSchedule:
        """The member with the field closest to a target.

        For any one growth, the field never shrinks while the largest rate grows.
        """
        # A rate as large as the target sees more than that by itself, so none beyond is closer.
        highest = int(min(self._highest, max(target_px, self._lowest)))
        found: list[ManualSchedule] = []
        for growth in self._growths(target_px, highest):
            # Below the growth, all but the first site have the largest rate, as with less growth.
            lowest = self._lowest if growth <= _USUAL_GROWTH else max(growth, self._lowest)
            rates = range(lowest, highest + 1)
            for largest in _around(target_px, rates, partial(self._field_px, growth)):
                chosen = self._member(growth, largest)
                field_px = self._field_px(growth, largest)
                found.append(ManualSchedule(target_px, field_px, growth, largest, chosen.plan))
        return min(found, key=_closeness)

    def _growths(self, target_px: int, highest: int) -> Iterator[int]:
        """The growths worth trying, from 1 up to where more brings nothing closer."""
        if len(self._form) == 1:
            yield _USUAL_GROWTH
            return
        steepest = self._member(highest, highest).plan
        for growth in range(1, max(highest, _USUAL_GROWTH) + 1):
            yield growth
            # Schedules of more growth are new only if their rates are larger; they see more yet.
            reached = self._field_px(growth, min(growth, highest)) >= target_px
            # Or limits and bounds hold the rates back, however steep they are meant to be.
            held = self._member(growth, highest).plan == steepest
            if growth >= _USUAL_GROWTH and (reached or held):
                return

    def _field_px(self, growth: int, largest: int) -> int:
        return max(field.size_px for field in self._member(growth, largest).fields)

    def _member(self, growth: int, largest: int) -> Chosen:
        if (growth, largest) not in self._members:
            self._members[growth, largest] = self._make(growth, largest)
        return self._members[growth, largest]

    def _make(self, growth: int, largest: int) -> Chosen:
        at, before = 0, 1

        def choose(site: str, highest: tuple[int, ...]) -> Sequence[int]:
            nonlocal at, before
            lower, entry = limits_of(site, self._limits)[0], self._form.sites[site]
            grown = largest if len(self._form) == 1 else min(largest, growth * at)
            wanted = max(lower, grown, before)
            large = [min(wanted, most) for most in highest]
            at, before = at + 1, max(large)
            small = entry.count - 1 if entry.kind == "branch" else 0
            return [lower] * (small * entry.axes) + large * (entry.count - small)

        return choose_with_fields(self._form, self._graph, choose, limits=self._limits)


def _around(target_px: int, rates: Sequence[int], field_px: Callable[[int], int]) -> Iterator[int]:
    """The smallest rate whose field reaches the target, and the smallest with the field below."""
    reaching = bisect_left(rates, target_px, key=field_px)
    if reaching < len(rates):
        yield rates[reaching]
    if reaching > 0:
        below_px = field_px(rates[reaching - 1])
        yield rates[bisect_left(rates, below_px, key=field_px)]


def _closeness(schedule: ManualSchedule) -> tuple[int, int, int, int]:
    """Smaller is better: as far from the target, from the paper's growth, and then the least."""
    distance_px = abs(schedule.field_px - schedule.target_px)
    from_usual = abs(schedule.growth - _USUAL_GROWTH)
    return distance_px, from_usual, schedule.largest, schedule.growth
