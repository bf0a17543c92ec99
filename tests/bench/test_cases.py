import pytest

from dilsearch.bench.cases import (
    CONTESTANTS,
    BenchError,
    GrowthCase,
    LayerCase,
    NetworkCase,
    all_cases,
    choose_cases,
    choose_contestants,
)

NAMES = [case.name for case in all_cases()]


def test_names_are_distinct_and_the_same_in_quick_sizes() -> None:
    assert len(set(NAMES)) == len(NAMES) == 13
    assert [case.name for case in all_cases(quick=True)] == NAMES


@pytest.mark.parametrize("quick", [False, True])
def test_layers_can_be_built(quick: bool) -> None:
    cases = all_cases(quick=quick)
    layers = [case for case in cases if isinstance(case, LayerCase)]
    grown = [layer for c in cases if isinstance(c, GrowthCase) for layer in c.points.values()]
    assert len(layers) == 8
    for layer in (*layers, *grown):
        channels = layer.shape[1]
        assert channels % layer.groups == layer.out_channels % layer.groups == 0
        expected = channels if layer.per_channel else len(layer.rates)
        assert len(layer.rates) == expected
        if not layer.per_channel:
            assert layer.groups % len(layer.rates) == 0
        assert all(rate % 1 for rate in layer.rates)  # at whole rates some ways take a short cut


def test_drawn_rates_are_the_same_every_time_and_within_their_limits() -> None:
    (conv5,) = choose_cases(["largefov-conv5"])
    (network,) = choose_cases(["largefov"])
    assert isinstance(conv5, LayerCase)
    assert isinstance(network, NetworkCase)
    assert conv5 == choose_cases(["largefov-conv5"])[0]
    assert network.rates["conv5_1"] == conv5.rates
    assert network.rates["conv5_1"] != network.rates["conv5_2"]
    assert sum(len(rates) for rates in network.rates.values()) == 2048
    for site, rates in network.rates.items():
        limits = network.sites[site]
        assert all(limits.lower < rate < limits.upper for rate in rates)


def test_what_grows_covers_what_it_should() -> None:
    grown = {case.name: list(case.points) for case in all_cases() if isinstance(case, GrowthCase)}
    assert {name: (values[0], values[-1]) for name, values in grown.items()} == {
        "growth-rate": (1.5, 19.5),
        "growth-channels": (32, 512),
        "growth-size": (16, 128),
    }
    assert all(values == sorted(values) for values in grown.values())


def test_cases_are_chosen_in_their_own_order() -> None:
    assert [case.name for case in choose_cases([])] == NAMES
    assert [case.name for case in choose_cases(["tcn", "dense"])] == ["dense", "tcn"]


def test_contestants_are_left_out_by_name() -> None:
    assert choose_contestants([]) == tuple(CONTESTANTS)
    assert choose_contestants(["dcls", "deformable"]) == ("native", "ours")


def test_unknown_names() -> None:
    with pytest.raises(BenchError) as caught:
        choose_cases(["dense", "growth-rat"])
    assert str(caught.value) == (
        "there is no case named 'growth-rat' (did you mean 'growth-rate'?); there are "
        + ", ".join(NAMES)
    )
    with pytest.raises(BenchError) as caught:
        choose_contestants(["deformible"])
    assert str(caught.value) == (
        "there is no contestant named 'deformible' (did you mean 'deformable'?); there are "
        "native, ours, deformable, dcls"
    )
    with pytest.raises(BenchError) as caught:
        choose_contestants(["native"])
    assert str(caught.value) == (
        "'native' cannot be left out, since the others are compared with it; leave out one of "
        "ours, deformable, dcls"
    )
