"""Progress: plain lines where nobody watches a terminal, a live line where somebody does."""

import io

import pytest
from rich.console import Console

from dilsearch.progress import Reporter

ROW = {
    "step": 5,
    "samples": 40,
    "loss": 0.5,
    "learning_rate": 0.1,
    "field_px": 63,
    "blocks.0.conv2[0]": 1.0,
    "blocks.0.conv2[1]": 2.25,
    "batch_mean_iou": 0.75,
}


def shown(*, terminal: bool, quiet: bool = False, steps: int = 10) -> str:
    out = io.StringIO()
    console = Console(
        file=out,
        force_terminal=terminal,
        width=200,
        quiet=quiet,
        highlight=False,
        color_system=None,
    )
    reporter = Reporter(quiet=quiet, console=console)
    with reporter.training("search", steps) as watch:
        for step in range(1, steps + 1):
            watch({**ROW, "step": step})
    return out.getvalue()


def test_plain_lines_hold_step_eta_loss_iou_field_and_rates() -> None:
    lines = shown(terminal=False).splitlines()
    assert len(lines) == 10
    assert lines[4].startswith("search 5/10  eta ")
    for part in ("loss 0.500", "batch mIoU 0.75", "field 63 px", "rates (1.0,2.2)"):
        assert part in lines[4]


def test_many_rates_are_a_range_and_axes_stand_side_by_side(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    many = {"a[min]": 1.0, "a[mean]": 2.0, "a[max]": 9.0}
    axes = {"b[0.0]": 1.0, "b[0.1]": 2.0, "b[1.0]": 3.0, "b[1.1]": 4.0}
    monkeypatch.setattr(f"{__name__}.ROW", {"step": 1, "loss": 0.5, **many, **axes})
    assert "rates (1.0 to 9.0) (1.0x2.0,3.0x4.0)" in shown(terminal=False)


def test_a_long_training_prints_few_lines_and_always_the_last() -> None:
    lines = shown(terminal=False, steps=1003).splitlines()
    assert len(lines) <= 12
    assert lines[-1].startswith("search 1003/1003")


def test_a_terminal_gets_one_live_line_with_the_same_figures() -> None:
    text = shown(terminal=True)
    for part in ("10/10", "eta", "loss 0.500", "field 63 px", "rates (1.0,2.2)"):
        assert part in text


@pytest.mark.parametrize("terminal", [True, False])
def test_quiet_shows_nothing(terminal: bool) -> None:
    assert shown(terminal=terminal, quiet=True) == ""


def test_the_iou_of_the_last_look_is_kept_between_looks() -> None:
    out = io.StringIO()
    reporter = Reporter(console=Console(file=out, width=200))
    without = {key: value for key, value in ROW.items() if key != "batch_mean_iou"}
    with reporter.training("retrain", 2) as watch:
        watch({**ROW, "step": 1})
        watch({**without, "step": 2})
    assert out.getvalue().count("batch mIoU 0.75") == 2


def test_text_is_never_read_as_markup() -> None:
    out = io.StringIO()
    Reporter(console=Console(file=out, width=200)).say("site[0] [bold]")
    assert out.getvalue() == "site[0] [bold]\n"
