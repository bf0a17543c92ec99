"""Processes that work side by side, and the one that waits for them.

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
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Final, Generic, TypeAlias, TypeVar

_POLL_SECONDS: Final = 0.1
_THREADS: Final = "OMP_NUM_THREADS"
_GPUS: Final = "CUDA_VISIBLE_DEVICES"

Key = TypeVar("Key")


@dataclass(frozen=True)
class Job(Generic[Key]):
    """One process that is to run.

    Args:
        key: What it is for; handed back when it has ended.
        command: Its command line.
        environment: Its environment.
    """

    key: Key
    command: Sequence[str]
    environment: Mapping[str, str]


@dataclass(frozen=True)
class Ended(Generic[Key]):
    """How one process ended.

    Args:
        key: What it was for.
        code: Its exit code; minus the number of the signal that killed it.
        stderr: What it said there.
        seconds: How long it ran.
        fault: What kept it from being started or waited for.
    """

    key: Key
    code: int = 0
    stderr: str = ""
    seconds: float = 0.0
    fault: Exception | None = None

    @property
    def reason(self) -> str:
        """Why it failed, in the words of its last error."""
        if self.fault is not None:
            return f"the process could not be started ({self.fault})"
        lines = [line.strip() for line in self.stderr.splitlines() if line.strip()]
        told = [number for number, line in enumerate(lines) if line.startswith("dilsearch: ")]
        # a list of faults goes on below its heading; warnings stand above it
        last = lines[told[-1] if told else -1 :]
        return " ".join(last).removeprefix("dilsearch: ") or f"exit code {self.code}"


@dataclass(frozen=True)
class Stopping:
    """The user's wish to stop was passed on.

    Args:
        count: How often by now: the first interrupts the processes, the second ends them, every
            further one kills them.
        processes: How many were at work.
    """

    count: int
    processes: int

    @property
    def deed(self) -> str:
        """What is being done to the processes."""
        return {1: "interrupting", 2: "ending"}.get(self.count, "killing")


Event: TypeAlias = Ended[Key] | Stopping


def command_of(words: Sequence[str]) -> list[str]:
    """The command that runs a ``dilsearch`` command line with this very interpreter."""
    return [sys.executable, "-m", "dilsearch", *words[1:]]


def environments(workers: int, gpus: int = 0) -> list[dict[str, str]]:
    """An environment for each of several workers on one machine.

    Processes that each take every core slow each other about tenfold, so each gets its share. A
    single one is left alone, and so is a number of threads that the user has set. With GPUs each
    sees one of them, in turn; of those that the user has chosen, if some are.

    Args:
        workers: How many run at a time.
        gpus: How many GPUs they are to share; 0 leaves the choice to each.
    """
    shared = dict(os.environ)
    if workers > 1:
        threads = max(1, (os.cpu_count() or 1) // workers)
        shared = {_THREADS: str(threads), **shared}
    if gpus == 0:
        return [dict(shared) for _ in range(workers)]
    chosen = [name.strip() for name in os.environ.get(_GPUS, "").split(",") if name.strip()]
    names = chosen or [str(index) for index in range(gpus)]
    return [{**shared, _GPUS: names[number % len(names)]} for number in range(workers)]


class Crew(Generic[Key]):
    """Threads that take jobs from one list, and the processes they have started.

    Args:
        jobs: What is to run, in order.
        workers: How many run at a time.
    """

    def __init__(self, jobs: Sequence[Job[Key]], workers: int) -> None:
        self.heeded = 0
        self._jobs = list(jobs)
        self._processes: set[subprocess.Popen[str]] = set()
        self._ended: queue.SimpleQueue[Ended[Key] | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._labour) for _ in range(workers)]

    @property
    def interrupted(self) -> bool:
        """Whether the user has asked to stop."""
        return self.heeded > 0

    @contextmanager
    def at_work(self, idle: Callable[[], None] | None = None) -> Iterator[Iterator[Event[Key]]]:
        """Run everything; gives each process that ended, and each interrupt passed on.

        After a Ctrl-C no job is started, and those at work are interrupted and waited for; a
        second Ctrl-C ends them, a third kills them. Whatever goes wrong between two events, no
        process is left without anybody waiting for it.

        Args:
            idle: Called again and again while nothing happens.
        """
        with _noted_interrupts() as interrupts, closing(self._work(interrupts, idle)) as events:
            yield events

    def _work(
        self, interrupts: "_Interrupts", idle: Callable[[], None] | None
    ) -> Generator[Event[Key], None, None]:
        for thread in self._threads:
            thread.start()
        busy = len(self._threads)
        try:
            while busy:
                if interrupts.count > self.heeded:
                    # One after the other: a process takes whichever signal is first as a request.
                    yield self._heed(self.heeded + 1)
                try:
                    # Short waits, because a signal is noticed only between them.
                    ended = self._ended.get(timeout=_POLL_SECONDS)
                except queue.Empty:
                    if idle is not None:
                        idle()
                    continue
                busy -= ended is None
                if ended is not None:
                    yield ended
        finally:
            if busy:  # a fault of ours
                self._heed(self.heeded + 1)
            for thread in self._threads:
                thread.join()

    def _heed(self, count: int) -> Stopping:
        with self._lock:
            self.heeded = count
            for process in self._processes:
                if count == 1:
                    _interrupt(process)
                elif count == 2:
                    process.terminate()
                else:
                    process.kill()
            return Stopping(count, len(self._processes))

    def _labour(self) -> None:
        try:
            while (begun := self._begin()) is not None:
                self._ended.put(self._wait(*begun) if isinstance(begun, tuple) else begun)
        finally:
            self._ended.put(None)

    def _begin(self) -> tuple[Key, subprocess.Popen[str]] | Ended[Key] | None:
        with self._lock:  # nothing is started once an interrupt has been heeded
            if self.heeded or not self._jobs:
                return None
            job = self._jobs.pop(0)
            try:
                process = _start(job)
            except (OSError, ValueError) as error:
                return Ended(job.key, fault=error)
            self._processes.add(process)
            return job.key, process

    def _wait(self, key: Key, process: subprocess.Popen[str]) -> Ended[Key]:
        started = time.monotonic()
        try:
            _, stderr = process.communicate()
        finally:
            with self._lock:
                self._processes.discard(process)
        return Ended(key, process.returncode, stderr, time.monotonic() - started)


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


def _start(job: Job[Key]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        job.command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        errors="replace",
        env=job.environment,
        process_group=0 if os.name == "posix" else None,
    )


def _interrupt(process: subprocess.Popen[str]) -> None:
    if os.name == "posix":  # elsewhere the console has told the process itself
        process.send_signal(signal.SIGINT)
