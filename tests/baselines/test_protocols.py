"""The grid and TPE: their slots and plans, and whole sweeps with a formula for a training."""

import json
from pathlib import Path

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState
from sweep_parts import FORM, LIMITS, LOOKS, NAMES, TRAIN_STEPS, drain, field_px, formula, graph

from dilsearch.baselines.artifacts import attached
from dilsearch.baselines.objectives import Objectives
from dilsearch.baselines.protocols import GridProtocol, SweepProtocol, TpeProtocol
from dilsearch.baselines.samplers import make_pruner
from dilsearch.baselines.shares import share_names
from dilsearch.baselines.table import best_of, plan_of_trial, trials_table
from dilsearch.baselines.trial import Look, TrialRequest, TrialResult
from dilsearch.errors import SweepError
from dilsearch.plan import DilationPlan

TARGETS = (60, 100, 101, 150, 300, 400)
FIRST = {
    "published:by hand": DilationPlan.per_branch(dict.fromkeys(NAMES, (1, 4))),
    "small": DilationPlan.per_branch(dict.fromkeys(NAMES, (1, 2))),
}
MIOU = Objectives.parse("miou")


@pytest.fixture(scope="module")
def grid() -> GridProtocol:
    return GridProtocol(FORM, graph(), LIMITS, TARGETS, (0, 1, 2))


@pytest.fixture(scope="module")
def tpe() -> TpeProtocol:
    return tpe_of()


def tpe_of(seed: int = 5, *, enforce: bool = True, most: int = 9) -> TpeProtocol:
    return TpeProtocol(FORM, graph(), dict.fromkeys(NAMES, (1, most)), enforce, seed, FIRST)


def proposed(protocol: SweepProtocol, **parameters: float) -> tuple[DilationPlan, optuna.Study]:
    study = optuna.create_study()
    study.enqueue_trial(parameters)
    return protocol.suggest(study.ask()).plan, study


class TestGrid:
    def test_a_slot_for_each_schedule_and_seed(self, grid: GridProtocol):
        keys = [slot.key for slot in grid.slots()]
        # 101 px has the schedule of 100 px, and 400 px that of 300 px: all rates at their limits
        assert keys[:4] == ["60 px seed 0", "100 px seed 0", "150 px seed 0", "300 px seed 0"]
        assert keys[4] == "60 px seed 1"
        assert len(set(keys)) == grid.total == 12
        assert grid.slots()[5].parameters == {"target_px": 100, "seed": 1}
        assert grid.slots(5) == grid.slots()[:5]

    def test_what_is_trained(self, grid: GridProtocol):
        study = optuna.create_study()
        study.enqueue_trial({"target_px": 100, "seed": 2})
        suggestion = grid.suggest(study.ask())
        assert (suggestion.target_px, suggestion.seed) == (100, 2)
        assert abs(field_px(suggestion.plan) - 100) < 4
        assert suggestion.remarks == ("the closest schedule to 101 px too",)
        assert study.trials[0].constraints["bound"] <= 0
        assert study.trials[0].constraints["order"] <= 0

    def test_in_words(self, grid: GridProtocol):
        said = grid.describe()
        assert json.loads(json.dumps(said)) == said
        assert said["sweep"].startswith("grid of 6 fields of view from 60 to 400 px")
        assert said["sites"]["a"] == "2 rates by branch, 1 to 9"
        assert said["schedules"][3].startswith("150 px: field 151 px, largest rates grow by")
        lowest = GridProtocol(FORM, graph(), LIMITS, (1,), (0,)).describe()
        assert lowest["schedules"] == ["1 px: field 47 px, largest rate of every site 1"]
        assert said == GridProtocol(FORM, graph(), LIMITS, TARGETS, (0, 1, 2)).describe()
        assert said != GridProtocol(FORM, graph(), LIMITS, TARGETS, (0, 1)).describe()

    @pytest.mark.parametrize(
        ("targets", "seeds", "message"),
        [
            ((), (0,), r"targets \[\] are no grid; give fields of at least 1 px"),
            ((0, 50), (0,), r"targets \[0, 50\] are no grid"),
            ((50,), (), r"seeds \[\] are no seeds; give whole numbers from 0 on"),
            ((50,), (-1,), r"seeds \[-1\] are no seeds"),
        ],
    )
    def test_refused(self, targets: tuple[int, ...], seeds: tuple[int, ...], message: str):
        with pytest.raises(SweepError, match=message):
            GridProtocol(FORM, graph(), LIMITS, targets, seeds)

    def test_a_whole_sweep(self, grid: GridProtocol, tmp_path: Path):
        study = optuna.create_study(directions=MIOU.directions)
        drain(study, grid, MIOU, formula(tmp_path), tmp_path)
        table = trials_table(study)
        assert (table["state"] == "complete").all()
        assert table["samples"].sum() == 12 * 8 * TRAIN_STEPS
        best = best_of(table, "grid", MIOU)
        assert best is not None
        assert (best.target_px, best.seeds, best.slot) == (150, 3, "150 px seed 0")
        assert best.std == pytest.approx(1e-4)
        assert table["reason"].notna().sum() == 6  # 100 and 300 px, three seeds each


