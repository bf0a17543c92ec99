"""The page: complete, self-contained, escaped, and written from the run's files alone."""

import os
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest

from dilsearch.errors import RunError
from dilsearch.plan import DilationPlan
from dilsearch.report import write_report
from dilsearch.report.html import duration_text, render
from dilsearch.report.tables import read_run

RunFactory = Callable[..., Path]

VOID = {"meta", "img", "br", "link", "input", "hr"}


class _Page(HTMLParser):
    """Collects text, tags and addresses of a page, and whether its tags are balanced."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.words: list[str] = []
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self._open: list[str] = []
        self.feed(page)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] != "style":
            self.words.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.words))


def _page(folder: Path) -> _Page:
    return _Page((folder / "report.html").read_text(encoding="utf-8"))


@pytest.mark.parametrize("kind", ["toy", "camvid"])
def test_page_and_figures_are_written(finished: Mapping[str, Path], kind: str) -> None:
    folder = finished[kind]
    assert (folder / "report.html").stat().st_size < 2_000_000
    assert sorted(path.name for path in (folder / "figures").iterdir()) == sorted(
        ["predictions.png"]
        + [f"{name}.{kind}" for name in ("rates", "field", "loss") for kind in ("png", "svg")]
    )


@pytest.mark.parametrize("kind", ["toy", "camvid"])
def test_page_needs_nothing_but_itself(finished: Mapping[str, Path], kind: str) -> None:
    page = _page(finished[kind])
    assert page.addresses
    assert all(address.startswith("data:image/") for address in page.addresses)
    assert not {"script", "link", "iframe", "object"} & set(page.tags)
    text = (finished[kind] / "report.html").read_text(encoding="utf-8")
    assert "http" not in text
    assert "url(" not in text
    assert "@import" not in text


def test_page_tells_the_numbers_of_the_run(finished: Mapping[str, Path]) -> None:
    text = _page(finished["toy"]).text
    for told in (
        "Search grew the field from 47 to 199 px (191 needed)",
        "5 of 5",
        "2.37, 8.62",
        "8.62 → 9: ceil of the larger",
        "Far accuracy",
        "0.992",
        "+65.8",
        "green bar",
        "dilsearch run toy --profile quick --seed 0",
        "25 s",
        "ef" * 32,
        "finished · 20 s",
    ):
        assert told in text
    assert "not complete" not in text


def test_page_of_street_scenes_has_every_site_and_class(finished: Mapping[str, Path]) -> None:
    text = _page(finished["camvid"]).text
    for told in ("body.4.conv2", "body.16.conv2", "pedestrian", "bicyclist", "not scored", "2399"):
        assert told in text
    assert "Far accuracy" not in text


def test_page_of_a_search_alone_says_what_is_missing(make_run: RunFactory) -> None:
    folder = make_run(stages=("search",))
    write_report(folder)
    text = _page(folder).text
    assert "This run is not complete. Not done yet: the integer plan, retraining" in text
    assert "Searched rates" in text
    assert "Integer rates" not in text
    assert "IoU by class" not in text
    assert not (folder / "figures" / "predictions.png").exists()


def test_page_of_a_run_that_has_not_begun(make_run: RunFactory) -> None:
    folder = make_run(stages=())
    page = write_report(folder)
    assert page == folder / "report.html"
    assert "No stage of this run has finished yet." in _page(folder).text


def test_page_is_written_again_over_the_old_one(make_run: RunFactory) -> None:
    folder = make_run(stages=("search",))
    first = write_report(folder).read_bytes()
    assert write_report(folder).read_bytes() == first
    assert [path.name for path in folder.iterdir() if path.name.startswith(".")] == []


def test_a_broken_bound_is_shown_as_broken(make_run: RunFactory) -> None:
    folder = make_run(stages=("search", "convert"), summary={"plan": {"holes": 384}})
    field = pd.read_csv(folder / "field.csv")
    field.loc[field["site"] == "body.1.conv2", "bound_ok"] = False
    field.to_csv(folder / "field.csv", index=False)
    text = _Page(render(read_run(folder), {})).text
    assert text.count("✗ broken") == 1
    assert text.count("✓ kept") == 4
    assert "4 of 5" in text
    assert "384" in text


def test_a_loss_against_the_control_is_shown_with_its_sign(make_run: RunFactory) -> None:
    worse = {"retrain": {"val": {"mean_iou": 0.41}}, "control": {"val": {"mean_iou": 0.452}}}
    text = _Page(render(read_run(make_run(summary=worse)), {})).text
    assert "\N{MINUS SIGN}4.2" in text
    assert "the control is better" in text


def test_names_are_escaped(make_run: RunFactory) -> None:
    evil = "<script>alert('x')</script>"
    folder = make_run(summary={"classes": [{"name": evil, "color": '"><script>'}] * 4})
    for name in ("plan.float.json", "plan.json"):
        plan = DilationPlan.load(folder / name)
        renamed = {site.replace("body.1", evil): rates for site, rates in plan.items()}
        DilationPlan.per_branch(renamed).save(folder / name)
    record = (folder / "run.json").read_text()
    (folder / "run.json").write_text(record.replace("dilsearch run toy", evil))
    write_report(folder)
    page = _page(folder)
    assert "script" not in page.tags
    assert page.text.count(evil) > 2


def test_findings_of_the_search_are_told_and_escaped(make_run: RunFactory) -> None:
    findings = [
        "no rate moved; search <script>longer</script>",
        "the field is 7 px & 40 are needed",
    ]
    folder = make_run(summary={"search": {"findings": findings}})
    written = render(read_run(folder), {})
    page = _Page(written)
    for finding in findings:
        assert f"About the search: {finding}." in page.text
    assert "script" not in page.tags
    assert "&lt;script&gt;longer" in written
    assert "7 px &amp; 40" in written
    # negative controls: none to tell, and a run from before there were any
    for name, more in (("none", {"search": {"findings": []}}), ("old", None)):
        quiet = _Page(render(read_run(make_run(name=name, summary=more)), {}))
        assert "About the search" not in quiet.text


def test_the_page_says_what_the_control_is(make_run: RunFactory) -> None:
    folder = make_run()
    told = "control is the same network with {}, trained on the same budget"
    assert told.format("every rate 1") in _Page(render(read_run(folder), {})).text
    (folder / "space.toml").write_text('[control]\nrate = "published:<b>x"\n')
    page = _Page(render(read_run(folder), {}))
    assert told.format("the <b>x rates") in page.text
    assert told.format("every rate 1") not in page.text


def test_a_folder_without_a_run_gets_no_report(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="holds no run"):
        write_report(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_report_is_written_without_torch(make_run: RunFactory) -> None:
    folder = make_run(stages=("search",))
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from dilsearch.report import write_report\n"
        "write_report(Path(sys.argv[1]))\n"
        "sys.exit('torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder)], env={**os.environ}, check=False
    )
    assert done.returncode == 0
    assert (folder / "report.html").is_file()


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.41, "0.4 s"), (25.3, "25 s"), (59.7, "1 min 0 s"), (185, "3 min 5 s"), (3725, "1 h 2 min")],
)
def test_duration_text(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text
