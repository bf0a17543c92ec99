"""The command line as a user types it: results on standard output, one sentence for a mistake."""

import json
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from dilsearch.cli import main
from dilsearch.cli.session import chosen_stages

TINY = (
    "data.size_px=32 data.bar_width_px=[4,6] data.patch_px=4 data.validation_images=2 "
    "train.batch_size=2 search.steps=3 retrain.steps=2 train.warmup_steps=0 model.options.blocks=2"
).split()
SETTINGS = [word for setting in TINY for word in ("--set", setting)]


def call(*words: str | Path) -> int:
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in words])
    assert isinstance(ended.value.code, int)
    return ended.value.code


def mistake(capsys: pytest.CaptureFixture[str], *words: str | Path) -> str:
    """What a mistake prints; nothing on standard output, no traceback, exit code 2."""
    capsys.readouterr()
    assert call(*words) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "Traceback" not in err
    assert err.startswith("dilsearch: ")
    return err


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("cli") / "run"
    assert call("run", "toy", "--out", path, "--quiet", "--device", "cpu", *SETTINGS) == 0
    return path


def test_run_writes_a_report(run_folder: Path) -> None:
    assert (run_folder / "report.html").is_file()
    assert json.loads((run_folder / "run.json").read_text())["command"].startswith(
        "dilsearch run toy"
    )


