"""The runs of a study, each in a process of its own, some at a time.

Threads start the processes and wait for them; all that is said and decided is said and decided in
the thread that called. The processes are groups of their own, so that a Ctrl-C in the terminal
reaches them once, through here, and not twice: their second one gives up a step half done.
"""

import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Final

from dilsearch.errors import Interrupted, RunError
from dilsearch.progress import Reporter
from dilsearch.study.cases import Case
from dilsearch.study.folders import is_finished
from dilsearch.study.tables import result_in_words

_POLL_SECONDS: Final = 0.1
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
    commands = [(case, command_of(case.words(root, data, device))) for case in waiting]
    crew = _Crew(commands, min(workers, len(commands)), _environment(workers))
    with _noted_interrupts() as interrupts, closing(crew.work(interrupts)) as results:
        for ended in results:
            if ended is None:
                _say_stopping(reporter, crew.heeded, len(crew.processes))
                continue
            _note(ended, outcome, root, reporter, total=len(cases), stopped=crew.heeded > 0)
    outcome.interrupted = crew.heeded > 0
    return outcome


def command_of(words: Sequence[str]) -> list[str]:
    """The command that runs a ``dilsearch`` command line with this very interpreter."""
    return [sys.executable, "-m", "dilsearch", *words[1:]]


def _environment(workers: int) -> dict[str, str]:
    """Processes that each take every core slow each other about tenfold, so each gets its share.

    A single one is left alone, and so is a number of threads that the user has set.
    """
    if workers == 1:
        return dict(os.environ)
    threads = max(1, (os.cpu_count() or 1) // workers)
    return {"OMP_NUM_THREADS": str(threads), **os.environ}


@dataclass(frozen=True)
class _Ended:
    """How one process ended; ``fault`` is what kept it from being started or waited for."""

    case: Case
    code: int = 0
    stderr: str = ""
    seconds: float = 0.0
    fault: Exception | None = None


@dataclass
class _Interrupts:
    """How often the user has asked to stop."""

    count: int = 0


@contextmanager
def _noted_interrupts() -> Iterator[_Interrupts]:
    """Count Ctrl-C and SIGTERM instead of raising; outside the main thread nothing changes."""
    interrupts = _Interrupts()
    if threading.current_thread() is not threading.main_thread():
        yield interrupts
        return

    def note(number: int, frame: FrameType | None) -> None:
        interrupts.count += 1

    previous = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield interrupts
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


class _Crew:
    """Threads that take commands from one list, and the processes they have started.

    Args:
        commands: Cases and how they are started, in order.
        workers: How many threads.
        environment: Environment of the processes.
    """

    def __init__(
        self,
        commands: Sequence[tuple[Case, list[str]]],
        workers: int,
        environment: Mapping[str, str],
    ) -> None:
        self.heeded = 0
        self.processes: set[subprocess.Popen[str]] = set()
        self._commands = list(commands)
        self._environment = environment
        self._ended: queue.SimpleQueue[_Ended | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._labour) for _ in range(workers)]

    def work(self, interrupts: _Interrupts) -> Generator[_Ended | None, None, None]:
        """Run everything; gives each process that ended, and None for each interrupt heeded."""
        for thread in self._threads:
            thread.start()
        busy = len(self._threads)
        try:
            while busy:
                if interrupts.count > self.heeded:
                    # One after the other: a process takes whichever signal is first as a request.
                    self._heed(self.heeded + 1)
                    yield None
                try:
                    # Short waits, because a signal is noticed only between them.
                    ended = self._ended.get(timeout=_POLL_SECONDS)
                except queue.Empty:
                    continue
                busy -= ended is None
                if ended is not None:
                    yield ended
        finally:
            if busy:  # a fault of ours: no process is left without anybody waiting for it
                self._heed(self.heeded + 1)
            for thread in self._threads:
                thread.join()

    def _heed(self, count: int) -> None:
        with self._lock:
            self.heeded = count
            for process in self.processes:
                if count == 1:
                    _interrupt(process)
                elif count == 2:
                    process.terminate()
                else:
                    process.kill()

    def _labour(self) -> None:
        try:
            while (begun := self._begin()) is not None:
                self._ended.put(self._wait(*begun) if isinstance(begun, tuple) else begun)
        finally:
            self._ended.put(None)

    def _begin(self) -> tuple[Case, subprocess.Popen[str]] | _Ended | None:
        with self._lock:  # nothing is started once an interrupt has been heeded
            if self.heeded or not self._commands:
                return None
            case, command = self._commands.pop(0)
            try:
                process = _start(command, self._environment)
            except (OSError, ValueError) as error:
                return _Ended(case, fault=error)
            self.processes.add(process)
            return case, process

    def _wait(self, case: Case, process: subprocess.Popen[str]) -> _Ended:
        started = time.monotonic()
        try:
            _, stderr = process.communicate()
        finally:
            with self._lock:
                self.processes.discard(process)
        return _Ended(case, process.returncode, stderr, time.monotonic() - started)


def _start(command: Sequence[str], environment: Mapping[str, str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        errors="replace",
        env=environment,
        process_group=0 if os.name == "posix" else None,
    )


def _interrupt(process: subprocess.Popen[str]) -> None:
    if os.name == "posix":  # elsewhere the console has told the process itself
        process.send_signal(signal.SIGINT)


def _note(
    ended: _Ended, outcome: Outcome, root: Path, reporter: Reporter, *, total: int, stopped: bool
) -> None:
    """Enter how a process ended, and say so."""
    case = ended.case
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


def _reason(ended: _Ended, root: Path) -> str:
    if ended.fault is not None:
        return f"the process could not be started ({ended.fault})"
    lines = [line.strip() for line in ended.stderr.splitlines() if line.strip()]
    if ended.code == 0:
        return (
            f"{root / ended.case.folder} is not finished, or holds the run of another command. "
            "Remove it, or write elsewhere with --out."
        )
    told = [number for number, line in enumerate(lines) if line.startswith("dilsearch: ")]
    # a list of faults goes on below its heading; warnings stand above it
    last = lines[told[-1] if told else -1 :]
    return " ".join(last).removeprefix("dilsearch: ") or f"exit code {ended.code}"


def _say_stopping(reporter: Reporter, count: int, processes: int) -> None:
    what = {1: "interrupting", 2: "ending"}.get(count, "killing")
    runs = "1 run" if processes == 1 else f"{processes} runs"
    hint = "; each writes a checkpoint first, and Ctrl-C again ends them at once"
    reporter.say(f"{what} {runs} at work{hint if count == 1 else ''}")
