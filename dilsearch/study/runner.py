"""The runs of a study, each in a process of its own, some at a time."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from dilsearch.crew import Crew, Ended, Job, Stopping, command_of, environments
from dilsearch.errors import Interrupted, RunError
from dilsearch.progress import Reporter
from dilsearch.study.cases import Case
from dilsearch.study.folders import is_finished
from dilsearch.study.tables import result_in_words

_NAMED: Final = 5


@dataclass
class Outcome:
    """How the runs of a study ended."""

    finished: list[Case] = field(default_factory=list)
    failed: dict[Case, str] = field(default_factory=dict)
    interrupted: bool = False

    def require_success(self, command: str) -> None:
        """Do nothing if every run has finished.

        Args:
            command: What a user types to go on with the study.

        Raises:
            Interrupted: If the user stopped it.
            RunError: If runs failed.
        """
        if self.interrupted:
            raise Interrupted(f"stopped; go on with: {command}")
        if self.failed:
            total = len(self.failed) + len(self.finished)
            names = [str(case) for case in self.failed]
            more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
            raise RunError(
                f"{len(names)} of {total} runs failed ({', '.join(names[:_NAMED])}{more}); the "
                f"first because: {next(iter(self.failed.values()))}"
            )


def run_cases(
    cases: Sequence[Case],
    root: Path,
    *,
    data: Path | None = None,
    device: str = "auto",
    workers: int = 1,
    reporter: Reporter | None = None,
) -> Outcome:
    """Run cases whose run folders are not finished.

    A case that fails does not keep the others from running. After a Ctrl-C no case is started, and
    those at work are interrupted and waited for; a second Ctrl-C ends them, a third kills them.

    Args:
        cases: What to run, in order.
        root: Where their run folders lie.
        data: Folder of the data set, for parts that need one.
        device: The user's word for a device.
        workers: How many run at a time.
        reporter: Told when a case ends.
    """
    reporter = reporter or Reporter(quiet=True)
    finished = [case for case in cases if is_finished(case, root)]
    if finished:
        reporter.say(f"{len(finished)} of {len(cases)} finished already")
    outcome = Outcome(finished=finished)
    waiting = [case for case in cases if case not in set(finished)]
    shared = environments(workers)[0]
    jobs = [Job(case, command_of(case.words(root, data, device)), shared) for case in waiting]
    crew = Crew(jobs, min(workers, len(jobs)))
    with crew.at_work() as events:
        for event in events:
            if isinstance(event, Stopping):
                _say_stopping(reporter, event)
            else:
                _note(event, outcome, root, reporter, total=len(cases), stopped=crew.interrupted)
    outcome.interrupted = crew.interrupted
    return outcome


def _note(
    ended: Ended[Case],
    outcome: Outcome,
    root: Path,
    reporter: Reporter,
    *,
    total: int,
    stopped: bool,
) -> None:
    """Enter how a process ended, and say so."""
    case = ended.key
    try:
        if ended.fault is None and ended.code == 0 and is_finished(case, root):
            result = result_in_words(root, case)
            outcome.finished.append(case)
            done = f"{len(outcome.finished)} of {total} done, {ended.seconds:.0f} s"
            reporter.say(f"{case}: {result} ({done})")
            return
        reason = _reason(ended, root)
    except RunError as error:  # its summary cannot be read
        reason = str(error)
    if not stopped:
        outcome.failed[case] = reason
        reporter.say(f"{case}: failed: {reason}")


def _reason(ended: Ended[Case], root: Path) -> str:
    if ended.fault is None and ended.code == 0:
        return (
            f"{root / ended.key.folder} is not finished, or holds the run of another command. "
            "Remove it, or write elsewhere with --out."
        )
    return ended.reason


def _say_stopping(reporter: Reporter, stopping: Stopping) -> None:
    runs = "1 run" if stopping.processes == 1 else f"{stopping.processes} runs"
    hint = "; each writes a checkpoint first, and Ctrl-C again ends them at once"
    reporter.say(f"{stopping.deed} {runs} at work{hint if stopping.count == 1 else ''}")
