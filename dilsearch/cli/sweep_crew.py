"""``sweep --workers N``: the same command in several processes, and one account of them all."""

from collections.abc import Callable, Mapping, Sequence

from dilsearch.crew import Crew, Ended, Job, Stopping, command_of, environments
from dilsearch.errors import SweepError
from dilsearch.progress import Reporter


def run_workers(
    commands: Sequence[Sequence[str]],
    *,
    environment: Mapping[str, str],
    gpus: int,
    resume_command: str,
    reporter: Reporter,
    idle: Callable[[], None],
) -> bool:
    """Start workers and wait for them all; one that dies does not keep the others from working.

    Args:
        commands: The command line of each, which everybody on the machine can read.
        environment: What each finds in its environment beside what is there, which nobody can.
        gpus: How many GPUs they share; 0 where they share none.
        resume_command: What a user types to go on.
        reporter: Told what becomes of them.
        idle: Called again and again while they work.

    Returns:
        Whether the user has stopped them.

    Raises:
        SweepError: If every one of them has died or failed.
    """
    places = environments(len(commands), gpus)
    jobs = [
        Job(number, command_of(words), {**place, **environment})
        for number, (words, place) in enumerate(zip(commands, places, strict=True), start=1)
    ]
    crew = Crew(jobs, len(jobs))
    lost: dict[int, str] = {}
    with crew.at_work(idle) as events:
        for event in events:
            if isinstance(event, Stopping):
                _say_stopping(event, reporter)
            elif (event.code != 0 or event.fault is not None) and not crew.interrupted:
                lost[event.key] = _fate(event)
                left = len(jobs) - len(lost)
                reporter.say(f"worker {event.key} {lost[event.key]}{_hope(event, left)}")
    if len(lost) == len(jobs) and not crew.interrupted:
        number, fate = next(iter(lost.items()))
        raise SweepError(
            f"all {len(jobs)} workers ended early; worker {number} {fate}. What has finished is "
            f"kept; go on with: {resume_command}"
        )
    return crew.interrupted


def _fate(ended: Ended[int]) -> str:
    if ended.fault is None and ended.code < 0:
        return f"was killed (signal {-ended.code})"
    return f"failed: {ended.reason}"


def _hope(ended: Ended[int], left: int) -> str:
    """What others make of it; none may be left by the time that it is read."""
    if left == 0:
        return ""
    if ended.fault is None and ended.code < 0:
        return "; the others go on, and a trial that it was at is trained once more"
    return "; the others go on"


def _say_stopping(stopping: Stopping, reporter: Reporter) -> None:
    workers = "1 worker" if stopping.processes == 1 else f"{stopping.processes} workers"
    hint = "; each frees the trial it is at, and Ctrl-C again ends them at once"
    reporter.say(f"{stopping.deed} {workers}{hint if stopping.count == 1 else ''}")
