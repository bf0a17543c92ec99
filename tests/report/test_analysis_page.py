"""The page of an analysis: complete, self-contained, escaped, and no wider than its window."""

import html
import re
import subprocess
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import analyses
import pytest
from browser import BROWSER, FLAGS
from matplotlib.figure import Figure

from dilsearch.analysis.frames import as_json
from dilsearch.analysis.result import Analysis
from dilsearch.report.analysis_page import render_page, write_page

TIMES = "\N{MULTIPLICATION SIGN}"
VOID = {"meta", "img", "br", "wbr"}


class _Page(HTMLParser):
    """Collects text, rows, images and addresses of a page, and whether its tags are balanced."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.words: list[str] = []
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.images: list[dict[str, str | None]] = []
        self.rows: list[tuple[str, list[str]]] = []
        self._open: list[str] = []
        self.feed(page)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag == "img":
            self.images.append(dict(attrs))
        if tag == "tr":
            self.rows.append((dict(attrs).get("class") or "", []))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not self._open or self._open[-1] == "style":
            return
        self.words.append(data)
        if "tr" in self._open and data.strip():
            self.rows[-1][1].append(data.strip())

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", "".join(self.words))

    def row(self, name: str) -> tuple[str, list[str]]:
        [found] = [row for row in self.rows if "".join(row[1]).startswith(name)]
        return found


def _page(analysis: Analysis, **more: object) -> _Page:
    return _Page(render_page(as_json(analysis), **more))  # type: ignore[arg-type]


def _figure(width: float = 5, height: float = 4) -> Figure:
    figure = Figure(figsize=(width, height))
    figure.add_subplot().plot([0, 1], [3, 7])
    return figure


@pytest.mark.parametrize("make", analyses.EVERY)
def test_every_analysis_has_a_page_with_its_verdict(make: Callable[[], Analysis]) -> None:
    analysis = make()
    page = _page(analysis)
    assert analysis.verdict in page.text
    names = {"".join(cells) for _, cells in page.rows}
    for site in analysis.sites:
        assert any(name.startswith(site.name) for name in names)
    for output in analysis.outputs:
        assert any(name.startswith(output.name) for name in names)


def test_a_page_needs_nothing_but_itself(tmp_path: Path) -> None:
    path = tmp_path / "new" / "page.html"
    drawn = {"growth": _figure(), "bounds": _figure(9, 3), "of_my_own": _figure()}
    write_page(as_json(analyses.unfollowed()), path, drawn, ["Weights: random."])
    text = path.read_text(encoding="utf-8")
    page = _Page(text)
    assert len(page.images) == 3
    inside = [address for address in page.addresses if not address.startswith("data:image/svg")]
    assert inside == ["#unfollowed"]
    assert 'id="unfollowed"' in text
    assert not {"script", "link", "iframe", "object"} & set(page.tags)
    assert not any(word in text for word in ("http", "url(", "@import"))
    assert "Weights: random." in page.text
    assert [path.name for path in path.parent.iterdir()] == ["page.html"]


def test_pictures_have_texts_and_captions_that_say_how_to_read_them(tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    write_page(
        as_json(analyses.square()), path, {"coverage": _figure(), "of_my_own": _figure(9, 3)}
    )
    page = _Page(path.read_text(encoding="utf-8"))
    assert [image["alt"] for image in page.images] == [
        "Input pixels that one output position sees, shaded by the number of paths to each",
        "Of my own",
    ]
    assert "Orange pixels lie inside the field and are never seen" in page.text
    assert "Rates against bounds" not in page.text  # no caption without its picture
    written = path.read_text(encoding="utf-8")
    assert written.count('<figure class="wide">') == 1
    assert written.count("<figure>") == 1


def test_a_broken_bound_is_marked_with_its_fix() -> None:
    page = _page(analyses.broken())
    shown, cells = page.row("layer4.1.conv2")
    assert shown == "broken"
    assert {"✗ broken", "rate 9 → 6", "384", "91.4\N{NO-BREAK SPACE}%"} <= set(cells)
    shown, cells = page.row("layer4.0.conv2")
    assert shown == ""
    assert "✓ kept" in cells
    assert page.text.count("✗ broken") == 2
    assert "2 of 4" in page.text
    assert "9 > 3 taps, for rates 4, 2, 9" in page.text


def test_cards_say_what_is_good_and_bad() -> None:
    def cards(analysis: Analysis) -> list[tuple[str, str]]:
        text = render_page(as_json(analysis))
        found = re.findall(r'class="value (\w*)">([^<]*)<', text)
        return [(value, good) for good, value in found]

    assert cards(analyses.square())[:4] == [
        ("3,839 px", "good"),
        ("1 px", ""),
        ("2 of 2", "good"),
        ("0", "good"),
    ]
    assert cards(analyses.broken())[:4] == [
        ("67 px", "bad"),
        ("1 px", ""),
        ("2 of 4", "bad"),
        ("384", "bad"),
    ]
    assert cards(analyses.oblong())[0] == (f"1,055 {TIMES} 31 px", "bad")
    assert cards(analyses.classifier())[0] == ("whole image", "")
    least = "≥\N{NO-BREAK SPACE}"
    unsure = [(f"{least}67 px", ""), ("1 px", ""), ("1 of 1", ""), ("0", "")]
    assert cards(analyses.unfollowed())[:4] == unsure
    assert cards(analyses.branches())[0] == ("571 to 575 px", "good")
    assert cards(analyses.branches())[3] == (f"{least}12", "bad")
    # no hole found by a count that is no more than a lower bound proves nothing
    first = replace(analyses.square().outputs[0], gaps=analyses.gaps(basis="axes"))
    assert cards(replace(analyses.square(), outputs=(first,)))[3] == (f"{least}0", "")


def test_sections_stand_only_where_there_is_something_to_tell() -> None:
    page = _page(analyses.branches())
    for told in (
        "GroupNorm of norm",
        "global as well",
        "Conv2d, 64 → 64, 16 groups",
        f"1, 2 {TIMES} 4, 4",
        "Holes with ≥ were counted axis by axis",
        "holes are those of the map's middle position",
    ):
        assert told in page.text
    assert "Not followed" not in page.text
    plain = _page(analyses.square())
    assert "counted axis by axis" not in plain.text
    assert "Here a whole map" not in plain.text
    more = _page(analyses.remarked())
    assert "May see less than counted" in more.text
    assert "grid_sample in warp: the whole map is counted" in more.text
    assert {"unknown", "≤\N{NO-BREAK SPACE}67"} <= set(more.row("output")[1])
    assert "May see less than counted" not in plain.text
    lost = _page(analyses.unfollowed())
    assert "unknown" in lost.row("output")[1]
    assert "✗ no" in _page(analyses.broken()).row("output")[1]
    assert "✓ yes" in plain.row("out")[1]
    assert "fft_fft2 in encoder.mixer[0]" in lost.text
    assert "Fields behind this operation are lower bounds" in lost.text
    assert "no convolution of two taps or more" in _page(replace(analyses.square(), sites=())).text


def test_a_share_is_100_only_where_all_is_seen() -> None:
    first = replace(analyses.square().outputs[0], gaps=analyses.gaps(1, 1, 1 - 1e-7))
    text = _page(replace(analyses.square(), outputs=(first,))).text
    assert "over 99.9 % seen" in text
    assert "; 100 % seen" not in text
    assert "; 100 % seen" in _page(analyses.square()).text


def test_everything_is_escaped() -> None:
    evil = "<script>alert('x')</script>"
    values = analyses.unfollowed()
    changed = replace(
        values,
        model=evil,
        sites=(replace(values.sites[0], name=evil + ".conv", kind=evil),),
        outputs=(
            replace(
                values.outputs[0],
                name=evil,
                largest_path=replace(values.outputs[0].largest_path, nodes=(evil,)),  # type: ignore[type-var]
            ),
        ),
        global_context=(analyses.GlobalReport(node=evil, cause=evil, field_px=None),),
        unfollowed={"body": evil},
    )
    page = _page(changed, notes=[evil])
    assert "script" not in page.tags
    assert page.text.count(evil) > 9


def _overflow_px(frames: list[tuple[str, int]], folder: Path) -> list[int]:
    """How far each page runs over the right edge of a frame of its width."""
    measure = (
        "const page = this.contentDocument.documentElement;"
        "document.title += ` ${this.name}:${page.scrollWidth - page.clientWidth}`"
    )
    written = "".join(
        f'<iframe name="{index}" style="width:{width_px}px;height:900px;border:0" '
        f'onload="{measure}" srcdoc="{html.escape(page)}"></iframe>'
        for index, (page, width_px) in enumerate(frames)
    )
    path = folder / "frames.html"
    path.write_text(f"<!doctype html><title></title>{written}", encoding="utf-8")
    done = subprocess.run(
        [str(BROWSER), *FLAGS, f"--user-data-dir={folder / 'profile'}", str(path)],
        capture_output=True,
        text=True,
        timeout=90,
        check=True,
    )
    title = re.search(r"<title>(.*?)</title>", done.stdout)
    assert title, done.stderr
    over = {int(index): int(px) for index, px in re.findall(r"(\d+):(-?\d+)", title[1])}
    return [over[index] for index in range(len(frames))]  # in the order of loading no more


@pytest.mark.skipif(BROWSER is None, reason="no Chromium found to render the page")
def test_pages_fit_their_window(tmp_path: Path) -> None:
    drawn = {"coverage": _figure(), "bounds": _figure(9, 3)}
    long = "an_operation_with_a_name_of_one_word_" * 4
    named = analyses.site(long, (1, 1), (3, 3))
    pages = []
    for make in (analyses.broken, analyses.classifier, analyses.branches, analyses.deep):
        path = tmp_path / "page.html"
        sites = (named, *make().sites[:20])
        values = as_json(replace(make(), sites=sites, unfollowed={"body": long}))
        write_page(values, path, drawn, [long])
        pages.append(path.read_text(encoding="utf-8"))
    control = "<div style='width:1300px'>wide</div>"
    frames = [(page, width_px) for page in (*pages, control) for width_px in (360, 1200)]
    *over, narrow, wide = _overflow_px(frames, tmp_path)
    assert over == [0] * (2 * len(pages))
    assert (narrow > 900, wide > 90) == (True, True)
