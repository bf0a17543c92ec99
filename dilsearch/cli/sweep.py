"""The sweep command: everything is checked, then trials are trained, then tables are written."""

import os
import platform
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import optuna

from dilsearch.baselines.slots import REASON, reserve
from dilsearch.baselines.storage import OpenedStorage
from dilsearch.baselines.worker import WorkerOutcome, work
from dilsearch.cli.sweep_account import Account
from dilsearch.cli.sweep_crew import run_workers
from dilsearch.cli.sweep_options import SweepOptions
from dilsearch.cli.sweep_output import show_sweep
from dilsearch.cli.sweep_plans import show_plans
from dilsearch.cli.sweep_setup import SweepSetup
from dilsearch.errors import Interrupted, SweepError
from dilsearch.pipeline.trial import trainer
from dilsearch.progress import Reporter

_NAMED: Final = 5


def run_sweep(options: SweepOptions) -> None:
    """Begin a sweep or join one, train what is not finished, and show what came of it.

    Raises:
        DilsearchError: Before anything is written, if anything is asked for that cannot be; later
            if no worker can go on, or trials have failed for good.
        Interrupted: If the user stopped it.
    """
    setup = SweepSetup(options)
    if options.dry_run:
        show_plans(setup, as_json=options.as_json)
        return
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # what happens is told in words of ours
    opened, study = setup.open()
    try:
        _Sweep(setup, opened, study, Reporter(quiet=options.quiet)).run()
    finally:
        opened.close()


@dataclass(frozen=True)
class _Sweep:
    """A sweep in the hands of one command.

    Args:
        setup: What it works on.
        opened: The storage.
        study: The study, begun or joined.
        reporter: Where it is told how things go.
    """

    setup: SweepSetup
    opened: OpenedStorage
    study: optuna.Study
    reporter: Reporter

    def run(self) -> None:
        """Train, then write and show."""
        options = self.setup.options
        if options.worker:  # the command that started it writes and shows
            self._work_alone()
            return
        self.reporter.say(f"study '{self.study.study_name}' in {self.opened.statement}")
        try:
            self._train()
        except (Interrupted, SweepError):
            self._write_what_there_is()
            raise
        results = self.setup.results(self.study)
        results.write()
        page = results.write_page()
        show_sweep(self.setup.path, page, self.reporter, as_json=options.as_json)
        self._require_no_failures()

    def _train(self) -> None:
        if all(state.is_decided for state in self.setup.states(self.study)):
            self.reporter.say("finished already; nothing is trained")
        elif self.setup.options.workers > 1:
            self._work_side_by_side()
        else:
            self._say_outcome(self._work_alone())

    def _write_what_there_is(self) -> None:
        """Write what has finished, so that it can be looked at before the sweep goes on."""
        with suppress(Exception):  # the storage may be gone; what is told is why the sweep ended
            results = self.setup.results(self.study)
            results.write()
            if results.has_page:  # it tells of how things were before
                results.write_page()

    def _work_alone(self) -> WorkerOutcome:
        setup, options = self.setup, self.setup.options
        # Off a terminal the lines of every training would hide what became of the trials.
        shown = self.reporter if self.reporter.console.is_terminal else Reporter(quiet=True)
        train = trainer(
            setup.resources,
            setup.path,
            command=setup.command,
            looks=setup.looks,
            latency=setup.objectives.needs_latency,
            reporter=shown,
        )
        try:
            return work(
                self.study,
                self.opened,
                setup.protocol,
                setup.objectives,
                train,
                total=options.study_total,
                at_most=options.at_most,
                folder=setup.path,
                pruner_looks=options.pruner_name != "none",
                say=self.reporter.say,
            )
        except KeyboardInterrupt:
            raise self._interrupted() from None

    def _work_side_by_side(self) -> None:
        setup = self.setup
        total = setup.total_of(self.study)
        account = Account(self.study, setup.objectives, total, self.reporter)
        account.begin()
        # Places are filled here, so that workers who begin at one moment do not all do so.
        reserve(self.study, setup.states(self.study), f"{platform.node()} {os.getpid()} command")
        stopped = run_workers(
            setup.worker_commands,
            environment=setup.worker_environment,
            gpus=setup.gpus,
            resume_command=setup.resume_command,
            reporter=self.reporter,
            idle=account.look,
        )
        account.tell()
        if stopped:
            raise self._interrupted()

    def _interrupted(self) -> Interrupted:
        return Interrupted(f"stopped; go on with: {self.setup.resume_command}")

    def _say_outcome(self, outcome: WorkerOutcome) -> None:
        """Tell what others are at, where this worker could not wait for it."""
        for running in outcome.running[:_NAMED]:
            hint = f"; if its worker is dead, --give-up {running.number} frees its place"
            self.reporter.say(f"still running: {running}{'' if self.opened.heartbeats else hint}")

    def _require_no_failures(self) -> None:
        """Tell of places that no trial will fill; proposed plans have others in their stead.

        Raises:
            SweepError: If there are some.
        """
        states = self.setup.states(self.study)
        closed = [state for state in states if state.is_closed]
        if closed and not self.setup.protocol.replaces_failed:
            names = [state.slot.key for state in closed]
            more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
            failed = closed[0].last_failed
            reason = failed.user_attrs.get(REASON) if failed is not None else None
            raise SweepError(
                f"{len(names)} of {len(states)} trials failed twice and are not tried again "
                f"({', '.join(names[:_NAMED])}{more}); the first because: "
                f"{reason or 'its worker was killed'}"
            )
