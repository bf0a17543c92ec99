"""Slots under workers that see the study as it was, die at any moment, and wake up too late."""

from collections import Counter
from dataclasses import dataclass, field

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState
from small_sweep import SmallProtocol

from dilsearch.baselines.slots import (
    FAILURE,
    INTERRUPTED,
    REASON,
    RESERVED_BY,
    RETRY_OF,
    SLOT,
    SURPLUS,
    SlotState,
    claim,
    remove_surplus,
    reserve,
    slot_states,
    trial_id_of,
    wanted_states,
)
from dilsearch.baselines.storage import OpenedStorage
from dilsearch.baselines.trial import Slot

optuna.logging.set_verbosity(optuna.logging.WARNING)

SLOTS = SmallProtocol().slots
ACTIONS = (
    "look",
    "look",
    "reserve",
    "fill",
    "claim",
    "claim",
    "tidy",
    "finish",
    "die",
    "interrupt",
)
FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)


@dataclass
class Worker:
    """A worker whose picture of the study is as old as its last look."""

    name: str
    total: int
    states: list[SlotState] = field(default_factory=list)
    at_work: FrozenTrial | None = None


class World:
    """A study in memory, and workers that act in any order."""

    def __init__(self, totals: list[int], replaces_failed: bool) -> None:
        storage = optuna.storages.InMemoryStorage()
        self.opened = OpenedStorage(storage, "memory", False, "", 1, 2)
        self.study = optuna.create_study(storage=storage)
        self.workers = [Worker(f"worker {n}", total) for n, total in enumerate(totals)]
        self.replaces_failed = replaces_failed

    def act(self, worker: Worker, action: str) -> None:
        if action == "look":
            worker.states = self.states(worker.total)
        elif action == "reserve":
            reserve(self.study, worker.states, worker.name)
        elif action == "fill":
            self.fill_unseen(worker)
        elif action == "claim" and worker.at_work is None:
            worker.at_work = claim(self.opened, worker.states)
        elif action == "tidy":
            remove_surplus(self.opened, worker.states)
        elif worker.at_work is not None:
            self.end(worker, action)

    def fill_unseen(self, worker: Worker) -> None:
        """What comes of ``reserve`` where another one fills the slot after it has looked."""
        for state in worker.states:
            if state.is_empty:
                note = {SLOT: state.slot.key, RESERVED_BY: worker.name}
                self.study.enqueue_trial(dict(state.slot.parameters), user_attrs=note)
                return

    def end(self, worker: Worker, action: str) -> None:
        assert worker.at_work is not None
        trial_id, worker.at_work = trial_id_of(worker.at_work), None
        storage = self.opened.storage
        try:
            if action == "finish":
                storage.set_trial_state_values(trial_id, TrialState.COMPLETE, [1.0])
                return
            if action == "interrupt":
                storage.set_trial_user_attr(trial_id, FAILURE, INTERRUPTED)
            storage.set_trial_state_values(trial_id, TrialState.FAIL)
        except UpdateFinishedTrialError:
            pass  # given up by another

    def give_up(self, number: int) -> None:
        """Fail a running trial under its worker, which goes on and knows nothing of it."""
        running = self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        if running:
            trial_id = trial_id_of(running[number % len(running)])
            self.opened.storage.set_trial_state_values(trial_id, TrialState.FAIL)

    def states(self, total: int) -> list[SlotState]:
        trials = self.study.get_trials(deepcopy=False)
        return wanted_states(SLOTS, total, trials, replaces_failed=self.replaces_failed)

    def work_to_the_end(self, total: int) -> None:
        for worker in self.workers:
            if worker.at_work is not None:
                self.end(worker, "die")
        healthy = Worker("healthy", total)
        for _ in range(500):
            for action in ("look", "reserve", "look", "tidy", "look", "claim", "finish"):
                self.act(healthy, action)
            if all(state.is_decided for state in self.states(total)):
                return
        raise AssertionError("it does not end")


def check(trials: list[FrozenTrial], highest_total: int) -> None:
    """No slot is finished twice, none is run twice at once, and never too many are finished."""
    finished = Counter(trial.user_attrs[SLOT] for trial in trials if trial.state in FINISHED)
    running = Counter(t.user_attrs[SLOT] for t in trials if t.state == TrialState.RUNNING)
    assert all(count == 1 for count in finished.values())
    assert all(count == 1 for count in running.values())
    assert not set(finished) & set(running)
    assert finished.total() + running.total() <= highest_total


