"""First and last pixel of every position, against a walk through all positions."""

from fractions import Fraction
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dilsearch.errors import GeometryError
from dilsearch.geometry import Field, FieldGraph, Join, Reads, Resample, Source, Span, max_rate

# RegSeg Tab. 2: the fields in front of its sites at stride 16, and Eq. 3.
REGSEG = {63: 3, 95: 5, 159: 9, 223: 13, 319: 19, 415: 25, 639: 39, 1951: 121}


def uniform(size: int, stride: int, start: int = 0) -> Span:
    return Span((start,), (start + size - 1,), stride)


def hull(values: set[int]) -> tuple[int, int] | None:
    return (min(values), max(values)) if values else None


def slow_bound(span: Span, positions: int, most: int) -> int:
    """The largest rate up to which neighbouring taps touch or overlap, tried one by one."""

    def touch(here: tuple[int, int] | None, there: tuple[int, int] | None) -> bool:
        if here is None or there is None:
            return True
        return there[0] <= here[1] + 1 and here[0] <= there[1] + 1

    for rate in range(1, most + 1):
        if not all(touch(span.at(p), span.at(p + rate)) for p in range(positions)):
            return rate - 1
    return most


@st.composite
def spans(draw: st.DrawFn) -> Span:
    """Behind one or two resamplings of a uniform span."""
    span = uniform(draw(st.integers(1, 30)), draw(st.integers(1, 8)), draw(st.integers(-9, 9)))
    for _ in range(draw(st.integers(1, 2))):
        if draw(st.booleans()):
            offsets = draw(
                st.lists(st.sets(st.integers(-6, 6), max_size=3), min_size=1, max_size=3)
            )
            table = Reads(tuple(tuple(sorted(row)) for row in offsets), draw(st.integers(1, 4)))
        else:
            scale = Fraction(draw(st.integers(1, 4)), draw(st.integers(1, 4)))
            table = getattr(Reads, draw(st.sampled_from(["nearest", "linear", "cubic"])))(scale)
        span = span.through(table)
    return span


class TestAgainstTheWalk:
    @settings(deadline=None, max_examples=80)
    @given(data=st.data(), unlike=st.booleans())
    def test_every_position_along_one_axis(
        self, graphs: SimpleNamespace, data: st.DataObject, unlike: bool
    ):
        graph = data.draw(graphs.networks(1, unlike=unlike))
        spans = graph.propagate().spans
        clipped = {name for name, (span,) in spans.items() if not span.repeats}
        for node in graph.nodes:
            (span,) = spans[node.name]
            beyond = range(-3, graph.sizes[node.name][0] + 3)
            for position in beyond:
                walked = graphs.walk(graph, node.name, (position,), clipped=clipped)
                seen = {pixel for one in walked.values() for (pixel,) in one}
                assert span.at(position) == hull(seen)

    @settings(deadline=None, max_examples=60)
    @given(data=st.data())
    def test_every_axis_of_a_plane(self, graphs: SimpleNamespace, data: st.DataObject):
        graph = data.draw(graphs.networks(2))
        at = graph.outputs[0]
        spans = graph.propagate().spans
        whole = all(
            all(reads.offsets[i] for i in range(reads.period))
            for node in graph.nodes
            if isinstance(node, Resample)
            for reads in node.table
        )
        repeats = all(span.repeats for axes in spans.values() for span in axes)
        position = tuple(data.draw(st.integers(0, n - 1)) for n in graph.sizes[at])
        walked = graphs.walk(graph, at, position)
        seen = {pixel for one in walked.values() for pixel in one}
        for axis, span in enumerate(spans[at] if seen and repeats else ()):
            first, last = hull({pixel[axis] for pixel in seen})
            start, end = span.at(position[axis])
            assert start <= first <= last <= end
            # Where nothing is left out, a position sees as far as its row and its column do.
            assert not whole or (start, end) == (first, last)

    @settings(deadline=None, max_examples=60)
    @given(spans(), st.integers(1, 3), st.integers(1, 3), st.data())
    def test_through_reads_the_positions(
        self, span: Span, period: int, advance: int, data: st.DataObject
    ):
        rows = data.draw(
            st.lists(st.sets(st.integers(-9, 9), max_size=3), min_size=period, max_size=period)
        )
        reads = Reads(tuple(tuple(sorted(row)) for row in rows), advance)
        after = span.through(reads)
        for position in range(-20, 21):
            seen = [one for p in reads.at(position) if (one := span.at(p)) is not None]
            assert after.at(position) == hull({end for one in seen for end in one})

    @settings(deadline=None, max_examples=60)
    @given(st.lists(spans(), min_size=1, max_size=3), st.data())
    def test_joins(self, some: list[Span], data: st.DataObject):
        joined = Span.join(some, 15)
        shuffled = Span.join(data.draw(st.permutations(some)), 15)
        for position in range(15):
            seen = [one for span in some if (one := span.at(position)) is not None]
            expected = hull({end for one in seen for end in one})
            assert joined.at(position) == shuffled.at(position) == expected
            assert Span.join([joined, *some], 15).at(position) == expected


