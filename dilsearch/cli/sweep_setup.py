"""What one ``sweep`` command works on: space, network, protocol, and what workers agree on."""

import shlex
from functools import cached_property

import optuna
import torch

from dilsearch.baselines.grid import grid_of, parse_grid
from dilsearch.baselines.objectives import Objectives
from dilsearch.baselines.protocols import GridProtocol, SweepProtocol, TpeProtocol
from dilsearch.baselines.samplers import make_pruner
from dilsearch.baselines.slots import SlotState, wanted_states
from dilsearch.baselines.storage import OpenedStorage, open_storage, open_study
from dilsearch.baselines.table import record_sweep
from dilsearch.cli.sweep_options import SweepOptions
from dilsearch.pipeline import Resources, network_hash
from dilsearch.pipeline.ground import Ground, ground_of
from dilsearch.pipeline.rates import first_plans
from dilsearch.pipeline.sweep import SweepRecord, SweepResults, begin_or_join, refuse_other

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
        """Finished trials that the study is to have."""
        return self.options.study_total or len(self.protocol.slots(None))

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
        """Check what is left to check, then make or join folder, storage and study."""
        toml, device = self.space.to_toml(), self.resources.device_name
        refuse_other(self.path, self.record, toml)
        if self.options.storage is not None:
            found = self._open_study()  # before anything is written here
            begin_or_join(self.path, self.record, toml, device)
            return found
        begin_or_join(self.path, self.record, toml, device)
        return self._open_study()

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

    def _open_study(self) -> tuple[OpenedStorage, optuna.Study]:
        options = self.options
        opened = open_storage(
            options.storage,
            self.path,
            heartbeat_seconds=options.heartbeat_seconds,
            grace_seconds=options.grace_seconds,
        )
        pruner = make_pruner(
            options.pruner_name, looks=self.looks, train_steps=self.space.retrain_steps
        )
        directions, description = self.objectives.directions, self.record.description
        study = open_study(opened, self.record.study, directions, description, pruner=pruner)
        record_sweep(study, self.protocol.describe(), self.objectives)
        return opened, study
