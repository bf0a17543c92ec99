"""An SQLite file that several workers write to at once."""

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any, Final

from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial
from sqlalchemy import Connection, event

BUSY_SECONDS: Final = 60.0
"""How long a worker waits for others to finish writing."""


class SqliteStorage(RDBStorage):
    """SQLite whose transactions take the write lock when they begin.

    Left to itself the driver begins a transaction at the first write, so that what was read
    before may be out of date: two workers that read 'waiting' would both write 'running', and a
    trial that was given up could still be told. With the lock taken first, what writes runs one
    after the other; who waits for another holds no lock, so that none can deadlock, and waiting
    for up to a minute is left to SQLite. The reading methods below write nothing and need no lock
    but that of a reader.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._thread = threading.local()
        event.listen(self.engine, "connect", _prepare)
        event.listen(self.engine, "begin", self._begin)
        self.engine.dispose()  # connections that were made before know nothing of this

    def _begin(self, connection: Connection) -> None:
        reads = getattr(self._thread, "reads", False)
        connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")

    @contextmanager
    def _reading(self) -> Iterator[None]:
        self._thread.reads = True
        try:
            yield
        finally:
            self._thread.reads = False

    def get_trial(self, *arguments: Any, **options: Any) -> FrozenTrial:
        """The trial as it is now; nothing is written."""
        with self._reading():
            return super().get_trial(*arguments, **options)

    def _get_trials(self, *arguments: Any, **options: Any) -> list[FrozenTrial]:
        with self._reading():
            return super()._get_trials(*arguments, **options)

    def _get_stale_trial_ids(self, study_id: int) -> list[int]:
        with self._reading():
            return super()._get_stale_trial_ids(study_id)


def _prepare(connection: Any, record: object) -> None:
    connection.isolation_level = None  # transactions are begun by us
    connection.execute("PRAGMA synchronous = NORMAL")


def keep_a_log(path: str) -> None:
    """Have changes noted in a log beside the file (SQLite's WAL), from now on and for everybody.

    A change then costs no wait for the disk, of which a trial would have some thirty, each with
    the lock held. A killed process loses nothing of it; a power cut may undo the last changes as a
    whole, and a trial that it takes back is trained again.
    """
    with closing(sqlite3.connect(path, timeout=BUSY_SECONDS)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