class TestUniform:
    @settings(deadline=None, max_examples=60)
    @given(st.integers(1, 5), st.integers(1, 6), st.integers(1, 3), st.integers(-2, 2))
    def test_it_is_the_field(self, taps: int, rate: int, stride: int, anchor: int):
        span = uniform(63, 16).through(Reads.window(taps, rate=rate, stride=stride, anchor=anchor))
        assert span.field == Field(63, 16).through(taps, rate, stride)
        assert span.uniform
        assert span.repeats
        assert span.smallest_px == span.field.size_px

    @pytest.mark.parametrize("size", REGSEG)
    def test_bounds_of_regseg(self, size: int):
        assert uniform(size, 16).bound == REGSEG[size] == max_rate(Field(size, 16))

    @settings(deadline=None, max_examples=60)
    @given(st.integers(1, 200), st.integers(1, 32), st.integers(-50, 50))
    def test_its_bound_is_that_of_the_field(self, size: int, stride: int, start: int):
        span = uniform(size, stride, start)
        assert span.bound == max_rate(span.field) == slow_bound(span, 1, 300)

    def test_the_middle_of_position_0(self):
        assert Span().centre_px == 0
        assert Span().through(Reads.window(4)).centre_px == 0.5
        assert Span().through(Reads.window(3, anchor=7)).centre_px == 7


class TestBound:
    @settings(deadline=None, max_examples=100)
    @given(spans())
    def test_it_is_found_by_trying_all(self, span: Span):
        bound = slow_bound(span, 4 * len(span.starts), 400)
        if all(start > end for start, end in zip(span.starts, span.ends, strict=True)):
            assert span.bound == len(span.starts) - 1  # nothing is seen, nothing is skipped
        else:
            assert span.bound == bound

    @settings(deadline=None, max_examples=60)
    @given(st.lists(st.tuples(st.integers(1, 12), st.integers(1, 5)), min_size=2, max_size=2))
    def test_of_positions_listed_one_by_one(self, fields: list[tuple[int, int]]):
        first, second = (uniform(size, stride) for size, stride in fields)
        span = Span.join([first, second.through(Reads.window(3)), uniform(1, 7)], 9)
        if not span.repeats:
            assert span.bound == slow_bound(span, 9, 8)

    def test_a_gap_between_two_positions_of_one_period(self):
        # Position 1 ends at 3, position 2 starts at 8; a period later everything is in reach.
        span = Span((0, 1, 8), (9, 3, 20), 12)
        assert span.bound == 0
        assert Span((0, 1, 4), (9, 3, 20), 12).bound == slow_bound(
            Span((0, 1, 4), (9, 3, 20), 12), 9, 99
        )

    def test_positions_that_step_back(self):
        # Transposed, three taps of rate 8 at stride 3: positions 0, 1, 2 read 0, -5 and -2.
        span = Span().through(Reads.transposed(3, rate=8, stride=3))
        assert [span.at(p) for p in range(4)] == [(0, 0), (-5, -5), (-2, -2), (1, 1)]
        assert span.bound == 0 == slow_bound(span, 9, 99)


