"""The search itself, on tasks so small that growing a rate is the only way to learn them."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from search_task import chain, distant_patches, frozen, one_site, relaxed, run, shifted_copies
from torch import Tensor, nn

from dilsearch.errors import SearchError, SurgeryError
from dilsearch.search import SearchResult, Smoothing, search_columns
from dilsearch.sites import PerSite
from dilsearch.surgery import rate_parameters, read_plan, relax
from dilsearch.training import Checkpoint, build_loss

STEPS = 12
SETTLING = 30


def test_gradient_descent_finds_the_rate_the_task_needs() -> None:
    model = relaxed(6)
    result = run(model, shifted_copies(150), 150, smoothing=Smoothing(0), rate_learning_rate=0.1)
    (rate,) = read_plan(model)["0"]
    assert rate == pytest.approx(3, abs=0.5)
    assert result.plan["0"] == (rate,)
    assert result.history[-1]["0[0]"] == rate
    # negative control: rates that cannot move leave the task unlearned
    still = run(relaxed(6), shifted_copies(150), 150, rate_learning_rate=1e-12)
    assert result.history[-1]["loss"] < still.history[-1]["loss"] - 0.05


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_smoothing_crosses_a_flat_stretch_where_the_plain_gradient_stays(seed: int) -> None:
    batches = distant_patches(100, seed=seed)
    found = run(relaxed(seed=seed), batches, 100, weight_learning_rate=0.3, seed=seed)
    (rate,) = found.plan["0"]
    assert rate > 4
    assert found.history[-1]["loss"] < 0.1
    # negative control: within a pixel of rate 1 the loss is flat, and nothing moves
    plain = run(relaxed(seed=seed), batches, 100, weight_learning_rate=0.3, smoothing=Smoothing(0))
    assert plain.plan["0"] == (1.0,)
    assert plain.history[-1]["loss"] > 0.5


def test_columns_name_every_rate_and_the_field() -> None:
    assert search_columns(relaxed(6, initial=2.5, traced=True)) == {"field_px": 7, "0[0]": 2.5}
    assert "field_px" not in search_columns(relaxed(6))


def test_the_history_begins_before_the_first_step() -> None:
    result = run(chain(), shifted_copies(3), 3, gap="enforce")
    assert [row["step"] for row in result.history] == [0, 1, 2, 3]
    assert set(result.history[0]) == {"step", "samples", "field_px", "0[0]", "3[0]", "6[0]"}
    assert [*result.history[1]] == [
        *("step", "samples", "loss", "learning_rate", "field_px", "0[0]", "3[0]", "6[0]")
    ]
    assert result.history[0]["field_px"] == 7
    assert tuple(result.history[-1][f"{site}[0]"] for site in (0, 3, 6)) == tuple(
        rate for rates in result.plan.values() for rate in rates
    )


def test_rows_hold_the_present_rates_and_not_those_drawn() -> None:
    still = run(chain(), shifted_copies(5), 5, rate_learning_rate=1e-12, smoothing=Smoothing(1.0))
    for row in still.history:
        assert [row[f"{site}[0]"] for site in (0, 3, 6)] == pytest.approx([1, 1, 1])
    # negative control: steps did run at rates drawn, or the losses would be those of rate 1
    plain = run(chain(), shifted_copies(5), 5, rate_learning_rate=1e-12, smoothing=Smoothing(0))
    assert [row["loss"] for row in still.history[1:]] != [row["loss"] for row in plain.history[1:]]


def test_the_seed_decides_the_draws() -> None:
    histories = [run(chain(), shifted_copies(4), 4, seed=seed).history for seed in (5, 5, 6)]
    assert histories[0] == histories[1]
    assert histories[0] != histories[2]


def untouched(start: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    raise AssertionError("data was asked for")


@pytest.mark.parametrize("gap", ["enforce", "report", "ignore"])
def test_only_the_enforced_bound_holds_rates_down(gap: str) -> None:
    model = chain()
    with torch.no_grad():
        for name in ("0", "3", "6"):
            model.get_submodule(name).rate.fill_(6.0)  # type: ignore[operator, union-attr]
    result = run(model, shifted_copies(2), 2, gap=gap, rate_learning_rate=1e-12)
    # the first site sees one pixel, so that any rate above 1 skips some
    assert result.plan["0"] == pytest.approx((1.0 if gap == "enforce" else 6.0,))
    assert result.plan["3"] == pytest.approx((3.0 if gap == "enforce" else 6.0,))


def test_the_bound_needs_the_graph_and_says_so_before_training() -> None:
    model = relaxed(6)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(SurgeryError, match="needs the model's field graph; give relax an example"):
        run(model, untouched, 2, gap="enforce")
    assert all(torch.equal(model.state_dict()[name], value) for name, value in before.items())


def test_a_field_target_pulls_the_field_up() -> None:
    def field_px(needed_px: int | None, field_target: float) -> float:
        # weights that do not learn leave the target alone with the rates
        return run(
            chain(),
            shifted_copies(15),
            15,
            gap="enforce",
            smoothing=Smoothing(0),
            weight_learning_rate=1e-12,
            needed_px=needed_px,
            field_target=field_target,
        ).history[-1]["field_px"]

    assert field_px(17, 100.0) >= 17
    # negative controls: a field without a weight pulls nothing, nor does a weight without a field
    assert field_px(17, 0.0) == field_px(None, 100.0) < 17


def test_a_field_target_without_a_graph_is_refused() -> None:
    text = "a field target needs the model's field graph; give relax an example"
    with pytest.raises(SearchError, match=text):
        run(relaxed(6), untouched, 2, needed_px=9, field_target=2.0)
    for model, weight in ((relaxed(6, traced=True), 2.0), (relaxed(6), 0.0)):
        with pytest.raises(AssertionError, match="data was asked for"):  # control: past the check
            run(model, untouched, 2, needed_px=9, field_target=weight)


@pytest.mark.parametrize("name", ["adam", "sgd"])
def test_the_rates_have_the_optimiser_and_the_learning_rate_asked_for(name: str) -> None:
    def moved_px(learning_rate: float) -> float:
        # one step at the full learning rate; the rate is far from both of its limits
        result = run(
            relaxed(16, initial=5.5),
            shifted_copies(1),
            1,
            smoothing=Smoothing(0),
            rate_optimizer=name,
            rate_learning_rate=learning_rate,
        )
        first, last = (row["0[0]"] for row in result.history)
        return abs(last - first)

    assert moved_px(0.5) == pytest.approx(2 * moved_px(0.25), rel=1e-3)
    # Adam's first step is its learning rate, whatever the slope; that of SGD is not
    assert (moved_px(0.25) == pytest.approx(0.25, rel=1e-3)) is (name == "adam")


def breaking(model: nn.Module, at_step: int, seen: list[float]) -> Callable[..., Tensor]:
    """A loss that notes the rate it is called at, and raises in one step."""
    plain = build_loss("cross_entropy")

    def loss(logits: object, labels: object) -> Tensor:
        seen.append(*read_plan(model)["0"])
        if len(seen) == at_step:
            raise ArithmeticError("the loss cannot be told")
        return plain(logits, labels)  # type: ignore[arg-type]

    return loss


@pytest.mark.parametrize("at_step", [1, 4])
def test_a_step_that_breaks_off_leaves_the_present_rates(at_step: int) -> None:
    model, seen = relaxed(16, initial=4.0), list[float]()
    rows: list[dict[str, float]] = []
    with pytest.raises(ArithmeticError, match="the loss cannot be told"):
        run(
            model,
            shifted_copies(8),
            8,
            smoothing=Smoothing(1.0, share=1.0),
            loss=breaking(model, at_step, seen),
            watch=rows.append,
        )
    present = rows[-1]["0[0]"] if rows else 4.0
    assert len(rows) == at_step - 1
    assert read_plan(model)["0"] == (present,)
    # negative control: the forward pass that broke off ran at another rate
    assert abs(seen[-1] - present) > 0.1


def test_frozen_rates_are_neither_moved_nor_drawn() -> None:
    seen: list[float] = []
    model = frozen(relaxed(16, initial=4.0))
    run(
        model,
        shifted_copies(3),
        3,
        smoothing=Smoothing(1.0),
        rate_learning_rate=1.0,
        loss=breaking(model, 99, seen),
    )
    assert seen == [4.0] * 3
    assert read_plan(model)["0"] == (4.0,)
    # negative control: those that are not frozen are both
    seen.clear()
    model = relaxed(16, initial=4.0)
    run(model, shifted_copies(3), 3, smoothing=Smoothing(1.0), loss=breaking(model, 99, seen))
    assert 4.0 not in seen
    assert read_plan(model)["0"] != (4.0,)


def test_findings_come_with_the_result() -> None:
    short = run(chain(), shifted_copies(2), 2, rate_learning_rate=1e-12, needed_px=40)
    assert [finding.split(";")[0] for finding in short.findings] == [
        "no rate moved by more than 0.05 in 2 steps",
        "the field is 7 px and 40 px are needed",
    ]
    # negative control: where no field is asked for, none can be short
    assert len(run(chain(), shifted_copies(2), 2, rate_learning_rate=1e-12).findings) == 1


def steps_done(model: nn.Module, **more: object) -> tuple[int, bool]:
    settings = {"smoothing": Smoothing(0), "rate_learning_rate": 4.0, "patience": 5, **more}
    result = run(model, shifted_copies(SETTLING), SETTLING, **settings)
    return len(result.history) - 1, result.settled


def test_a_search_settles_after_half_its_steps_at_the_earliest() -> None:
    # rows 16 to 21: five steps without movement, all behind the middle of the 30
    assert steps_done(frozen(relaxed(6))) == (21, True)
    assert steps_done(frozen(relaxed(6)), patience=1) == (17, True)
    # negative controls: without patience, and with rates that move, it does not
    assert steps_done(frozen(relaxed(6)), patience=0) == (SETTLING, False)
    assert steps_done(relaxed(6), rate_learning_rate=1.0) == (SETTLING, False)


@pytest.mark.parametrize(("share", "done"), [(0.2, 21), (0.5, 21), (0.6, 24), (0.7, 27)])
def test_a_search_does_not_settle_while_rates_are_drawn(share: float, done: int) -> None:
    smoothing = Smoothing(1.0, share=share)
    assert steps_done(frozen(relaxed(6)), smoothing=smoothing) == (done, True)
    # negative control: a width of nothing draws nothing, and its share does not count
    smoothing = Smoothing(0, share=share)
    assert steps_done(frozen(relaxed(6)), smoothing=smoothing) == (21, True)


@pytest.mark.parametrize(
    ("learning_rate", "done", "settled"),
    [
        (1e-12, SETTLING, False),
        # 5 steps at (10 / 30)^0.9 of it, as it is when step 21 has been done: 0.47 and 0.56 px,
        # where ten times the tolerance of 1 % of a range of 5 is 0.5
        (0.25, SETTLING, False),
        (0.3, 21, True),
    ],
)
def test_slow_rates_are_not_settled_ones(learning_rate: float, done: int, settled: bool) -> None:
    model = frozen(relaxed(6))
    assert steps_done(model, rate_learning_rate=learning_rate) == (done, settled)


@pytest.mark.parametrize(("learning_rate", "done"), [(0.5, SETTLING), (0.6, 21)])
def test_beyond_a_range_of_ten_what_is_slow_is_a_matter_of_pixels(
    learning_rate: float, done: int
) -> None:
    assert steps_done(frozen(relaxed(64)), rate_learning_rate=learning_rate)[0] == done  # of 1 px


def test_narrow_limits_settle_by_themselves() -> None:
    # at the learning rate that follows from them, rates have less than a pixel left to travel
    model = frozen(relax(one_site(), {"0": PerSite(1, 3)}))
    assert steps_done(model, rate_learning_rate=None)[1]


def test_only_adam_says_how_far_a_rate_could_have_gone() -> None:
    more: dict[str, object] = {"rate_optimizer": "sgd", "rate_learning_rate": 100.0}
    assert steps_done(frozen(relaxed(6)), **more) == (SETTLING, False)
    assert steps_done(frozen(relaxed(6)), **{**more, "rate_optimizer": "adam"})[1]  # the control


def stop_at(step: int) -> object:
    def watch(row: dict[str, float]) -> None:
        if row["step"] == step:
            os.kill(os.getpid(), signal.SIGINT)

    return watch


def search_once(model: nn.Module, **more: object) -> SearchResult:
    return run(model, shifted_copies(STEPS), STEPS, gap="enforce", seed=3, **more)


def assert_equal_searches(one: tuple[SearchResult, nn.Module], other: object) -> None:
    result, model = other  # type: ignore[misc]
    assert result == one[0]
    for name, value in one[1].state_dict().items():
        assert torch.equal(model.state_dict()[name], value), name


@pytest.mark.parametrize("step", [1, 5, 10])
def test_an_interrupted_search_goes_on_to_the_same_bits(step: int, tmp_path: Path) -> None:
    whole = chain()
    expected = search_once(whole)
    checkpoint = Checkpoint(tmp_path / "state.safetensors", every=0)
    with pytest.raises(KeyboardInterrupt):
        search_once(chain(), checkpoint=checkpoint, watch=stop_at(step))
    fresh = chain(seed=8)
    with torch.no_grad():
        for (_, value), (_, start) in zip(
            fresh.named_parameters(), chain().named_parameters(), strict=True
        ):
            if value.ndim == 0:
                value.copy_(start)  # the row before the first step is that of the model given
    torch.manual_seed(99)  # whatever happened in between
    resumed = search_once(fresh, checkpoint=checkpoint)
    assert_equal_searches((expected, whole), (resumed, fresh))
    # negative control: had the draws begun anew at the step resumed from, this would differ
    assert run(chain(), shifted_copies(STEPS), STEPS, gap="enforce", seed=4).history != (
        expected.history
    )


def test_a_settled_search_is_not_gone_on_with(tmp_path: Path) -> None:
    def settle(model: nn.Module, **more: object) -> SearchResult:
        return run(
            model,
            shifted_copies(SETTLING),
            SETTLING,
            smoothing=Smoothing(0.5, share=0.4),
            rate_learning_rate=1.0,
            patience=4,
            gap="enforce",
            **more,
        )

    whole = frozen(chain())
    expected = settle(whole)
    assert expected.settled
    done = len(expected.history) - 1
    assert done < SETTLING
    checkpoint = Checkpoint(tmp_path / "state.safetensors", every=0)
    with pytest.raises(KeyboardInterrupt):  # in the very step that it settled at
        settle(frozen(chain()), checkpoint=checkpoint, watch=stop_at(done))
    fresh = frozen(chain())
    seen: list[object] = []
    resumed = settle(fresh, checkpoint=checkpoint, watch=seen.append)
    assert seen == []
    assert_equal_searches((expected, whole), (resumed, fresh))
    # negative control: one step earlier it goes on
    earlier = Checkpoint(tmp_path / "earlier.safetensors", every=0)
    with pytest.raises(KeyboardInterrupt):
        settle(frozen(chain()), checkpoint=earlier, watch=stop_at(done - 1))
    assert settle(frozen(chain()), checkpoint=earlier, watch=seen.append) == expected
    assert len(seen) == 1


def test_a_step_that_no_bound_can_hold_is_not_taken() -> None:
    # above rate 2, which counts as 3, the first site hands on 7 + 2 * 3 px, room enough for rate
    # 12; at rate 2 it does not
    torch.manual_seed(0)
    layers = [nn.Conv2d(1, 2, 7, padding=3), *(nn.Conv2d(2, 2, 3, padding=1) for _ in range(2))]
    limits = {"1": PerSite(1, 8, 2.2), "2": PerSite(12, 20, 12.0)}
    example = torch.empty(1, 1, 16, 40, device="meta")

    def plans(gap: str) -> list[float]:
        model = relax(nn.Sequential(*layers), limits, example=example)
        rate_parameters(model)[0].register_hook(torch.ones_like)  # downwards, a step at a time
        rates: list[float] = []
        run(
            model,
            shifted_copies(12),
            12,
            gap=gap,
            rate_learning_rate=0.2,
            smoothing=Smoothing(0),
            watch=lambda row: rates.append(row["1[0]"]),
        )
        return rates

    assert min(plans("ignore")) < 1.9  # the control: it is where the slope leads
    held = plans("enforce")
    assert len(held) == 12
    assert 2 < min(held) < 2.15


@pytest.mark.parametrize(("upper", "settles"), [(20, True), (1, False)])
def test_a_site_without_room_does_not_make_a_search_slow(upper: int, settles: bool) -> None:
    # its learning rate is 0; the control: where no site has room, there is nothing to settle
    torch.manual_seed(0)
    layers = [nn.Conv2d(channels, 2, (1, 3), padding=(0, 1)) for channels in (1, 2)]
    model = relax(nn.Sequential(*layers), {"0": PerSite(1, upper), "1": PerSite(1, 1)})
    assert steps_done(frozen(model), rate_learning_rate=None)[1] is settles


def test_a_slow_search_that_resumes_is_still_slow(tmp_path: Path) -> None:
    # settled at the learning rate it began with, and not at what is left of it in the second half
    slow = {"rate_learning_rate": 0.25}
    assert steps_done(frozen(relaxed(6)), **slow) == (SETTLING, False)
    checkpoint = Checkpoint(tmp_path / "state.safetensors", every=0)
    with pytest.raises(KeyboardInterrupt):
        steps_done(frozen(relaxed(6)), checkpoint=checkpoint, watch=stop_at(23), **slow)
    assert steps_done(frozen(relaxed(6)), checkpoint=checkpoint, **slow) == (SETTLING, False)
    # negative control: the same steps at a learning rate that is not slow have settled
    fast = {"rate_learning_rate": 0.4}
    assert steps_done(frozen(relaxed(6)), checkpoint=checkpoint, **fast) == (23, True)
