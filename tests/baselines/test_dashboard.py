"""A sweep in optuna-dashboard, started for real: over its interface, and as a browser shows it."""

import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.request import ProxyHandler, build_opener

import optuna
import pytest
from browser import BROWSER, FLAGS
from sweep_parts import FORM, LIMITS, LOOKS, TRAIN_STEPS, drain, formula, graph

from dilsearch.baselines.objectives import Objectives
from dilsearch.baselines.protocols import TpeProtocol
from dilsearch.baselines.samplers import make_pruner
from dilsearch.baselines.table import record_sweep
from dilsearch.plan import DilationPlan

pytestmark = pytest.mark.skipif(
    find_spec("optuna_dashboard") is None, reason="optuna-dashboard is not installed"
)

START_SECONDS = 60
MIOU = Objectives.parse("miou")
FIRST = {"exp": DilationPlan.per_branch(dict.fromkeys("abcd", (1, 4)))}
FIRST_RATES = "a (1, 3), b (1, 4), c (1, 4), d (1, 4)"


class Dashboard:
    """A running dashboard.

    Args:
        root: Root folder of the sweep it shows.
        address: Where it listens.
    """

    def __init__(self, root: Path, address: str) -> None:
        self.root = root
        self.address = address
        self._opener = build_opener(ProxyHandler({}))

    def read(self, path: str) -> bytes:
        with self._opener.open(f"{self.address}/{path}", timeout=20) as answer:
            content = answer.read()
        assert isinstance(content, bytes)
        return content

    def ask(self, path: str) -> Any:
        return json.loads(self.read(f"api/{path}"))


@pytest.fixture(scope="module")
def dashboard(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dashboard]:
    root = tmp_path_factory.mktemp("sweep")
    storage = f"sqlite:///{root / 'study.db'}"
    sweep(root, storage)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-c", "from optuna_dashboard._cli import main; main()", storage]
    options = ["--artifact-dir", str(root / "artifacts"), "--host", "127.0.0.1"]
    with (root / "dashboard.log").open("w") as log:
        server = subprocess.Popen(
            [*command, *options, "--port", str(port), "--server", "wsgiref"], stdout=log, stderr=log
        )
    try:
        shown = Dashboard(root, f"http://127.0.0.1:{port}")
        wait_for(shown, server)
        yield shown
    finally:
        server.terminate()
        server.wait(timeout=20)


def sweep(root: Path, storage: str) -> None:
    protocol = TpeProtocol(FORM, graph(), LIMITS, True, 0, FIRST)
    study = optuna.create_study(
        storage=storage,
        study_name="small-tpe-seed0",
        directions=MIOU.directions,
        pruner=make_pruner("median", looks=LOOKS, train_steps=TRAIN_STEPS),
    )
    record_sweep(study, protocol.describe(), MIOU)
    drain(study, protocol, MIOU, formula(root), root, total=2, prunes=True)


def wait_for(dashboard: Dashboard, server: subprocess.Popen[bytes]) -> None:
    ends = time.monotonic() + START_SECONDS
    while time.monotonic() < ends and server.poll() is None:
        try:
            dashboard.ask("meta")
        except OSError:
            time.sleep(0.1)
        else:
            return
    pytest.fail(f"the dashboard did not start:\n{(dashboard.root / 'dashboard.log').read_text()}")


def test_the_study_says_what_it_is(dashboard: Dashboard):
    (study,) = dashboard.ask("studies")["study_summaries"]
    assert study["study_name"] == "small-tpe-seed0"
    said = {entry["key"]: entry["value"] for entry in study["user_attrs"]}
    assert said["sweep"].startswith("plans proposed by TPE, within the bound, after 1 list of")
    assert "exp" in said["first"]
    assert dashboard.ask(f"studies/{study['study_id']}")["objective_names"] == ["mean_iou"]


def test_trials_with_their_files(dashboard: Dashboard):
    (summary,) = dashboard.ask("studies")["study_summaries"]
    study = dashboard.ask(f"studies/{summary['study_id']}?after=0")
    trials = study["trials"]
    assert [trial["state"] for trial in trials] == ["Complete"] * 2
    first = {entry["key"]: entry["value"] for entry in trials[0]["user_attrs"]}
    assert first["slot"] == "first exp"
    assert first["rates"] == FIRST_RATES
    assert first["reason"] == "exp: site 'a' (1, 4) lowered to (1, 3)"
    for trial in trials:
        files = {meta["filename"]: meta["artifact_id"] for meta in trial["artifacts"]}
        assert files.keys() == {"plan.json", "counts.csv", "log.txt"}
        own = dashboard.root / "trials" / f"{trial['number']:04}"
        for name, artifact in files.items():
            path = f"artifacts/{summary['study_id']}/{trial['trial_id']}/{artifact}"
            assert dashboard.read(path) == (own / name).read_bytes()


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="no Chromium found to look at the dashboard")
@pytest.mark.parametrize(
    ("page", "texts", "absent"),
    [
        ("trials?numbers=0", ["plan.json", "counts.csv", "log.txt", FIRST_RATES], "no such text"),
        ("trials?numbers=1", ["plan.json", "counts.csv", "log.txt"], FIRST_RATES),
        ("", ["small-tpe-seed0", "plans proposed by TPE", "mean_iou"], "plan.json"),
    ],
)
def test_as_a_browser_shows_it(
    dashboard: Dashboard, tmp_path: Path, page: str, texts: list[str], absent: str
):
    (summary,) = dashboard.ask("studies")["study_summaries"]
    shown = subprocess.run(
        [
            str(BROWSER),
            *FLAGS,
            "--no-proxy-server",
            "--window-size=1500,2500",
            "--virtual-time-budget=9000",
            f"--user-data-dir={tmp_path / 'profile'}",
            f"{dashboard.address}/dashboard/studies/{summary['study_id']}/{page}".rstrip("/"),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    ).stdout
    for text in texts:
        assert text in shown
    assert absent not in shown