class TestResampled:
    def test_nearest_doubles_the_positions(self):
        span = uniform(7, 4).through(Reads.nearest(Fraction(1, 2)))
        assert (span.starts, span.ends, span.advance_px) == ((0, 0), (6, 6), 4)
        assert (span.field, span.uniform, span.repeats) == (Field(7, 2), False, True)

    def test_linear_sees_one_position_more(self):
        assert uniform(63, 16).through(Reads.linear(Fraction(1, 2))).field == Field(79, 8)

    def test_more_positions_than_pixels(self):
        span = Span().through(Reads.linear(Fraction(2, 3)))
        assert span.field == Field(2, Fraction(2, 3))
        assert type(Span().through(Reads.nearest(Fraction(1, 2))).stride_px) is Fraction

    def test_down_again_all_see_alike(self):
        up = uniform(7, 4).through(Reads.nearest(Fraction(1, 2)))
        assert up.through(Reads.window(2, stride=2)) == uniform(7, 4)
        assert up.through(Reads.window(1, stride=2)).uniform

    def test_smallest_and_largest(self):
        span = Span().through(Reads.adaptive(64, 6))
        assert (span.smallest_px, span.field) == (11, Field(12, Fraction(32, 3)))
        empty = Span().through(Reads.transposed(2, stride=3))
        assert [empty.at(p) for p in range(4)] == [(0, 0), (0, 0), None, (1, 1)]
        assert (empty.smallest_px, empty.field.size_px) == (1, 1)


class TestLists:
    def test_unlike_strides_are_counted_position_by_position(self):
        span = Span.join([uniform(1, 4), uniform(1, 3)], 4)
        assert (span.repeats, span.uniform) == (False, False)
        assert [span.at(p) for p in range(-1, 5)] == [None, (0, 0), (3, 4), (6, 8), (9, 12), None]
        assert span.field == Field(4, 3)  # the finer of the grids
        behind = span.through(Reads.window(3), 4)
        assert [behind.at(p) for p in range(4)] == [(0, 4), (0, 8), (3, 12), (6, 12)]
        assert not behind.repeats
        assert [Span.join([behind, uniform(1, 5)], 2).at(p) for p in range(2)] == [(0, 4), (0, 8)]

    def test_without_sizes_it_is_an_error(self):
        with pytest.raises(GeometryError, match="strides 3 px and 4 px cannot meet at one"):
            Span.join([uniform(1, 4), uniform(1, 3)])
        with pytest.raises(GeometryError, match="size is not known; give the graph the sizes"):
            Span.join([uniform(1, 4), uniform(1, 3)], 4).through(Reads.window(3))

    def test_a_very_long_period_is_listed_too(self):
        span = Span().through(Reads.nearest(Fraction(1, 101)))
        long = Reads.nearest(Fraction(103, 107))
        endless = span.through(long)
        assert len(endless.starts) == 101 * 107
        listed = span.through(long, 50)
        assert (listed.repeats, len(listed.starts)) == (False, 50)
        assert [listed.at(p) for p in range(50)] == [endless.at(p) for p in range(50)]

    def test_the_graph_names_the_node(self):
        nodes = (
            Source("image"),
            Resample("up", "image", (Reads.nearest(Fraction(2, 3)),)),
            Join("sum", ("image", "up")),
        )
        with pytest.raises(GeometryError, match="node 'sum': fields of strides 2/3 px and 1 px"):
            FieldGraph(nodes, ("sum",))
        graph = FieldGraph(nodes, ("sum",), sizes={"sum": (6,)})
        (span,) = graph.propagate().spans["sum"]
        assert [span.at(p) for p in range(6)] == [(0, 0), (0, 1), (1, 2), (2, 3), (2, 4), (3, 5)]


class TestBehindBranches:
    @settings(deadline=None, max_examples=60)
    @given(
        st.integers(1, 9),
        st.integers(1, 3),
        st.integers(1, 4),
        st.booleans(),
        st.lists(st.integers(1, 9), min_size=1, max_size=4),
    )
    def test_the_furthest_branch_sees_what_all_see(
        self, size: int, advance: int, taps: int, causal: bool, rates: list[int]
    ):
        span = Span((0,), (size - 1,), advance)
        tap = taps - 1 if causal else None
        branches = [Reads.window(taps, rate=rate, anchor_tap=tap) for rate in rates]
        assert span.behind(branches) == Span.join([span.through(reads) for reads in branches])

    def test_behind_upsampling_every_branch_counts(self):
        span = Span().through(Reads.nearest(Fraction(1, 2)))
        branches = [Reads.window(3, rate=rate) for rate in (1, 2)]
        assert span.behind(branches) == Span.join([span.through(reads) for reads in branches])
        assert span.behind(branches[:1]) == span.through(branches[0])
