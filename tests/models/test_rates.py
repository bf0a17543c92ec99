"""The published rates against the fields their sources state."""

import pytest

from dilsearch.errors import ModelError
from dilsearch.models.rates import PUBLISHED_RATES, published_rates


@pytest.mark.parametrize(
    ("name", "field_px"),
    [
        ("dnas_table2", 2399),  # RegSeg Tab. 2
        ("exp43", 3743),  # this and the next: RegSeg's published ablation studies
        ("exp46", 3295),
        ("exp48", 3807),
        ("exp49", 3807),
        ("exp50", 3743),
        ("exp51", 3743),
        ("exp52", 2207),
    ],
)
def test_fields(name: str, field_px: int) -> None:
    # RegSeg Eq. 1: 63 px before the searchable blocks, then 2 taps further of 16 px each per rate.
    assert 63 + 2 * 16 * sum(max(block) for block in PUBLISHED_RATES[name]) == field_px


def test_every_list_has_rates_for_13_blocks() -> None:
    assert all(len(rates) == 13 for rates in PUBLISHED_RATES.values())
    assert all(len(block) in (1, 2, 4) for rates in PUBLISHED_RATES.values() for block in rates)


def test_lists_without_a_published_field() -> None:
    assert published_rates("exp30") == ((1, 4),) * 5 + ((1, 10),) * 8
    assert [max(block) for block in published_rates("exp47")] == [1, 2, 4, 6, 8, 10, 12] + [14] * 6


def test_unknown_name() -> None:
    with pytest.raises(
        ModelError, match=r"rates 'exp84' are not among the published dnas_table2, "
    ):
        published_rates("exp84")


def test_the_table_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        PUBLISHED_RATES["exp48"] = ()  # type: ignore[index]
