import numpy as np
import pytest

from dilsearch.data.palette import class_colours, to_rgb_rows
from dilsearch.errors import DataError


@pytest.mark.parametrize("count", [1, 8, 19, 60])
def test_colours_are_all_different(count):
    rows = to_rgb_rows(class_colours(count))
    assert rows.shape == (count, 3)
    assert rows.dtype == np.uint8
    assert len(np.unique(rows, axis=0)) == count


def test_more_classes_keep_the_colours_of_the_first():
    assert class_colours(12)[:5] == class_colours(5)


def test_hex_is_read_channel_by_channel():
    assert to_rgb_rows(["#0102fF"]).tolist() == [[1, 2, 255]]


@pytest.mark.parametrize("colour", ["red", "#fff", "#12345g", "123456", "#1234567", ""])
def test_other_notations_are_refused(colour):
    with pytest.raises(DataError, match=f"'{colour}' is not a colour; write it as #rrggbb"):
        to_rgb_rows([colour])
