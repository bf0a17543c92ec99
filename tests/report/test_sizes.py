"""How sizes and counts are written, and when a field covers what is needed."""

import pytest

from dilsearch.report.sizes import count_text, number_text, range_text, rates_text, reach, size_text


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0"),
        (864, "864"),
        (999, "999"),
        (1000, "1.00k"),
        (9_994, "9.99k"),
        (9_996, "10.0k"),
        (36_864, "36.9k"),
        (99_960, "100k"),
        (999_499, "999k"),
        (999_500, "1.00M"),
        (1_814_073_344, "1.81G"),
        (10**18, "1000P"),
    ],
)
def test_count_text(count: int, text: str) -> None:
    assert count_text(count) == text


def test_size_text() -> None:
    assert size_text((1023, 1023)) == "1,023"
    assert size_text((1023, 2047), "by") == "1,023 by 2,047"
    assert size_text((1023, 2047), grouped=False) == "1023 x 2047"
    assert size_text((0.5, 1 / 3)) == "0.5 x 0.333"
    assert range_text((63, 63), (67, 69)) == "63 to 67 x 69"
    assert range_text((63, 63), (63, 63)) == "63"
    assert rates_text(((1, 1), (2, 4))) == "1, 2 x 4"
    assert number_text(2.0) == "2"


def test_reach() -> None:
    assert reach((9, 9, 9), (9, 7, 5), (9, 8, 10)) == ("all", "some", "none")
    assert reach((9,), None, (9,)) == ("all",)
    assert reach((9,), None, (10,)) == ("none",)
