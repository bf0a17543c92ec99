"""The verdict claims no more than the figures show; what is printed is whole at any width."""

import io
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import analyses
import pytest
from rich.console import Console

from dilsearch.analysis.reports import Gaps
from dilsearch.analysis.result import Analysis
from dilsearch.analysis.wording import print_analysis, verdict

LOST = "fft_fft2 in encoder.mixer[0]"
BEHIND = "bounds and holes go by these"

VERDICTS = {
    analyses.square: (
        "Field 3,839 x 3,839 px at 'out' (1,023 x 2,047 needed: covered), every bound kept, "
        "no holes."
    ),
    analyses.broken: (
        "Field 67 x 67 px at 'output' falls short of the 1,023 x 2,047 needed; 2 of 4 sites break "
        "their bound (first layer4.1.conv2: rate 9 -> 6); 384 of 4,489 pixels are never seen "
        "(largest hole 3 px)."
    ),
    analyses.oblong: (
        "Field 1,055 x 31 px at 'output' covers the 1,023 needed in height but falls short of the "
        "2,047 needed in width; every bound kept; no holes."
    ),
    analyses.series: "Field 255 px at 'output' (255 needed: covered), every bound kept, no holes.",
    analyses.volume: (
        "Field 7 x 15 x 15 px at 'output' covers the 15 needed in height and width but falls short "
        "of the 31 needed in depth; every bound kept; no holes."
    ),
    analyses.classifier: (
        "'output' counts as seeing the whole image, through global context (avgpool) and has no "
        "field of its own; in front of it the field is 483 x 483 px; every bound kept."
    ),
    analyses.branches: (
        "Field 571 x 571 to 575 x 575 px at 'features[0]' (511 x 511 needed: covered); every bound "
        "kept; at least 12 pixels are never seen (counted by axis; largest hole 2 px); beside its "
        "field it sees global context."
    ),
    analyses.unfollowed: (
        "Field at least 67 x 67 px at 'output', which is not known to cover the 127 x 127 needed; "
        f"every bound kept; no holes; 1 operation could not be followed ({LOST}), so fields behind "
        f"it are lower bounds, and {BEHIND}."
    ),
}


VERDICTS[analyses.remarked] = (
    "Field at most 67 x 67 px at 'output', which is not known to cover the 31 x 31 needed; every "
    "bound kept; no holes; 1 operation may see less than is counted (grid_sample in "
    "warp), so fields behind it are upper bounds."
)


@pytest.mark.parametrize("make", VERDICTS)
def test_verdict(make: Callable[[], Analysis]) -> None:
    assert verdict(make()) == VERDICTS[make]


def _with_gaps(gaps: Gaps) -> str:
    first = replace(analyses.broken().outputs[0], gaps=gaps)
    return verdict(replace(analyses.square(), outputs=(first,)))


@pytest.mark.parametrize(
    ("gaps", "told"),
    [
        (analyses.gaps(1, 1, 0.9), "1 of 4,489 pixels is never seen (largest hole 1 px)"),
        (
            analyses.gaps(1, 1, 0.9, "position"),
            "1 pixel is not seen by the map's middle position (largest hole 1 px)",
        ),
        (
            analyses.gaps(2000, 7, 0.9, "image"),
            "2,000 pixels inside the image are not seen by the map's middle position "
            "(largest hole 7 px)",
        ),
        (
            analyses.gaps(1, 1, 0.9, "axes"),
            "at least 1 pixel is never seen (counted by axis; largest hole 1 px)",
        ),
        (analyses.gaps(basis="position"), "no holes for the map's middle position"),
        (analyses.gaps(basis="image"), "no holes inside the image for the map's middle position"),
        (analyses.gaps(basis="axes"), "no holes found on any axis by itself"),
    ],
)
def test_holes_are_told_with_what_they_were_counted_on(gaps: Gaps, told: str) -> None:
    assert f"; {told}." in _with_gaps(gaps)


def test_one_broken_bound_is_told_in_the_singular() -> None:
    sites = analyses.broken().sites
    one = verdict(replace(analyses.broken(), sites=sites[:3]))
    assert "1 of 3 sites breaks its bound (layer4.1.conv2: rate 9 -> 6)" in one
    only = verdict(replace(analyses.broken(), sites=sites[2:3]))
    assert "the only site breaks its bound (layer4.1.conv2: rate 9 -> 6)" in only
    assert "no site has a bound" in verdict(replace(analyses.broken(), sites=()))


def test_positions_that_differ_cover_only_if_all_do() -> None:
    first = analyses.branches().outputs[0]

    def told(least: int) -> str:
        some = replace(first, field_min_px=(least, 575), field_px=(511, 575))
        return verdict(replace(analyses.branches(), outputs=(some,)))

    assert "(511 x 511 needed: covered)" in told(511)
    assert (
        "covers the 511 needed in width and covers the 511 needed in height at some positions only"
        in told(509)
    )


