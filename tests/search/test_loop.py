"""The search itself, on tasks so small that growing a rate is the only way to learn them."""

import os
import signal
from pathlib import Path

import pytest
import torch
from search_task import chain, distant_patches, relaxed, run, shifted_copies
from torch import nn

from dilsearch.errors import SearchError, SurgeryError
from dilsearch.search import FieldTarget, SearchResult, Smoothing, search_columns
from dilsearch.surgery import read_plan
from dilsearch.training import Checkpoint

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
    frozen = run(relaxed(6), shifted_copies(150), 150, rate_learning_rate=1e-12)
    assert result.history[-1]["loss"] < frozen.history[-1]["loss"] - 0.05


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
    assert set(result.history[1]) - set(result.history[0]) == {"loss", "learning_rate"}
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
    def field_px(target: FieldTarget | None) -> float:
        # weights that do not learn leave the target alone with the rates
        return run(
            chain(),
            shifted_copies(30),
            30,
            gap="enforce",
            smoothing=Smoothing(0),
            weight_learning_rate=1e-12,
            field_target=target,
        ).history[-1]["field_px"]

    assert field_px(FieldTarget(17, weight=100.0)) >= 17
    assert field_px(None) < 17


def test_a_field_target_without_a_graph_is_refused() -> None:
    text = "a field target needs the model's field graph; give relax an example"
    with pytest.raises(SearchError, match=text):
        run(relaxed(6), untouched, 2, field_target=FieldTarget(9))
    with pytest.raises(AssertionError, match="data was asked for"):  # the control: past the check
        run(relaxed(6, traced=True), untouched, 2, field_target=FieldTarget(9))


def test_findings_come_with_the_result() -> None:
    short = run(chain(), shifted_copies(2), 2, rate_learning_rate=1e-12, needed_px=40)
    assert [finding.split(";")[0] for finding in short.findings] == [
        "no rate moved by more than 0.05 in 2 steps",
        "the field is 7 px, and 40 px are needed for every pixel to see every other",
    ]
    # negative control: where no field is asked for, none can be short
    assert len(run(chain(), shifted_copies(2), 2, rate_learning_rate=1e-12).findings) == 1


def test_a_settled_search_ends_early_and_not_while_rates_are_drawn() -> None:
    def steps_done(smoothing: Smoothing, patience: int) -> tuple[int, bool]:
        result = run(
            relaxed(6),
            shifted_copies(30),
            30,
            smoothing=smoothing,
            rate_learning_rate=1e-12,
            patience=patience,
        )
        return len(result.history) - 1, result.settled

    assert steps_done(Smoothing(0), 5) == (6, True)
    done, settled = steps_done(Smoothing(1.0, share=0.5), 5)
    assert settled
    assert done == 15 + 6
    assert steps_done(Smoothing(0), 0) == (30, False)  # negative control: without patience


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
            rate_learning_rate=1e-3,
            patience=4,
            gap="enforce",
            **more,
        )

    whole = chain()
    expected = settle(whole)
    assert expected.settled
    done = len(expected.history) - 1
    assert done < SETTLING
    checkpoint = Checkpoint(tmp_path / "state.safetensors", every=0)
    with pytest.raises(KeyboardInterrupt):  # in the very step that it settled at
        settle(chain(), checkpoint=checkpoint, watch=stop_at(done))
    fresh = chain()
    seen: list[object] = []
    resumed = settle(fresh, checkpoint=checkpoint, watch=seen.append)
    assert seen == []
    assert_equal_searches((expected, whole), (resumed, fresh))
    # negative control: one step earlier it goes on
    earlier = Checkpoint(tmp_path / "earlier.safetensors", every=0)
    with pytest.raises(KeyboardInterrupt):
        settle(chain(), checkpoint=earlier, watch=stop_at(done - 1))
    assert settle(chain(), checkpoint=earlier, watch=seen.append) == expected
    assert len(seen) == 1
