"""A PostgreSQL server on loopback for as long as a test needs it."""

import glob
import importlib.util
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

USER = "dilsearch"
PASSWORD = "p{ss%word"  # what has to be escaped in a URL, or means something to Optuna
_QUOTED = "p%7Bss%25word"
_SECONDS_TO_START = 30.0


def reason_for_none() -> str | None:
    """Why there can be no server here; None if there can."""
    if importlib.util.find_spec("psycopg") is None:
        return "psycopg is not installed: pip install 'dilsearch[postgresql]'"
    if _binaries() is None:
        return "no PostgreSQL server is installed: apt-get install postgresql"
    return None


@contextmanager
def postgresql_server() -> Iterator[str]:
    """Make a cluster in a folder of its own and serve it; gives the URL of an empty database."""
    binaries = _binaries()
    assert binaries is not None
    folder = Path(tempfile.mkdtemp(prefix="dilsearch-postgresql-"))
    as_user = _unprivileged(folder)
    try:
        _initialise(binaries, folder, as_user)
        port = _free_port()
        with (folder / "server.log").open("wb") as log:
            server = subprocess.Popen(
                [
                    str(binaries / "postgres"),
                    *("-D", str(folder / "data"), "-p", str(port), "-h", "127.0.0.1"),
                    *("-c", f"unix_socket_directories={folder}", "-c", "fsync=off"),
                ],
                stdout=log,
                stderr=log,
                cwd=folder,
                **as_user,
            )
        try:
            url = f"postgresql://{USER}:{_QUOTED}@127.0.0.1:{port}/postgres"
            _wait_for(url, server, folder / "server.log")
            yield url
        finally:
            server.send_signal(signal.SIGINT)  # ends sessions and stops
            server.wait(timeout=30)
    finally:
        shutil.rmtree(folder)


def _binaries() -> Path | None:
    """The folder of ``initdb`` and ``postgres``, of the newest version there is."""
    versions = sorted(
        glob.glob("/usr/lib/postgresql/*/bin"), key=lambda path: float(path.split("/")[-2])
    )
    found = [*reversed(versions), *(str(Path(p).parent) for p in [shutil.which("initdb")] if p)]
    whole = [Path(p) for p in found if all((Path(p) / b).exists() for b in ("initdb", "postgres"))]
    return whole[0] if whole else None


def _unprivileged(folder: Path) -> dict[str, Any]:
    """The server refuses to run as root, and its folder must belong to whom it runs as."""
    if os.getuid() != 0:
        return {}
    names = {entry.pw_name for entry in pwd.getpwall()}
    user = pwd.getpwnam("postgres" if "postgres" in names else "nobody")
    os.chown(folder, user.pw_uid, user.pw_gid)
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


def _initialise(binaries: Path, folder: Path, as_user: dict[str, Any]) -> None:
    secret = folder / "password"
    secret.write_text(PASSWORD)
    secret.chmod(0o644)
    made = subprocess.run(
        [
            str(binaries / "initdb"),
            *("-D", str(folder / "data"), "-U", USER, "-A", "scram-sha-256"),
            *(f"--pwfile={secret}", "--no-sync", "-E", "UTF8", "--locale=C"),
        ],
        capture_output=True,
        text=True,
        cwd=folder,
        check=False,
        **as_user,
    )
    assert made.returncode == 0, made.stderr


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def _wait_for(url: str, server: "subprocess.Popen[bytes]", log: Path) -> None:
    import psycopg

    deadline = time.monotonic() + _SECONDS_TO_START
    while True:
        try:
            psycopg.connect(url, connect_timeout=2).close()
            return
        except psycopg.OperationalError:
            assert server.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