def test_what_could_not_be_followed_matters_only_in_front_of_the_output() -> None:
    beside = replace(analyses.unfollowed(), unfollowed={"side": "a", "stem": "b"})
    assert "Field at least" in verdict(beside)
    assert "2 operations could not be followed (a, b), so fields behind them" in verdict(beside)
    beside = replace(beside, unfollowed={"side": "a"})
    assert verdict(beside).startswith("Field 67 x 67 px at 'output' falls short of")
    both = replace(analyses.remarked(), unfollowed={"stem": "fft"})
    assert "Field about 67 x 67 px at 'output', which is not known to cover" in verdict(both)
    extra = replace(analyses.remarked(), remarks={"side": "a: b"})
    assert "(31 x 31 needed: covered)" in verdict(extra)
    short = replace(analyses.broken(), remarks={"stem": "a: b"})
    assert "Field at most 67 x 67 px at 'output' falls short of" in verdict(short)
    assert "may cover the 1,023 needed in height" in verdict(
        replace(analyses.oblong(), remarks={"stem": "a: b"})
    )
    several = {"side": "a", "stem": "b", "body": "c", "input": "d"}
    assert "(a and 3 more)" in verdict(replace(beside, unfollowed=several))


def test_an_output_without_anything_is_not_called_global() -> None:
    first = replace(analyses.classifier().outputs[0], global_context=False)
    told = verdict(replace(analyses.classifier(), outputs=(first,)))
    assert told.startswith("'output' has no field;")


def _printed(analysis: Analysis, width: int, **more: Any) -> str:
    stream = io.StringIO()
    print_analysis(analysis, Console(file=stream, width=width, **more))
    return stream.getvalue()


@pytest.mark.parametrize("width", [80, 100, 140])
@pytest.mark.parametrize("make", analyses.EVERY)
def test_printed_tables_fit_and_are_whole(make: Callable[[], Analysis], width: int) -> None:
    analysis = make()
    text = _printed(analysis, width)
    *lines, last = text.splitlines()
    assert last == analysis.verdict
    assert max(map(len, lines)) <= width
    assert "…" not in text
    assert "\x1b" not in text
    first_column = "".join(line.split(" ")[0] for line in lines)
    for site in analysis.sites:
        assert site.name in first_column


def test_sizes_break_only_between_numbers() -> None:
    lines = _printed(analyses.deep(3), 80).splitlines()
    words = " ".join(lines[4:-1]).split()
    for index in range(3):
        assert {f"{1023 + index}", f"{2047 + index}", "1234567", "36.9k", "151M"} <= set(words)
    assert not any(line.lstrip().startswith("x") for line in lines)


def test_a_console_that_is_far_too_narrow_loses_nothing() -> None:
    text = _printed(analyses.broken(), 30)
    assert "…" not in text
    assert {"384", "36.9k", "151M"} <= set(text.split())
    assert text.endswith(analyses.broken().verdict + "\n")


def test_a_broken_bound_says_no_and_its_fix_without_colour() -> None:
    wide = _printed(analyses.broken(), 140)
    [line] = [line for line in wide.splitlines() if line.startswith("layer4.1.conv2")]
    assert line.split() == "layer4.1.conv2 3 9 48 8 6 no 192 384 36.9k 151M rate 9 -> 6".split()
    narrow = _printed(analyses.broken(), 80).splitlines()
    [index] = [i for i, line in enumerate(narrow) if line.startswith("layer4.1.conv2")]
    assert narrow[index].split() == "layer4.1.conv2 3 9 48 8 6 no 192 384 36.9k 151M".split()
    assert narrow[index + 1].rstrip() == "  rate 9 -> 6"
    assert "fix" not in _printed(analyses.square(), 140)


def test_colour_marks_only_what_is_broken() -> None:
    text = _printed(analyses.broken(), 140, force_terminal=True, color_system="standard")
    red = [line for line in text.splitlines() if "\x1b[31m" in line]
    assert len(red) == 2
    assert all("rate" in line for line in red)
    plain = _printed(analyses.square(), 140, force_terminal=True, color_system="standard")
    assert "\x1b[31m" not in plain


def test_names_are_no_markup() -> None:
    named = replace(analyses.square().sites[0], name="[red]heads[0][/red]")
    text = _printed(replace(analyses.square(), model="[bold]Net", sites=(named,)), 140)
    assert "[red]heads[0][/red]" in text
    assert "[bold]Net on 1 x 3 x 512 x 1024" in text


def test_outputs_lists_and_totals_are_printed() -> None:
    text = _printed(analyses.branches(), 140)
    assert "features[0]   256  571 to 575       1     511      yes   >=12" in text
    assert "Holes with >= were counted axis by axis: a lower bound." in text
    assert "Behind upsampling" in text
    assert "  norm: GroupNorm of norm (field in front global as well)" in text
    assert "11,689,512 parameters, 1,814,073,344 MACs (a MAC is one multiply-accumulate" in text
    plain = _printed(analyses.square(), 140)
    assert "counted axis by axis" not in plain
    assert "Global context" not in plain
    lost = _printed(analyses.unfollowed(), 140)
    assert f"  body: {LOST}" in lost
    assert "unknown" in lost
    more = _printed(analyses.remarked(), 140)
    assert "  stem: grid_sample in warp: the whole map is counted" in more
    assert "unknown" in more
    assert "in height" in _printed(analyses.oblong(), 140)
    assert "No convolution has two taps" in _printed(replace(analyses.square(), sites=()), 140)