def test_json_goes_to_standard_output_alone(
    run_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("run", "toy", "--out", run_folder, "--resume", "--json", "--device", "cpu")
    assert call(*words, *SETTINGS) == 0
    out, err = capsys.readouterr()
    assert json.loads(out) == json.loads((run_folder / "summary.json").read_text())
    assert "search: finished already" in err


def test_a_finished_run_shows_plan_metrics_and_verdict(
    run_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("report", run_folder) == 0
    out = capsys.readouterr().out
    for expected in ("blocks.1.conv2", "far accuracy", "retrained", "control", "report.html"):
        assert expected in out


def test_what_there_is_to_say_of_a_search_is_said(
    run_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(run_folder, folder)
    path = folder / "summary.json"
    summary = json.loads(path.read_text())
    for findings in (["no rate [bold]moved[/bold]", "the field is 7 px"], []):
        summary["search"]["findings"] = findings
        path.write_text(json.dumps(summary))
        capsys.readouterr()
        assert call("report", folder) == 0
        said = [line for line in capsys.readouterr().out.splitlines() if "About" in line]
        assert said == [f"About the search: {finding}." for finding in findings]
        assert ("About the search" in (folder / "report.html").read_text()) is bool(findings)


def test_each_stage_runs_alone_from_the_files_of_the_one_before(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    assert call("search", "toy", "--out", run, "--quiet", *SETTINGS) == 0
    assert (run / "plan.float.json").is_file()
    for words in (
        ("convert", run),
        ("retrain", run),
        ("retrain", run, "--control"),
        ("evaluate", run),
        ("report", run),
    ):
        assert call(*words, "--quiet") == 0, words
    assert (run / "report.html").is_file()
    capsys.readouterr()
    assert call("convert", run) == 0
    assert "convert: finished already" in capsys.readouterr().err


def test_chosen_stages_run_in_their_order_and_no_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    words = ("run", "toy", "--out", run, "--device", "cpu", "--stages", "convert, search")
    assert call(*words, *SETTINGS) == 0
    record = json.loads((run / "run.json").read_text())
    assert list(record["stages"]) == ["search", "convert"]
    assert {stage["status"] for stage in record["stages"].values()} == {"finished"}
    assert shlex.split(record["command"])[-2:] == ["--stages", "convert, search"]
    assert (run / "plan.json").is_file()
    assert not (run / "weights.safetensors").exists()
    assert (run / "report.html").is_file()
    # negative control: without the option the others run as well
    words = ("run", "toy", "--out", run, "--device", "cpu", "--resume", "--quiet")
    assert call(*words, *SETTINGS) == 0
    record = json.loads((run / "run.json").read_text())
    assert set(record["stages"]) == {"search", "convert", "retrain", "control", "evaluate"}


def test_stages_in_any_order_are_sorted() -> None:
    assert chosen_stages("evaluate,search , retrain") == ["search", "retrain", "evaluate"]
    assert chosen_stages("control,control") == ["control"]


def test_stages_without_those_before_them_name_what_to_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    words = ("run", "toy", "--out", out, "--device", "cpu", "--quiet", "--stages", "retrain")
    err = mistake(capsys, *words, *SETTINGS)
    assert "has no plan.json. Run the stage that writes it, convert, first" in err


def test_a_folder_with_a_run_is_refused(
    run_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    err = mistake(capsys, "run", "toy", "--out", run_folder, *SETTINGS)
    assert "already holds a run" in err
    assert "--resume" in err
    assert "--out" in err


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["run", "tory"], "did you mean 'toy'?"),
        (["run", "toy", "--profile", "quik"], "did you mean 'quick'?"),
        (["run", "toy", "--set", "data.size=3"], "did you mean 'size_px'?"),
        (["run", "toy", "--set", "search.steps=many"], "steps"),
        (["run", "toy", "--seed", "one"], "Invalid value for '--seed'"),
        (["run", "toy", "--device", "tpu"], "device 'tpu' is unknown"),
        (["run", "toy", "--data", "."], "reads no folder; leave out --data"),
        (["run", "regseg_camvid"], "needs a data folder; give --data PATH"),
        (["run", "regseg_camvid", "--data", "nowhere"], "nowhere"),
        (["run", "toy", "--set", "model.name=nope"], "[model]: no network is named 'nope'"),
        (["run", "toy", "--set", "model.options.width=30"], "space 'toy': [model]"),
        (["run", "toy", "--set", "model.options.depth=3"], "it has no option 'depth'"),
        (["run", "toy", "--set", "model.branches=3"], "space 'toy': [model]"),
        (["run", "toy", "--set", "sites.1.select=no.*"], "[sites]: cannot relax the model: 'no.*'"),
        (
            ["run", "toy", "--set", "sites.1.lower=2", "--set", "sites.1.initial=2"],
            "[sites]: site 'blocks.0.conv2': its lower limit 2 exceeds bound 1",
        ),
        ([], "no command was given"),
        (["run"], "Missing argument 'SPACE'"),
        (["walk"], "No such command 'walk'"),
        (["convert", "nowhere"], "nowhere holds no run: there is no run.json in it"),
        (["report", "nowhere"], "nowhere holds no run"),
        (["spaces", "tory"], "did you mean 'toy'?"),
        (["run", "toy", "--stages", "serch"], "there is no stage 'serch' (did you mean 'search'?)"),
        (
            ["run", "toy", "--stages", "search,fly"],
            "--stages search,fly: there is no stage 'fly'; name some of search, convert, retrain, "
            "control, evaluate",
        ),
        (["run", "toy", "--stages", ""], "name some of search, convert"),
    ],
)
def test_a_mistake_is_one_sentence_and_leaves_nothing_behind(
    words: list[str],
    text: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert text in mistake(capsys, *words)
    assert list(tmp_path.iterdir()) == []


def test_bad_data_lists_every_fault_and_leaves_no_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "data"
    for split in ("train", "val"):
        for folder in (split, f"{split}annot"):
            (data / folder).mkdir(parents=True)
    Image.new("RGB", (12, 8)).save(data / "train" / "lonely.png")
    Image.new("RGB", (12, 8)).save(data / "val" / "a.png")
    Image.new("L", (12, 8), 77).save(data / "valannot" / "a.png")
    out = tmp_path / "run"
    err = mistake(capsys, "run", "regseg_camvid", "--data", data, "--out", out)
    assert "lonely" in err
    assert "77" in err
    assert not out.exists()


def test_ctrl_c_says_how_to_go_on_and_going_on_works(tmp_path: Path) -> None:
    out = tmp_path / "run"
    words = [*"-m dilsearch run toy --profile smoke --device cpu --out".split(), str(out)]
    words += [*SETTINGS, "--set", "search.steps=400"]
    process = subprocess.Popen(
        [sys.executable, *words], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    next(line for line in process.stderr if line.startswith("search 40/"))
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert stdout == ""
    said = stderr.splitlines()[-1]
    assert said.startswith("dilsearch: stopped; go on with: dilsearch run toy --out")
    assert said.endswith("--resume")
    assert (out / "checkpoints" / "search.safetensors").is_file()
    before = json.loads((out / "run.json").read_text())["stages"]["search"]
    assert before["status"] == "running"
    resumed = shlex.split(said.partition("go on with: dilsearch ")[2])
    assert "--set" in resumed


def test_spaces_lists_and_explains(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("spaces") == 0
    out = capsys.readouterr().out
    for name in ("toy", "regseg_camvid", "regseg_cityscapes"):
        assert name in out
    assert call("spaces", "toy", "--json", "--set", "data.size_px=64") == 0
    assert json.loads(capsys.readouterr().out)["data"]["size_px"] == 64
    assert call("spaces", "toy") == 0
    (line,) = (line for line in capsys.readouterr().out.splitlines() if "sites.1.upper" in line)
    assert "(open)" in line
    assert call("spaces", "toy", "--set", "sites.1.upper=9") == 0  # negative control
    (line,) = (line for line in capsys.readouterr().out.splitlines() if "sites.1.upper" in line)
    assert "(open)" not in line


def test_version_and_help_need_no_torch() -> None:
    program = (
        "import sys; from dilsearch.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "print([m for m in ('torch', 'pandas', 'matplotlib') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "[]"
    assert "Find a network's dilation rates" in done.stdout
    done = subprocess.run(
        [sys.executable, "-m", "dilsearch", "--version"], capture_output=True, text=True
    )
    assert done.stdout.startswith("dilsearch 0.")


def test_report_needs_no_torch(run_folder: Path) -> None:
    program = (
        "import sys; from dilsearch.cli import main\n"
        f"try: main(['report', {str(run_folder)!r}, '--quiet'])\n"
        "except SystemExit as end: assert end.code == 0\n"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "False", done.stderr
