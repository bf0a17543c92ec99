"""What one ``sweep`` command works on: space, network, protocol, and what workers agree on."""

import shlex
from functools import cached_property

import optuna
import torch

from dilsearch.baselines.grid import grid_of, parse_grid
from dilsearch.baselines.heartbeat import give_up
from dilsearch.baselines.objectives import Objectives
from dilsearch.baselines.protocols import GridProtocol, SweepProtocol, TpeProtocol
from dilsearch.baselines.samplers import make_pruner
from dilsearch.baselines.slots import SlotState, wanted_states
from dilsearch.baselines.storage import DATABASE_FILE, OpenedStorage, open_storage, open_study
from dilsearch.baselines.table import record_sweep
from dilsearch.cli.options import STORAGE_VARIABLE
from dilsearch.cli.sweep_options import SweepOptions
from dilsearch.errors import SweepError
from dilsearch.pipeline import Resources, network_hash
from dilsearch.pipeline.ground import Ground, ground_of
from dilsearch.pipeline.rates import first_plans
from dilsearch.pipeline.sweep import (
    SweepRecord,
    SweepResults,
    begin_or_join,
    refuse_other,
    reopen,
    trials_expected,
)
from dilsearch.pipeline.trial import score_names

_LEFT_OUT = ("seeds", "sweep", "schedules")
"""What a protocol says of itself that may grow, or that follows from the rest."""


