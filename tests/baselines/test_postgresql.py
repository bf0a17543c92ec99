"""The contract on a PostgreSQL server, which is started for it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from postgresql_server import PASSWORD, postgresql_server, reason_for_none
from storage_contract import LoneWorkerContract, Place, StorageContract

from dilsearch.baselines.storage import OpenedStorage, open_storage
from dilsearch.errors import SweepError

pytestmark = pytest.mark.skipif(reason_for_none() is not None, reason=str(reason_for_none()))


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with postgresql_server() as url:
        yield url


@pytest.fixture(scope="module")
def storages(
    server: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[list[OpenedStorage]]:
    folder = tmp_path_factory.mktemp("sweep")
    opened = [open_storage(server, folder, heartbeat_seconds=1, grace_seconds=4) for _ in range(2)]
    yield opened
    for one in opened:
        one.close()


@pytest.fixture
def place(storages: list[OpenedStorage]) -> Place:
    return Place(storages)


class TestPostgresql(StorageContract):
    pass


@pytest.mark.slow
class TestPostgresqlAlone(LoneWorkerContract):
    pass


def test_a_password_is_never_shown(
    server: str, storages: list[OpenedStorage], tmp_path: Path
) -> None:
    opened = storages[0]
    assert opened.heartbeats
    assert opened.url.startswith("postgresql+psycopg://dilsearch:***@127.0.0.1:")
    assert PASSWORD not in opened.url + opened.statement
    assert "on any number of hosts share it; a trial whose worker gives no sign" in opened.statement
    wrong = server.replace("p%7B", "wrong")
    with pytest.raises(SweepError, match="password authentication failed") as refused:
        open_storage(wrong, tmp_path)
    assert "wrongss" not in str(refused.value)
