"""``sweep --dry-run``: the trials with their exact fields and bounds, before any is paid for."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from optuna.trial import FixedTrial
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from dilsearch.baselines.record import rates_in_words
from dilsearch.baselines.slots import SLOT
from dilsearch.baselines.trial import Slot, Suggestion
from dilsearch.cli.sweep_output import in_short
from dilsearch.cli.sweep_setup import SweepSetup
from dilsearch.pipeline.frames import whole_rates
from dilsearch.pipeline.stages import largest_field_px


@dataclass(frozen=True)
class _Planned:
    """A plan that is known before anything is trained."""

    slot: Slot
    suggestion: Suggestion
    field_px: int
    bounds: Mapping[str, int | None]
    bound_ok: bool

    def as_json(self) -> dict[str, Any]:
        sites = self.suggestion.plan.sites
        return {
            "slot": self.slot.key,
            "target_px": self.suggestion.target_px,
            "seed": self.suggestion.seed,
            "field_px": self.field_px,
            "rates": {site: whole_rates(rates) for site, rates in sites.items()},
            "bounds": self.bounds,
            "bound_ok": self.bound_ok,
            "remarks": list(self.suggestion.remarks),
        }

    @property
    def rates(self) -> str:
        """The rates of all sites in a line."""
        return in_short(rates_in_words(self.suggestion.plan))


def show_plans(setup: SweepSetup, *, as_json: bool) -> None:
    """The trials of a sweep, with the plans that are decided before anything is trained."""
    slots, total = setup.protocol.slots(setup.options.study_total), setup.total
    planned = list(_planned(setup, slots))
    each = setup.space.retrain_steps * setup.space.train.batch_size
    if as_json:
        document = {
            "protocol": setup.protocol.name,
            "total": total,
            "needed_px": setup.space.needed_px,
            "samples_each": each,
            "samples": total * each,
            "planned": [plan.as_json() for plan in planned],
        }
        print(json.dumps(document, indent=2))
        return
    console = Console(highlight=False)
    if planned:
        console.print(_plans_table(planned, setup.targets_px is not None))
    for remark in dict.fromkeys(text for plan in planned for text in plan.suggestion.remarks):
        console.print(remark, markup=False, soft_wrap=True)
    left = total - len(planned)
    if left:
        console.print(f"{left} plans will be proposed by TPE", markup=False)
    pruning = "" if setup.options.pruner_name == "none" else " at most, since some are pruned"
    console.print(
        f"{total} trials of {each:,} samples each: {total * each:,} samples{pruning}; the task "
        f"needs a field of {setup.space.needed_px} px",
        markup=False,
        soft_wrap=True,
    )


def _planned(setup: SweepSetup, slots: Sequence[Slot]) -> Iterator[_Planned]:
    """The slots whose parameters are decided, as plans."""
    for slot in slots:
        if not slot.parameters:
            continue
        trial = FixedTrial(dict(slot.parameters))
        trial.set_user_attr(SLOT, slot.key)
        suggestion = setup.protocol.suggest(trial)  # type: ignore[arg-type]
        table = setup.ground.graph.propagate(suggestion.plan)
        bounds = {row.name: row.bound for row in table.rows if row.name in suggestion.plan.sites}
        field_px = largest_field_px(table)
        yield _Planned(slot, suggestion, field_px, bounds, bool(table.bound_ok))


def _plans_table(planned: Sequence[_Planned], on_grid: bool) -> Table:
    """A row for each plan, whatever the seeds that it is trained with."""
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("target px" if on_grid else "trial", justify="right" if on_grid else "left")
    for name in ("field px", "seeds"):
        table.add_column(name, justify="right")
    for name in ("rates by site", "bound by site"):
        table.add_column(name, overflow="fold")
    seeds: dict[Any, list[int]] = {}
    for plan in planned:
        key = plan.suggestion.target_px if on_grid else plan.slot.key
        seeds.setdefault(key, []).append(plan.suggestion.seed)
    for plan in planned:
        key = plan.suggestion.target_px if on_grid else plan.slot.key
        if key in seeds:
            own = " ".join(map(str, seeds.pop(key)))
            bounds = "  ".join("-" if b is None else str(b) for b in plan.bounds.values())
            cells = (str(key), str(plan.field_px), own, plan.rates, bounds)
            table.add_row(*map(Text, cells), style=None if plan.bound_ok else "red")
    return table
