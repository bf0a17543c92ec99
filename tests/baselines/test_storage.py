"""Storages by what the user writes, what each promises, and why SQLite has to be helped."""

import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import optuna
import pytest
from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from optuna.storages import JournalStorage, RDBStorage
from optuna.trial import TrialState

from dilsearch.baselines import storage as storage_module
from dilsearch.baselines.slots import trial_id_of
from dilsearch.baselines.storage import OpenedStorage, open_storage, open_study, patiently
from dilsearch.errors import SweepError


def test_the_default_is_a_file_in_the_folder(tmp_path: Path) -> None:
    opened = open_storage(None, tmp_path / "new", heartbeat_seconds=3, grace_seconds=9)
    path = tmp_path / "new" / "study.db"
    assert path.is_file()
    assert opened.url == f"sqlite:///{path}"
    assert opened.heartbeats
    assert isinstance(opened.storage, RDBStorage)
    assert opened.storage.heartbeat_interval == 3
    assert opened.storage.grace_period == 9
    assert opened.statement == (
        f"SQLite file {path}: any number of workers on this host share it; a trial whose worker "
        "gives no sign of life for 9 s is given up and trained once more. For several hosts give "
        "the URL of a PostgreSQL or MySQL server with --storage."
    )
    opened.close()


@pytest.mark.parametrize("text", ["{}/a.journal", "{}/a.log", "journal:{}/anything"])
def test_journal_files(tmp_path: Path, text: str) -> None:
    opened = open_storage(text.format(tmp_path), tmp_path)
    assert isinstance(opened.storage, JournalStorage)
    assert not opened.heartbeats
    path = text.format(tmp_path).removeprefix("journal:")
    assert opened.url == path
    assert opened.statement == (
        f"journal file {path}: any number of workers on hosts that see this file share it; it has "
        "no heartbeats, so that the trial of a killed worker stays 'running' until somebody gives "
        "it up with --give-up NUMBER."
    )
    opened.close()


def test_braces_in_a_path_mean_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "a{b}c"
    opened = open_storage(None, folder)
    opened.close()
    assert (folder / "study.db").is_file()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "study.db",
            "storage 'study.db' is neither a URL nor a journal file. Give a URL such as "
            "postgresql://user@host/name or sqlite:////path/study.db, or a file whose name ends "
            "in .journal.",
        ),
        ("sqlite://", "storage 'sqlite://' lies in memory, where no other worker finds it. Give"),
        ("sqlite:////absent/x.db", "storage sqlite:////absent/x.db: there is no folder /absent."),
        ("/absent/x.journal", "storage /absent/x.journal: there is no folder /absent. Make it"),
        ("oracel://me:secret@host/x", "storage oracel://me:***@host/x: there is no database"),
        ("postgresql://me:secret@host:port/x", "the storage URL 'postgresql://...' cannot be read"),
        ("mssql+pyodbc://me:secret@h/x", "storage mssql+pyodbc://me:***@h/x: the Python package"),
        (
            "postgresql://me:secret@127.0.0.1:1/x",
            "storage postgresql+psycopg://me:***@127.0.0.1:1/x cannot be used: connection failed",
        ),
        (
            "postgresql://127.0.0.1:1/x?user=me&password=secret",
            "storage postgresql+psycopg://127.0.0.1:1/x?password=***&user=me cannot be used: ",
        ),
        ("host=h password=secret", "storage 'host=h password=***' is neither a URL nor a journal"),
        (
            "postgresql://me:se@cret@127.0.0.1:1/x",
            "in the storage URL 'postgresql://me:***@127.0.0.1:1/x' it is not clear where the host "
            "begins. Write '@', '/' and '?' in a user name, a password or an option as %40, %2F",
        ),
        ("redis://me:secret@host/0", "storage redis://me:***@host/0: the Python package that"),
    ],
)
def test_what_cannot_be_opened_is_said(tmp_path: Path, text: str, message: str) -> None:
    if text.startswith("redis") and storage_module.importlib.util.find_spec("redis"):
        pytest.skip("redis is installed")
    with pytest.raises(SweepError) as refused:
        open_storage(text, tmp_path)
    assert str(refused.value).startswith(message)
    assert "cret" not in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "study.db").write_text("this is a text, and no database at all" * 50)
    with pytest.raises(SweepError, match=r"study\.db cannot be used: file is not a database\."):
        open_storage(None, tmp_path)


def test_a_file_that_is_no_journal(tmp_path: Path) -> None:
    (tmp_path / "x.journal").write_text("no journal\nat all\n")
    with pytest.raises(SweepError, match=r"x\.journal is no journal that can be used"):
        open_storage(str(tmp_path / "x.journal"), tmp_path)


def test_times_that_would_give_up_the_living(tmp_path: Path) -> None:
    text = (
        "a grace of 9 s would give up living workers, whose heartbeats come every 5 s. "
        "Give --grace 10 or more."
    )
    with pytest.raises(SweepError, match=text):
        open_storage(None, tmp_path, heartbeat_seconds=5, grace_seconds=9)
    with pytest.raises(SweepError, match=r"a heartbeat every 0 s is too often: .* --heartbeat 1"):
        open_storage(None, tmp_path, heartbeat_seconds=0)
    assert not (tmp_path / "study.db").exists()


