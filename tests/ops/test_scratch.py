"""Memory that is used again: where, how long, by whom, and what stays zero in it."""

import threading

import pytest
import torch

from dilsearch.ops import scratch
from dilsearch.ops.scratch import Scratch

LIKE = torch.zeros(1)


@pytest.fixture(autouse=True)
def _no_memory_from_before(monkeypatch):
    monkeypatch.setattr(scratch, "_kept", scratch._Pool())


def test_the_next_call_finds_the_memory_of_the_last():
    first = Scratch(LIKE).take("copies", (2, 3))
    second = Scratch(LIKE).take("copies", (3, 2))
    assert first.data_ptr() == second.data_ptr()
    assert (second.shape, second.dtype) == ((3, 2), torch.float32)
    assert second.is_contiguous()


def test_less_is_taken_of_the_same_memory_and_more_is_new():
    memory = Scratch(LIKE)
    some = memory.take("copies", (6,))
    assert memory.take("copies", (2, 2)).data_ptr() == some.data_ptr()
    more = memory.take("copies", (7,))
    assert len(more) == 7
    assert memory.take("copies", (6,)).data_ptr() == more.data_ptr()


def test_another_name_or_type_is_other_memory():
    memory = Scratch(LIKE)
    some, name = memory.take("copies", (6,)), memory.take("mixed", (6,))
    type_ = memory.take("copies", (6,), torch.float64)
    assert len({some.data_ptr(), name.data_ptr(), type_.data_ptr()}) == 3
    assert type_.dtype == torch.float64


def test_large_memory_is_not_kept_between_calls(monkeypatch):
    monkeypatch.setattr(scratch, "KEPT_ELEMENTS", 8)
    Scratch(LIKE).take("copies", (9,))
    assert not scratch._kept.buffers
    Scratch(LIKE).take("copies", (8,))
    assert len(scratch._kept.buffers) == 1


def test_zeros_are_written_beside_the_maps_and_stay():
    wide = Scratch(LIKE).take_between_zeros("maps", (2, 7), -1, (2, 1))
    wide[:, 2:6] = 5
    again = Scratch(LIKE).take_between_zeros("maps", (2, 7), -1, (2, 1))
    assert again.tolist() == [[0, 0, 5, 5, 5, 5, 0]] * 2
    assert again.data_ptr() == wide.data_ptr()


def test_the_control_zeros_are_kept_not_written_again():
    # what somebody writes there against the rule is still there: the pass over memory is saved
    Scratch(LIKE).take_between_zeros("maps", (2, 7), -1, (2, 1)).fill_(5)
    again = Scratch(LIKE).take_between_zeros("maps", (2, 7), -1, (2, 1))
    assert (again == 5).all()


@pytest.mark.parametrize(
    ("shape", "dim", "room"),
    [((2, 7), -1, (1, 2)), ((7, 2), -2, (2, 1)), ((2, 6), -1, (2, 1)), ((2, 9), -1, (4, 4))],
)
def test_another_shape_has_its_zeros_where_they_belong(shape, dim, room):
    Scratch(LIKE).take_between_zeros("maps", (2, 7), -1, (2, 1)).fill_(5)
    wide = Scratch(LIKE).take_between_zeros("maps", shape, dim, room)
    assert (wide.narrow(dim, 0, room[0]) == 0).all()
    assert (wide.narrow(dim, shape[dim] - room[1], room[1]) == 0).all()


def test_two_shapes_in_turn_do_not_soil_each_others_zeros():
    memory = Scratch(LIKE)
    for value in (5.0, 7.0):
        for shape in ((2, 7), (2, 5)):
            wide = memory.take_between_zeros("maps", shape, -1, (2, 1))
            assert (wide[:, :2] == 0).all()
            assert (wide[:, -1:] == 0).all()
            wide[:, 2:-1] = value


def test_grown_memory_has_its_zeros_again():
    for length in (7, 70):
        wide = Scratch(LIKE).take_between_zeros("maps", (2, length), -1, (2, 1))
        assert (wide[:, :2] == 0).all()
        wide[:, 2:-1] = 5
        assert (wide[:, -1:] == 0).all()


def test_every_thread_has_memory_of_its_own():
    own, found = Scratch(LIKE).take("copies", (6,)), []

    def other() -> None:
        found.append(Scratch(LIKE).take("copies", (6,)))

    thread = threading.Thread(target=other)
    thread.start()
    thread.join()
    assert found[0].data_ptr() != own.data_ptr()


def test_memory_made_in_inference_mode_can_be_written_outside_of_it():
    with torch.inference_mode():
        inside = Scratch(LIKE).take("copies", (6,))
    assert not inside.is_inference()
    assert Scratch(LIKE).take("copies", (6,)).fill_(1).data_ptr() == inside.data_ptr()
