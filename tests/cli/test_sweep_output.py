"""What a sweep prints of its files."""

from pathlib import Path

import pytest
from sweeps import TPE_BEST, tpe_rows, write_sweep

from dilsearch.baselines.record import rates_in_words
from dilsearch.cli.sweep_output import in_short, show_sweep
from dilsearch.plan import DilationPlan, SiteRates
from dilsearch.progress import Reporter
from dilsearch.runs import RunFolder


def test_numbers_are_whole_beside_a_trial_that_has_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    rows = tpe_rows()
    (failed,) = (row for row in rows if row["state"] == "failed")
    failed |= {"samples": None, "seconds": None, "field_px": None}
    path = write_sweep(
        tmp_path / "tpe", "tpe", rows, total=8, best={**TPE_BEST, "target_px": None, "score": 0.972}
    )
    # control: the file itself does not tell that they are
    assert RunFolder.open(path).read_csv("trials.csv")["samples"].dtype == float
    show_sweep(path, None, Reporter(), as_json=False)
    printed = capsys.readouterr().out
    first = next(line.split() for line in printed.splitlines() if line.split()[:1] == ["4"])
    assert first == ["4", "239", "0.972", "4,800"]
    assert "8 of 8 trials finished (6 complete, 2 pruned, 1 failed): " in printed


@pytest.mark.parametrize(
    ("sites", "text"),
    [
        ({"a": SiteRates("branch", (1, 2)), "b": SiteRates("branch", (1, 10))}, "1,2  1,10"),
        ({"a": SiteRates("channel", (1,) * 31 + (9,))}, "32 from 1 to 9, mean 1.25"),
        ({"a": SiteRates("site", (3,)), "b": SiteRates("channel", (2,) * 32)},
         "3  32 from 2 to 2, mean 2"),
    ],
)  # fmt: skip
def test_rates_are_short_and_readable(sites: dict[str, SiteRates], text: str) -> None:
    assert in_short(rates_in_words(DilationPlan(sites))) == text