def test_a_study_that_no_sweep_began_is_refused(tmp_path: Path) -> None:
    opened = open_storage(f"{tmp_path}/a.journal", tmp_path)
    optuna.create_study(storage=opened.storage, study_name="other").add_trial(
        optuna.create_trial(state=TrialState.WAITING)
    )
    with pytest.raises(SweepError, match=r"study 'other' in .* was not begun by a sweep\. Give"):
        open_study(opened, "other", ["minimize"], {"protocol": "grid"})


def test_many_open_a_new_file_at_once(tmp_path: Path) -> None:
    opened: list[OpenedStorage] = []
    threads = [
        threading.Thread(target=lambda: opened.append(open_storage(None, tmp_path)))
        for _ in range(2)
    ]
    _run(threads)
    assert len(opened) == 2
    for one in opened:
        one.close()


@pytest.fixture(scope="module", params=["as we open it", "as Optuna opens it"])
def two(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[list[OpenedStorage]]:
    """One file, opened twice; as Optuna opens it, it is the control."""
    folder = tmp_path_factory.mktemp("sweep")
    opened = [open_storage(None, folder)]
    if request.param == "as we open it":
        opened.append(open_storage(None, folder))
    else:
        plain = [RDBStorage(opened[0].url) for _ in range(2)]
        opened[0].close()
        opened = [OpenedStorage(one, "control", False, "", 1, 2) for one in plain]
    optuna.create_study(storage=opened[0].storage, study_name="x")
    yield opened
    for one in opened:
        one.close()


class TestAtOnce:
    """Two workers change one trial at the same moment: each has read it before either writes."""

    @pytest.fixture
    def is_control(self, two: list[OpenedStorage]) -> bool:
        return two[0].url == "control"

    @pytest.fixture
    def meet(self, monkeypatch: pytest.MonkeyPatch, is_control: bool) -> None:
        """Who has read a trial waits for the other one to have read it too."""
        check = RDBStorage.check_trial_is_updatable
        both_have_read = threading.Barrier(2)

        def check_slowly(*arguments: object) -> None:
            with suppress(threading.BrokenBarrierError):  # who is kept out does not come
                both_have_read.wait(timeout=20 if is_control else 0.3)
            check(*arguments)

        monkeypatch.setattr(RDBStorage, "check_trial_is_updatable", check_slowly)

    def test_one_of_two_claims_a_trial(
        self, two: list[OpenedStorage], is_control: bool, request: pytest.FixtureRequest
    ) -> None:
        trial_id = _add(two[0], TrialState.WAITING)
        request.getfixturevalue("meet")

        def take(one: OpenedStorage) -> bool:
            return one.storage.set_trial_state_values(trial_id, TrialState.RUNNING)

        assert sorted(_both(two, take)) == ([True, True] if is_control else [False, True])

    def test_a_trial_is_told_or_given_up_and_not_both(
        self, two: list[OpenedStorage], is_control: bool, request: pytest.FixtureRequest
    ) -> None:
        trial_id = _add(two[0], TrialState.RUNNING)
        request.getfixturevalue("meet")

        def end(one: OpenedStorage) -> bool:
            state = TrialState.FAIL if one is two[0] else TrialState.COMPLETE
            try:
                return one.storage.set_trial_state_values(trial_id, state)
            except UpdateFinishedTrialError:
                return False

        assert sorted(_both(two, end)) == ([True, True] if is_control else [False, True])


def _add(opened: OpenedStorage, state: TrialState) -> int:
    study = optuna.load_study(study_name="x", storage=opened.storage)
    study.add_trial(optuna.create_trial(state=state))
    return trial_id_of(study.get_trials()[-1])


def _both(two: list[OpenedStorage], action: Callable[[OpenedStorage], bool]) -> list[bool]:
    results: list[bool] = []
    threads = [
        threading.Thread(target=lambda one=one: results.append(action(one)))  # type: ignore[misc]
        for one in two
    ]
    _run(threads)
    return results


def _run(threads: list[threading.Thread]) -> None:
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)


class TestPatiently:
    @pytest.fixture(autouse=True)
    def pauses(self, monkeypatch: pytest.MonkeyPatch) -> list[float]:
        taken: list[float] = []
        monkeypatch.setattr(storage_module.time, "sleep", taken.append)
        return taken

    def test_what_stumbles_is_asked_again(self, pauses: list[float]) -> None:
        answers = iter([StorageInternalError("a"), StorageInternalError("b"), 7])

        def ask() -> int:
            answer = next(answers)
            if isinstance(answer, Exception):
                raise answer
            return answer

        assert patiently(ask) == 7
        assert pauses == [0.5, 1.0]

    def test_patience_ends(self, pauses: list[float]) -> None:
        def ask() -> int:
            raise StorageInternalError("down")

        with pytest.raises(StorageInternalError, match="down"):
            patiently(ask)
        assert 30 < sum(pauses) < 40

    def test_other_faults_are_not_repeated(self, pauses: list[float]) -> None:
        with pytest.raises(ZeroDivisionError):
            patiently(lambda: 1 // 0)
        assert pauses == []
