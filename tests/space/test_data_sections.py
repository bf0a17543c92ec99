import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from dilsearch.space import CityscapesData, FolderPairsData, LongMemoryData, ThinBarsData


def test_images_have_three_colours_and_need_every_pixel_to_see_every_other():
    for data in (
        ThinBarsData(name="thin_bars", size_px=64),
        CityscapesData(name="cityscapes", size_px=(48, 64)),
        FolderPairsData(name="folder_pairs", class_names=("a", "b"), size_px=(64, 32)),
    ):
        assert data.channels == 3
        assert data.needed_px == 127


@given(st.integers(8, 2000), st.data())
def test_a_memory_needs_the_way_back_to_the_end_of_the_pulse(segment, data):
    pulse = data.draw(st.integers(1, segment // 2))
    memory = LongMemoryData(name="long_memory", segment=segment, pulse=pulse, classes=3)
    last, end_of_pulse = segment - 1, pulse - 1  # steps of the longest segment, the first being 0
    assert memory.needed_px == len(range(end_of_pulse, last + 1))
    assert memory.image_px == (2 * segment,)
    assert memory.channels == len(memory.class_names) == 3


def test_the_length_of_a_sequence_may_be_given():
    memory = LongMemoryData(name="long_memory", segment=20, sequence=25)
    assert memory.image_px == (25,)
    assert memory.needed_px == 17


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"segment": 20, "pulse": 11}, r"pulse = 11 reaches into the half .* \(segment = 20\)"),
        ({"segment": 20, "sequence": 19}, "sequence = 19 holds no segment = 20; make it as long"),
        ({"palette": ("#000000",) * 2}, "2 colours for classes = 4; give 5: silence, and one for"),
        ({"classes": 2, "palette": ("#0000aa", "#0000AA", "#ffffff")}, "the same colour twice"),
        ({"segment": 7}, "greater than or equal to 8"),
    ],
)
def test_impossible_memories_are_refused(values, text):
    with pytest.raises(ValidationError, match=text):
        LongMemoryData(name="long_memory", **values)


def test_the_bars_count_their_two_colours_more():
    with pytest.raises(ValidationError, match="give 5: background, bars, and one for each class"):
        ThinBarsData(name="thin_bars", palette=("#000000",) * 2)