STEPS = st.lists(
    st.one_of(
        st.tuples(st.integers(0, 2), st.sampled_from(ACTIONS)),
        st.tuples(st.integers(0, 2), st.just("give up")),
    ),
    min_size=10,
    max_size=80,
)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 6), min_size=3, max_size=3), STEPS, st.booleans())
def test_whatever_happens_no_slot_is_finished_twice_and_none_is_lost(
    totals: list[int], steps: list[tuple[int, str]], replaces_failed: bool
) -> None:
    world = World(totals, replaces_failed)
    highest = max(totals)
    for number, action in steps:
        if action == "give up":
            world.give_up(number)
        else:
            world.act(world.workers[number], action)
        check(world.study.get_trials(deepcopy=False), highest)
    world.work_to_the_end(highest)
    trials = world.study.get_trials(deepcopy=False)
    check(trials, highest)
    states = world.states(highest)
    finished = sum(state.is_finished for state in states)
    closed = [state for state in states if state.is_closed]
    assert all(state.failures >= 2 for state in closed)
    assert finished == (highest if replaces_failed else highest - len(closed))


def test_the_check_can_fail() -> None:
    """Control: claiming whatever waits, as Optuna does, runs a slot twice."""
    world = World([1, 1], False)
    for worker in world.workers:
        world.act(worker, "look")
    for worker in world.workers:
        world.study.enqueue_trial({}, user_attrs={SLOT: "place 0", RESERVED_BY: worker.name})
        world.study.ask()
    with pytest.raises(AssertionError):
        check(world.study.get_trials(), 1)


@pytest.fixture
def world() -> World:
    return World([3, 3], False)


def fill(world: World, worker: Worker) -> list[str]:
    return [state.slot.key for state in reserve(world.study, world.states(3), worker.name)]


def test_who_meets_another_leaves_it_to_the_first(world: World) -> None:
    one, other = world.workers
    original = world.study.enqueue_trial

    def overtaken(*arguments: object, **options: object) -> None:
        world.study.enqueue_trial = original  # type: ignore[method-assign]
        fill(world, other)
        original(*arguments, **options)  # type: ignore[arg-type]

    world.study.enqueue_trial = overtaken  # type: ignore[method-assign]
    assert fill(world, one) == ["place 0"]
    keys = [trial.user_attrs[SLOT] for trial in world.study.get_trials()]
    assert keys == ["place 0", "place 1", "place 2", "place 0"]
    (surplus,) = world.states(3)[0].surplus
    assert surplus.number == 3


def test_surplus_is_failed_untrained_and_does_not_count(world: World) -> None:
    for _ in range(2):
        world.study.enqueue_trial({}, user_attrs={SLOT: "place 0"})
    remove_surplus(world.opened, world.states(3))
    trial = world.study.get_trials()[1]
    assert trial.state == TrialState.FAIL
    assert trial.user_attrs[FAILURE] == SURPLUS
    assert trial.user_attrs[REASON] == "not trained: another worker filled its slot first"
    state = world.states(3)[0]
    assert (state.failures, state.last_failed, state.surplus) == (0, None, ())


def test_a_retry_has_the_parameters_of_what_failed(world: World) -> None:
    one, _ = world.workers
    fill(world, one)
    world.act(one, "look")
    world.act(one, "claim")
    assert one.at_work is not None
    trial = optuna.Trial(world.study, trial_id_of(one.at_work))
    drawn = SmallProtocol().suggest(trial).plan
    world.act(one, "die")
    fill(world, one)
    retry = world.study.get_trials()[-1]
    assert retry.user_attrs == {SLOT: "place 0", RETRY_OF: 0, RESERVED_BY: "worker 0"}
    world.act(one, "look")
    world.states(3)
    while (claimed := claim(world.opened, world.states(3))) is not None:
        if claimed.number == retry.number:
            again = optuna.Trial(world.study, trial_id_of(claimed))
            assert SmallProtocol().suggest(again).plan == drawn
            return
    raise AssertionError("the retry was not claimed")


def test_only_some_wait_ahead_of_the_workers() -> None:
    world = World([100], False)
    (worker,) = world.workers
    sizes = []
    for _ in range(2):
        sizes.append(len(reserve(world.study, world.states(100), worker.name)))
    assert sizes == [24, 0]
    states = slot_states([Slot("other")], world.study.get_trials())
    assert states[0].is_empty


def test_surplus_is_never_claimed_while_the_rightful_one_runs_or_has_finished(
    world: World,
) -> None:
    for _ in range(2):
        world.study.enqueue_trial({}, user_attrs={SLOT: "place 0"})
    rightful = claim(world.opened, world.states(3))
    assert rightful is not None
    assert rightful.number == 0
    assert claim(world.opened, world.states(3)) is None
    world.study.tell(0, 1.0)
    assert claim(world.opened, world.states(3)) is None


def test_surplus_becomes_rightful_when_what_was_before_it_failed(world: World) -> None:
    for _ in range(3):
        world.study.enqueue_trial({}, user_attrs={SLOT: "place 0"})
    for expected in (0, 1):
        claimed = claim(world.opened, world.states(3))
        assert claimed is not None
        assert claimed.number == expected
        world.study.tell(claimed.number, state=TrialState.FAIL)
    assert world.states(3)[0].is_closed
    assert claim(world.opened, world.states(3)) is None  # two failures close it for the third
