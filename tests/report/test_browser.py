"""The page in a real browser: nothing runs over the edge at phone or desktop width."""

import html
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest
from browser import BROWSER, FLAGS

pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium found to render the page")


def _overflow_px(page: str, width_px: int, folder: Path) -> int:
    """How far the page runs over the right edge of a frame of that width."""
    measure = (
        "const page = this.contentDocument.documentElement;"
        "document.title = 'over ' + (page.scrollWidth - page.clientWidth) + ' px'"
    )
    frame = (
        f'<!doctype html><iframe style="width:{width_px}px;height:900px;border:0" '
        f'onload="{measure}" srcdoc="{html.escape(page)}"></iframe>'
    )
    (folder / "frame.html").write_text(frame, encoding="utf-8")
    done = subprocess.run(
        [str(BROWSER), *FLAGS, f"--user-data-dir={folder / 'profile'}", str(folder / "frame.html")],
        capture_output=True,
        text=True,
        timeout=90,
        check=True,
    )
    found = re.search(r"<title>over (-?\d+) px</title>", done.stdout)
    assert found, done.stderr
    return int(found[1])


@pytest.mark.parametrize("width_px", [360, 1200])
def test_page_fits_its_window(finished: Mapping[str, Path], tmp_path: Path, width_px: int) -> None:
    page = (finished["camvid"] / "report.html").read_text(encoding="utf-8")
    assert _overflow_px(page, width_px, tmp_path) == 0


def test_a_page_that_is_too_wide_is_found(tmp_path: Path) -> None:
    assert _overflow_px("<div style='width:500px'>wide</div>", 360, tmp_path) > 100
