"""Databases as SQLAlchemy knows them: their URLs, opening them, and saying why that failed."""

import importlib.util
import random
import time
import warnings
from pathlib import Path
from typing import Final, NoReturn

from optuna.exceptions import ExperimentalWarning
from optuna.storages import RDBStorage
from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError, IntegrityError, NoSuchModuleError

from dilsearch.baselines.addresses import is_ambiguous, shown_url, without_secrets
from dilsearch.baselines.sqlite_file import BUSY_SECONDS, SqliteStorage, keep_a_log
from dilsearch.errors import SweepError

KINDS: Final = (
    "Give a URL such as postgresql://user@host/name or sqlite:////path/study.db, "
    "or a file whose name ends in .journal"
)
_OPENING_ATTEMPTS: Final = 20


def read_url(text: str) -> URL:
    """The URL of a database or of Redis.

    Raises:
        SweepError: If it cannot be read, or names no place that others find.
    """
    if is_ambiguous(text):
        raise SweepError(
            f"in the storage URL '{shown_url(text)}' it is not clear where the host begins. Write "
            "'@', '/' and '?' in a user name, a password or an option as %40, %2F and %3F."
        )
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        # The text may hold a password, so that only its first part is repeated.
        raise SweepError(
            f"the storage URL '{text.partition('://')[0]}://...' cannot be read. {KINDS}."
        ) from None
    if url.drivername == "sqlite" and url.database in (None, "", ":memory:"):
        raise SweepError(
            f"storage '{shown_url(text)}' lies in memory, where no other worker finds it. "
            "Give a file, such as sqlite:////path/study.db."
        )
    has_new_driver = importlib.util.find_spec("psycopg") is not None
    if url.drivername in ("postgresql", "postgres") and has_new_driver:
        return url.set(drivername="postgresql+psycopg")
    return url


def full_text(url: URL) -> str:
    """A URL as text, its password included: for those who open it, never to be shown."""
    return url.render_as_string(hide_password=False)


def make_database(url: URL, heartbeat_seconds: int, grace_seconds: int) -> RDBStorage:
    """Open a database, and make its tables if they are not there; several may do so at once.

    Raises:
        SweepError: If it cannot be used.
    """
    is_sqlite = url.get_backend_name() == "sqlite"
    if is_sqlite:
        check_parent(Path(str(url.database)), shown_url(full_text(url)))
    kind = SqliteStorage if is_sqlite else RDBStorage
    connect = {"connect_args": {"timeout": BUSY_SECONDS}} if is_sqlite else {}
    # Optuna fills {SCHEMA_VERSION} into the text: other braces have to be doubled.
    text = full_text(url).replace("{", "{{").replace("}", "}}")
    for attempt in range(_OPENING_ATTEMPTS):
        try:
            if is_sqlite:
                keep_a_log(str(url.database))
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ExperimentalWarning)  # heartbeats
                return kind(
                    text,
                    engine_kwargs={"pool_pre_ping": True, **connect},
                    heartbeat_interval=heartbeat_seconds,
                    grace_period=grace_seconds,
                )
        except Exception as error:
            if not _is_race(error) or attempt == _OPENING_ATTEMPTS - 1:
                refuse(error, url)
            time.sleep(random.uniform(0.02, 0.2))
    raise AssertionError("the last attempt returns or raises")


def _is_race(error: Exception) -> bool:
    """Whether two workers that make the tables at once would see this."""
    text = str(error)
    return isinstance(error, IntegrityError) or "already exists" in text or "is locked" in text


def refuse(error: Exception, url: URL) -> NoReturn:
    """Say why a database cannot be used.

    Raises:
        SweepError: Always.
    """
    shown = shown_url(full_text(url))
    if isinstance(error, NoSuchModuleError):
        raise SweepError(
            f"storage {shown}: there is no database called '{url.drivername}'. {KINDS}."
        ) from None
    if isinstance(error, ImportError):
        package = {"postgresql": "dilsearch[postgresql]", "mysql": "mysqlclient"}
        name = package.get(url.get_backend_name(), url.get_driver_name())
        raise SweepError(
            f"storage {shown}: the Python package that speaks to it is not installed. "
            f"Install it with: pip install '{name}'."
        ) from None
    raise SweepError(f"storage {shown} cannot be used: {cause_of(error, url)}.") from None


def cause_of(error: BaseException, url: URL | None = None) -> str:
    """What went wrong, in one line, and without what is secret in the URL."""
    while error.__cause__ is not None:
        error = error.__cause__
    error = getattr(error, "orig", None) or error
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = (lines[0] if lines else type(error).__name__).rstrip(".:")
    return text if url is None else without_secrets(text, full_text(url))


def check_parent(path: Path, shown: str) -> None:
    """Make sure that there is a folder for a file.

    Raises:
        SweepError: If there is none.
    """
    if not path.parent.is_dir():
        raise SweepError(f"storage {shown}: there is no folder {path.parent}. Make it first.")