class SweepSetup:
    """What a command works on, each part made when it is first needed.

    Args:
        options: What the command was asked for.

    Raises:
        DilsearchError: If the options do not go together, or there is no such space.
    """

    def __init__(self, options: SweepOptions) -> None:
        options.check()
        self.options = options
        self.space = space = options.load_space()
        self.path = options.folder(space)
        network = None if options.network is None else options.network.maker(space)
        self.resources = Resources(space, options.data, options.device, network)

    @property
    def command(self) -> str:
        """The command line, for the record."""
        return shlex.join(self.options.words(self.path))

    @property
    def resume_command(self) -> str:
        """What a user types to go on."""
        return shlex.join([*self.options.words(self.path), *self.options.place_words])

    @property
    def worker_commands(self) -> list[list[str]]:
        """The command lines of the workers that are started side by side."""
        count = self.options.workers
        return [self.options.worker_words(self.path, number, count) for number in range(count)]

    @property
    def worker_environment(self) -> dict[str, str]:
        """What workers are told by their environment, which others on the machine do not see."""
        storage = self.options.storage
        return {} if storage is None else {STORAGE_VARIABLE: storage}

    @property
    def gpus(self) -> int:
        """How many GPUs workers share; 0 where the user has chosen one device for all."""
        return torch.cuda.device_count() if self.options.device in ("auto", "cuda") else 0

    @property
    def looks(self) -> int:
        """How often a trial is looked at: once a step at most."""
        return min(self.space.sweep.looks, self.space.retrain_steps)

    @property
    def objectives(self) -> Objectives:
        """What trials are judged by."""
        return self.options.parsed_objectives

    @property
    def total(self) -> int:
        """Finished trials that this command asks for."""
        return self.options.study_total or len(self.protocol.slots(None))

    def total_of(self, study: optuna.Study) -> int:
        """Finished trials that the study is to have, with those that others asked for."""
        trials = study.get_trials(deepcopy=False)
        return trials_expected(self.options.study_total, self.states(study), trials)

    @cached_property
    def ground(self) -> Ground:
        """What plans are made on."""
        return ground_of(self.resources, self.options.training_seeds[0])

    @cached_property
    def targets_px(self) -> tuple[int, ...] | None:
        """Fields of the grid; None where plans are proposed."""
        if self.options.proposes:
            return None
        if self.options.grid is not None:
            return parse_grid(self.options.grid)
        return grid_of(self.space, self.ground.lowest_px)

    @cached_property
    def protocol(self) -> SweepProtocol:
        """Which trials there are, and what each trains."""
        form, graph, limits = self.ground.form, self.ground.graph, self.ground.limits
        seeds = self.options.training_seeds
        if self.targets_px is not None:
            return GridProtocol(form, graph, limits, self.targets_px, seeds)
        enforce = self.space.gap.policy == "enforce"
        first = first_plans(self.space, form)
        return TpeProtocol(form, graph, limits, enforce, seeds[0], first)

    @cached_property
    def record(self) -> SweepRecord:
        """What makes the sweep this one and no other; reads the data."""
        hashes = {"space": self.space.hash, "data": self.resources.data.content_hash}
        if self.resources.network is not None:
            relaxed = self.resources.relaxed_network(self.options.training_seeds[0])
            hashes["network"] = network_hash(relaxed)
        said = self.protocol.describe()
        description = {key: value for key, value in said.items() if key not in _LEFT_OUT}
        description |= {"objectives": list(self.objectives.names), **hashes}
        if self.options.proposes:
            description |= {"pruner": self.options.pruner_name, "looks": self.looks}
        return SweepRecord(
            command=self.command,
            seed=self.options.training_seeds[0],
            study=self.options.study_name(self.space),
            storage=self.options.shown_storage,
            description=description,
            hashes=hashes,
        )

    def open(self) -> tuple[OpenedStorage, optuna.Study]:
        """Check what is left to check, then make or join folder, storage and study.

        Trials that the user gives up are given up here: there are none in a study that is new.
        """
        toml, device = self.space.to_toml(), self.resources.device_name
        self.objectives.require_scores(score_names(self.resources.data))
        refuse_other(self.path, self.record, toml)
        is_there = self.options.storage is not None
        if self.options.give_up:
            self._require_study()
            is_there = True
        if not is_there:  # it is made in the folder
            begin_or_join(self.path, self.record, toml, device)
        opened, study = self._open_study()
        give_up(study, self.options.give_up)
        if is_there:  # nothing is written here before it is known to be of use
            begin_or_join(self.path, self.record, toml, device)
        reopen(self.path, self.states(study))
        return opened, study

    def states(self, study: optuna.Study) -> list[SlotState]:
        """What has become of each place for a trial."""
        return wanted_states(
            self.protocol.slots,
            self.options.study_total,
            study.get_trials(deepcopy=False),
            replaces_failed=self.protocol.replaces_failed,
        )

    def results(self, study: optuna.Study) -> SweepResults:
        """What is written at the end."""
        return SweepResults(
            path=self.path,
            resources=self.resources,
            ground=self.ground,
            protocol=self.protocol.name,
            objectives=self.objectives,
            study=study,
            targets_px=self.targets_px,
            total=self.options.study_total,
            states=self.states(study),
        )

    def _require_study(self) -> None:
        """Refuse to give up trials where there is no study, before one is made.

        Raises:
            SweepError: If there is none.
        """
        place, name, is_there = str(self.path), self.record.study, False
        if self.options.storage is not None or (self.path / DATABASE_FILE).exists():
            opened = self._open_storage()
            place, is_there = opened.url, name in optuna.get_all_study_names(opened.storage)
            opened.close()
        if not is_there:
            raise SweepError(
                f"there is no study '{name}' in {place} yet, so that no trial of it can be given "
                "up; leave --give-up out"
            )

    def _open_storage(self) -> OpenedStorage:
        options = self.options
        return open_storage(
            options.storage,
            self.path,
            heartbeat_seconds=options.heartbeat_seconds,
            grace_seconds=options.grace_seconds,
        )

    def _open_study(self) -> tuple[OpenedStorage, optuna.Study]:
        options, opened = self.options, self._open_storage()
        pruner = make_pruner(
            options.pruner_name, looks=self.looks, train_steps=self.space.retrain_steps
        )
        directions, description = self.objectives.directions, self.record.description
        study = open_study(opened, self.record.study, directions, description, pruner=pruner)
        record_sweep(study, self.protocol.describe(), self.objectives)
        return opened, study