class TestTpe:
    def test_lists_come_first(self, tpe: TpeProtocol):
        slots = tpe.slots(5)
        keys = ["first published:by hand", "first small", "tpe 2", "tpe 3", "tpe 4"]
        assert [slot.key for slot in slots] == keys
        assert slots[0].parameters.keys() == set(share_names(FORM))
        assert slots[2].parameters == {}

    @given(total=st.integers(0, 40))
    @settings(max_examples=10, deadline=None)
    def test_more_slots_only_add(self, tpe: TpeProtocol, total: int):
        assert tpe.slots(40)[:total] == tpe.slots(total)

    def test_it_has_no_end_of_its_own(self, tpe: TpeProtocol):
        assert tpe.total is None
        with pytest.raises(SweepError, match="no end of their own; say how many with --trials"):
            tpe.slots(None)

    @given(data=st.data(), enforce=st.booleans())
    @settings(max_examples=25, deadline=None)
    def test_every_proposal_keeps_order_and_bound(self, data: st.DataObject, enforce: bool):
        names = share_names(FORM)
        shares = {name: data.draw(st.floats(0, 1), label=name) for name in names}
        plan, study = proposed(tpe_of(enforce=enforce), **shares)
        trial = study.trials[0]
        assert plan.is_integer
        assert trial.constraints["order"] <= 0
        assert trial.constraints.keys() == ({"order", "bound"} if enforce else {"order"})
        assert trial.constraints.get("bound", 0) <= 0
        assert trial.distributions == dict.fromkeys(names, FloatDistribution(0.0, 1.0))

    def test_without_the_bound_it_can_be_exceeded(self):
        plan, _ = proposed(tpe_of(enforce=False), **dict.fromkeys(share_names(FORM), 1.0))
        assert plan["a"] == (9, 9)  # the bound is 3

    def test_in_words(self, tpe: TpeProtocol):
        said = tpe.describe()
        assert json.loads(json.dumps(said)) == said
        assert said["sweep"] == (
            "plans proposed by TPE, within the bound, after 2 lists of rates tried first; "
            "every plan trained with seed 5"
        )
        assert said["first"]["small"].startswith("a (1, 2), b (1, 2), c (1, 2), d (1, 2) (plan ")
        assert said == tpe_of().describe()
        for other in (tpe_of(seed=6), tpe_of(enforce=False), tpe_of(most=8)):
            assert said != other.describe()

    def test_a_list_that_does_not_fit(self):
        first = {"exp48": DilationPlan.per_branch({"a": (1, 2)})}
        with pytest.raises(SweepError, match="first list 'exp48' has 1 sites, and 4 are searched"):
            TpeProtocol(FORM, graph(), LIMITS, True, 0, first)


class TestSweepsOfTpe:
    def sweep(
        self, folder: Path, protocol: TpeProtocol, *, total: int, pruner: str = "none"
    ) -> tuple[optuna.Study, list[TrialRequest]]:
        study = optuna.create_study(
            direction="maximize",
            pruner=make_pruner(pruner, looks=LOOKS, train_steps=TRAIN_STEPS),
        )
        trained: list[TrialRequest] = []
        train = formula(folder)

        def noted(request: TrialRequest, look: Look | None) -> TrialResult:
            trained.append(request)
            return train(request, look)

        drain(study, protocol, MIOU, noted, folder, total=total, prunes=pruner != "none")
        return study, trained

    def test_it_finds_the_field_and_prunes(self, tmp_path: Path):
        study, trained = self.sweep(tmp_path, tpe_of(), total=24, pruner="median")
        table = trials_table(study)
        best = best_of(table, "tpe", MIOU)
        assert best is not None
        assert abs(best.field_px - 150) <= 8
        assert best.std is None
        assert table["state"].isin(["complete", "pruned"]).all()
        pruned = table[table["state"] == "pruned"]
        assert 0 < len(pruned) < 16
        assert (pruned["samples"] < 8 * TRAIN_STEPS).all()
        assert (pruned["samples"] >= 8 * TRAIN_STEPS / 3).all()
        assert pruned["mean_iou"].notna().all()
        assert table["reason"][0] == "published:by hand: site 'a' (1, 4) lowered to (1, 3)"
        assert {request.suggestion.seed for request in trained} == {5}
        late, early = table["mean_iou"][16:].max(), table["mean_iou"][2:12].min()
        assert late > early

    def test_equal_plans_are_trained_once(self, tmp_path: Path):
        study, trained = self.sweep(tmp_path, tpe_of(most=2), total=24, pruner="median")
        plans = [request.suggestion.plan for request in trained]
        assert len(set(plans)) == len(plans) < 24
        table = trials_table(study)
        answered = table[table["answered_from"].notna()]
        assert len(answered) == 24 - len(plans)
        assert (answered["samples"] == 0).all()
        for row in answered.itertuples():
            twin = table.loc[row.answered_from]
            assert (row.state, row.mean_iou) == (twin["state"], twin["mean_iou"])
            assert (row.plan_hash, row.field_px) == (twin["plan_hash"], twin["field_px"])
            twins = study.trials[row.number], study.trials[row.answered_from]
            assert twins[0].intermediate_values == twins[1].intermediate_values
            assert plan_of_trial(twins[0]) == plan_of_trial(twins[1])
            assert sorted(attached(study._storage, twins[0])) == [
                "counts.csv",
                "log.txt",
                "plan.json",
            ]

    def test_equal_seeds_give_equal_sweeps(self, tmp_path: Path):
        def proposals(name: str, seed: int) -> list[dict[str, float]]:
            study, _ = self.sweep(tmp_path / name, tpe_of(seed), total=12)
            return [trial.params for trial in study.trials]

        first = proposals("first", 1)
        assert first == proposals("again", 1)
        assert first != proposals("other", 2)

    def test_two_objectives(self, tmp_path: Path):
        objectives = Objectives.parse("miou,latency")
        study = optuna.create_study(directions=objectives.directions)
        train = formula(tmp_path, latency=True)
        drain(study, tpe_of(), objectives, train, tmp_path, total=15)
        assert all(trial.state == TrialState.COMPLETE for trial in study.trials)
        assert trials_table(study)["latency_ms"].notna().all()
