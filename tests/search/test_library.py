"""The search as a library: any small model, any loader, any loss, and what is refused."""

import inspect
import json
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from search_task import chain, relaxed
from torch import Tensor, nn
from torch.utils.data import DataLoader, SequentialSampler, TensorDataset

import dilsearch
from dilsearch.errors import RunError, SearchError, SurgeryError
from dilsearch.plan import DilationPlan
from dilsearch.search import (
    FieldTarget,
    SearchResult,
    SearchWarning,
    Smoothing,
    search,
    search_rates,
)
from dilsearch.search.library import WARMUP_SHARE
from dilsearch.sites import PerSite
from dilsearch.space import SearchSection
from dilsearch.surgery import field_graph, rate_parameters, read_plan, relax
from dilsearch.surgery.rates import weight_parameters
from dilsearch.training import Checkpoint, PolySchedule, build_loss, open_fabric, weight_optimizer

BUDGET = 6
pytestmark = pytest.mark.filterwarnings("ignore::dilsearch.search.SearchWarning")


def batch(step: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(step)
    image = torch.rand(2, 1, 16, 16, generator=generator)
    return image, (image[:, 0].roll(2, 2) > 0.5).long()


def batches(count: int) -> list[tuple[Tensor, Tensor]]:
    return [batch(step) for step in range(count)]


class Regressor(nn.Module):
    """A number for each image: no pixels, no classes."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Conv2d(1, 4, 3, padding=1)
        self.second = nn.Conv2d(4, 4, 3, padding=1)
        self.head = nn.Linear(4, 1)

    def forward(self, x: Tensor) -> Tensor:
        pixels = self.second(torch.relu(self.first(x)))
        return self.head(pixels.flatten(2).amax(2))[:, 0]  # type: ignore[no-any-return]


def regressor() -> nn.Module:
    return relax(Regressor(), {"first": PerSite(1, 8, 1.0), "second": PerSite(1, 8, 2.0)})


class TestSearching:
    def test_a_list_and_a_model_of_ones_own(self) -> None:
        model = chain()
        before = [weight.detach().clone() for weight in weight_parameters(model)]
        plan = search_rates(model, batches(BUDGET), budget=BUDGET, device="cpu")
        assert plan == read_plan(model)
        assert list(plan) == ["0", "3", "6"]
        assert not plan.is_integer
        assert any(
            not torch.equal(old, new)
            for old, new in zip(before, weight_parameters(model), strict=True)
        )
        # the rest of the way, as the docstring has it
        graph = field_graph(model)
        assert graph is not None
        integer = dilsearch.project(plan, graph).plan
        assert dilsearch.discretize(model, integer)(batch(0)[0]).shape == (2, 2, 16, 16)

    def test_it_equals_what_search_gives(self) -> None:
        model = chain()
        plan = search_rates(
            model, batches(BUDGET), budget=BUDGET, learning_rate=0.1, seed=3, device="cpu"
        )
        other = chain()

        def by_hand(seed: int) -> object:
            return search(
                other,
                lambda start: batches(BUDGET)[start:],
                fabric=open_fabric("cpu"),
                weight_optimizer=weight_optimizer(
                    other,
                    weight_parameters(other),
                    learning_rate=0.1,
                    momentum=0.9,
                    weight_decay=1e-4,
                ),
                loss=build_loss("cross_entropy"),
                schedule=PolySchedule(BUDGET, warmup_steps=round(WARMUP_SHARE * BUDGET)),
                seed=seed,
            ).plan

        assert by_hand(3) == plan
        for name, value in model.state_dict().items():
            assert torch.equal(other.state_dict()[name], value), name
        other = chain()
        assert by_hand(4) != plan  # negative control

    def test_a_data_loader_that_is_shorter_than_the_budget_is_gone_through_again(self) -> None:
        images, labels = (torch.cat(parts) for parts in zip(*batches(2), strict=True))
        loader = DataLoader(TensorDataset(images, labels), batch_size=2)
        rows: list[dict[str, float]] = []
        plan = search_rates(chain(), loader, budget=5, device="cpu", watch=rows.append)
        assert [row["step"] for row in rows] == [1, 2, 3, 4, 5]
        cycled = [*batches(2), *batches(2), *batches(1)]
        assert search_rates(chain(), cycled, budget=5, device="cpu") == plan
        # negative control: other batches in the later steps give another plan
        assert search_rates(chain(), batches(5), budget=5, device="cpu") != plan

    def test_ones_own_loss_and_optimizer(self) -> None:
        model = chain()
        optimizer = torch.optim.AdamW(weight_parameters(model), lr=0.01)
        calls: list[tuple[int, ...]] = []

        def loss(logits: Tensor, labels: Tensor) -> Tensor:
            calls.append(tuple(logits.shape))
            return nn.functional.cross_entropy(logits, labels, label_smoothing=0.1)

        plan = search_rates(
            model, batches(3), budget=3, loss=loss, optimizer=optimizer, device="cpu"
        )
        assert calls == [(2, 2, 16, 16)] * 3
        assert all("exp_avg" in state for state in optimizer.state.values())
        assert len(optimizer.state) == len(weight_parameters(model))
        assert search_rates(chain(), batches(3), budget=3, device="cpu") != plan  # control

    def test_another_task_than_segmentation(self) -> None:
        rows: list[dict[str, float]] = []
        data = [(image, image.mean((1, 2, 3))) for image, _ in batches(4)]
        model = regressor()
        plan = search_rates(
            model,
            data,
            loss=nn.MSELoss(),
            budget=12,
            gap="ignore",
            patience=0,
            device="cpu",
            watch=rows.append,
        )
        assert plan == read_plan(model)
        assert [row["step"] for row in rows] == list(range(1, 13))
        assert not any("batch_mean_iou" in row for row in rows)
        # negative control: with class indices of pixels, rows do carry it
        rows.clear()
        search_rates(chain(), batches(2), budget=2, device="cpu", watch=rows.append)
        assert "batch_mean_iou" in rows[0]

    @pytest.mark.parametrize(
        ("form", "more"),
        [
            (lambda logits: {"aux": None, "out": logits}, {}),
            (lambda logits: (logits,), {}),
            (lambda logits: {"x": [logits]}, {"output_fn": lambda output: output["x"][0]}),
            (
                lambda logits: {"x": [logits]},
                {
                    "output_fn": lambda output: output["x"][0],
                    "loss": build_loss("cross_entropy"),
                },
            ),
            (lambda logits: {"x": logits}, {"loss": lambda out, y: build_loss("ce")(out["x"], y)}),
        ],
    )
    def test_outputs_of_any_form(self, form: Any, more: dict[str, Any]) -> None:
        expected = search_rates(chain(), batches(2), budget=3, device="cpu")
        model = chain()
        model.register_forward_hook(lambda _, __, logits: form(logits))
        assert search_rates(model, batches(2), budget=3, device="cpu", **more) == expected

    def test_logits_of_a_lower_resolution(self) -> None:
        rows: list[dict[str, float]] = []
        model = chain()
        model.register_forward_hook(lambda _, __, logits: {"out": logits[..., ::2, ::2]})
        search_rates(model, batches(2), budget=3, device="cpu", watch=rows.append)
        assert "batch_mean_iou" in rows[0]

    @pytest.mark.parametrize(
        "batch_fn",
        [
            lambda given: (given["image"], given["mask"]),
            lambda given: ([given["image"]], given["mask"]),
            lambda given: ({"input": given["image"]}, given["mask"]),
        ],
    )
    def test_batches_of_any_form(self, batch_fn: Any) -> None:
        given = [{"image": image, "mask": mask} for image, mask in batches(2)]
        plan = search_rates(chain(), given, budget=3, device="cpu", batch_fn=batch_fn)
        assert plan == search_rates(chain(), batches(2), budget=3, device="cpu")

    def test_what_cannot_be_scored_is_named(self) -> None:
        labels = [(image, mask + 1) for image, mask in batches(2)]
        with pytest.raises(RunError, match="there is a label 2, and the logits are of 2 classes"):
            search_rates(chain(), labels, budget=3, device="cpu")

    def test_a_field_that_is_asked_for_pulls(self) -> None:
        def field_sum(**more: object) -> float:
            model = chain()
            frozen = torch.optim.SGD(weight_parameters(model), lr=1e-12)
            plan = search_rates(
                model,
                batches(4),
                budget=20,
                optimizer=frozen,
                smoothing=Smoothing(0),
                device="cpu",
                **more,  # type: ignore[arg-type]
            )
            return sum(rate for rates in plan.values() for rate in rates)

        pulled = field_sum(needed_px=60, field_target=50.0)
        assert pulled > field_sum(needed_px=60, field_target=0.0)
        assert field_sum() == field_sum(needed_px=60, field_target=0.0)

    def test_it_goes_on_from_a_checkpoint(self, tmp_path: Path) -> None:
        expected = search_rates(chain(), batches(2), budget=5, device="cpu")
        checkpoint = Checkpoint(tmp_path / "state.safetensors", every=4)
        interrupted(checkpoint)
        # four steps are done, so that the loader's first batch is the fifth step's, as it was
        rows: list[dict[str, float]] = []
        resumed = search_rates(
            chain(), batches(2), budget=5, device="cpu", checkpoint=checkpoint, watch=rows.append
        )
        assert [row["step"] for row in rows] == [5]
        assert resumed == expected
        assert not checkpoint.path.exists()  # its search is done

    @pytest.mark.parametrize(
        "other",
        [
            {"budget": 6},
            {"seed": 1},
            {"model": lambda: chain(upper=9)},
            {"model": lambda: chain(sites=2)},
            {"optimizer": lambda model: torch.optim.Adam(weight_parameters(model))},
            {"rate_optimizer": "sgd", "rate_learning_rate": 0.1},
        ],
    )
    def test_another_searchs_checkpoint_is_not_continued(
        self, other: dict[str, Any], tmp_path: Path
    ) -> None:
        checkpoint = Checkpoint(tmp_path / "state.safetensors", every=4)
        interrupted(checkpoint)
        model = other.pop("model", chain)()
        if "optimizer" in other:
            other = {"optimizer": other["optimizer"](model)}
        rows: list[dict[str, float]] = []
        settings = {"budget": 5, **other}
        search_rates(
            model, batches(2), device="cpu", checkpoint=checkpoint, watch=rows.append, **settings
        )
        assert rows[0]["step"] == 1

    def test_every_setting_reaches_the_search(self, monkeypatch: pytest.MonkeyPatch) -> None:
        seen: dict[str, Any] = {}

        def told(model: nn.Module, batches: object, **settings: Any) -> SearchResult:
            seen.update(settings)
            return search(model, batches, **settings)  # type: ignore[arg-type]

        monkeypatch.setattr("dilsearch.search.library.search", told)
        model = chain()
        given: dict[str, Any] = {
            "loss": lambda output, target: output.square().mean(),
            "rate_optimizer": "sgd",
            "rate_learning_rate": 0.25,
            "smoothing": Smoothing(0.5, share=0.25),
            "gap": "report",
            "needed_px": 9,
            "field_target": 0.5,
            "patience": 3,
            "seed": 7,
            "watch": lambda row: None,
            "fabric": open_fabric("cpu"),
        }
        optimizer = torch.optim.SGD(weight_parameters(model), lr=0.1)
        search_rates(model, batches(2), budget=4, optimizer=optimizer, **given)
        assert {name: seen[name] for name in given} == given
        assert seen["weight_optimizer"] is optimizer
        assert seen["schedule"].steps == 4

    def test_bfloat16_is_searched_with(self) -> None:
        settings: dict[str, Any] = {"budget": 3, "device": "cpu"}
        half = search_rates(chain(), batches(2), precision="bf16-mixed", **settings)
        assert half == search_rates(chain(), batches(2), precision="bf16-mixed", **settings)
        # negative control: it is not float32 under another name
        assert half != search_rates(chain(), batches(2), precision="32-true", **settings)

    def test_numbers_and_devices_of_other_libraries(self) -> None:
        expected = search_rates(chain(), batches(2), budget=3, needed_px=9, device="cpu")
        model = chain()
        plan = search_rates(
            model,
            batches(2),
            budget=np.int64(3),  # type: ignore[arg-type]
            needed_px=np.int64(9),  # type: ignore[arg-type]
            learning_rate=np.float64(0.05),
            device=torch.device("cpu"),
        )
        assert plan == expected

    def test_every_epoch_of_a_distributed_sampler_has_its_own_order(self) -> None:
        epochs: list[int] = []

        class Sampler(SequentialSampler):
            def set_epoch(self, epoch: int) -> None:
                epochs.append(epoch)

        data = TensorDataset(*batch(0))
        search_rates(chain(), DataLoader(data, sampler=Sampler(data)), budget=5, device="cpu")
        assert epochs == [0, 1, 2]  # two batches an epoch

    def test_a_gradient_left_over_is_not_the_first_steps(self) -> None:
        def plan(leave: bool) -> tuple[DilationPlan, float]:
            model = chain()
            if leave:
                model(batch(5)[0]).square().sum().backward()
            found = search_rates(model, batches(2), budget=2, device="cpu")
            return found, weight_parameters(model)[0].sum().item()

        assert plan(True) == plan(False)

    def test_the_public_names_are_the_same(self) -> None:
        assert dilsearch.search_rates is search_rates
        assert dilsearch.SearchWarning is SearchWarning
        assert dilsearch.Smoothing is Smoothing
        assert dilsearch.FieldTarget is FieldTarget


def interrupted(checkpoint: Checkpoint) -> None:
    """A search of five steps that ends after the fourth."""

    def stop(row: dict[str, float]) -> None:
        if row["step"] == 5:
            raise LookupError("enough")

    with pytest.raises(LookupError, match="enough"):
        search_rates(chain(), batches(2), budget=5, device="cpu", checkpoint=checkpoint, watch=stop)
    assert checkpoint.path.exists()


def never() -> Iterator[tuple[Tensor, Tensor]]:
    raise LookupError("data was asked for")
    yield


def refuse(text: str, model: nn.Module, loader: object = None, **more: object) -> None:
    settings = {"budget": 2, "device": "cpu", **more}
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises((SearchError, SurgeryError), match=re.escape(text)):
        search_rates(model, batches(2) if loader is None else loader, **settings)  # type: ignore[arg-type]
    assert all(torch.equal(model.state_dict()[name], value) for name, value in before.items())


class TestRefusing:
    @pytest.mark.parametrize("budget", [0, -1, 2.0, True, None])
    def test_a_budget_that_is_none(self, budget: object) -> None:
        text = f"budget = {budget!r} is not a number of steps; give a whole one above 0"
        refuse(text, chain(), budget=budget)

    @pytest.mark.parametrize("name", ["learning_rate", "rate_learning_rate"])
    @pytest.mark.parametrize("value", [0, -0.1, float("nan"), float("inf")])
    def test_learning_rates_that_are_not_positive(self, name: str, value: float) -> None:
        text = f"{name} = {value} is not a positive number; give one"
        refuse(text, chain(), **{name: value})

    @pytest.mark.parametrize(
        ("name", "value", "text"),
        [
            ("rate_learning_rate", 0, "give one, or None to let it follow from the limits"),
            ("patience", -1, "a number of steps; give a whole one, or 0 to use the whole budget"),
            ("patience", 2.5, "a number of steps; give a whole one, or 0 to use the whole budget"),
            ("patience", True, "a number of steps; give a whole one, or 0 to use the whole budget"),
            ("needed_px", 0, "a field in whole pixels; give one above 0, or None if it is unknown"),
            ("needed_px", -5, "a field in whole pixels; give one above 0"),
            ("needed_px", 9.5, "a field in whole pixels; give one above 0"),
            ("field_target", -1.0, "a weight; give a positive number, or 0 for no pull"),
            ("field_target", float("nan"), "a weight; give a positive number, or 0"),
            ("field_target", float("inf"), "a weight; give a positive number, or 0"),
            ("gap", "maybe", "enforce, report or ignore; give one"),
            ("rate_optimizer", "lion", "adam or sgd; give one"),
        ],
    )
    def test_every_other_setting(self, name: str, value: object, text: str) -> None:
        with pytest.raises(SearchError) as caught:
            search_rates(chain(), never(), budget=20, device="cpu", **{name: value})  # type: ignore[arg-type]
        said = str(caught.value)
        assert said.startswith(f"search_rates: {name} = {value!r} is not ")  # and nothing else
        assert text in said

    @pytest.mark.parametrize(
        "settings",
        [
            {"rate_learning_rate": 1e-9},
            {"patience": 0},
            {"patience": None},
            {"needed_px": 1, "field_target": 0},
            {"gap": "ignore"},
            {"gap": "report", "rate_optimizer": "sgd", "rate_learning_rate": 1.0},
            {"smoothing": Smoothing(0), "field_target": 0},
        ],
    )
    def test_what_is_allowed_at_the_edge(self, settings: dict[str, object]) -> None:  # the control
        with pytest.raises(LookupError, match="data was asked for"):
            search_rates(chain(), never(), budget=1, device="cpu", **settings)  # type: ignore[arg-type]

    @pytest.mark.parametrize(
        ("name", "value", "text"),
        [
            ("smoothing", 0, "a Smoothing; give Smoothing(0) for none, Smoothing(WIDTH), or None"),
            ("smoothing", 0.7, "a Smoothing; give Smoothing(0) for none"),
            ("output_fn", "out", "a function of the model's output; give one that returns what"),
            ("batch_fn", ("image", "mask"), "a function of a batch; give one that returns (inputs"),
            ("learning_rate", None, "a positive number; give one"),
            ("loss", "ce", "a function of output and target; give one, or None for the cross-"),
            ("learning_rate", "0.1", "a positive number; give one"),
            ("field_target", None, "a weight; give a positive number, or 0 for no pull"),
            ("field_target", "2", "a weight; give a positive number, or 0 for no pull"),
            ("budget", "9", "a number of steps; give a whole one above 0"),
        ],
    )
    def test_what_is_of_another_type(self, name: str, value: object, text: str) -> None:
        settings: dict[str, Any] = {"budget": 20, "device": "cpu", name: value}
        with pytest.raises(SearchError) as caught:
            search_rates(chain(), never(), **settings)
        said = str(caught.value)
        assert said.startswith(f"search_rates: {name} = {value!r} is not ")
        assert text in said

    def test_a_learning_rate_beside_an_optimizer_does_not_matter(self) -> None:
        model = chain()
        own = torch.optim.SGD(weight_parameters(model), lr=0.1)
        with pytest.raises(LookupError, match="data was asked for"):
            search_rates(model, never(), budget=1, learning_rate=None, optimizer=own, device="cpu")  # type: ignore[arg-type]

    def test_sgd_without_a_learning_rate(self) -> None:
        text = "rate_optimizer = 'sgd' needs a rate_learning_rate: the one that follows from "
        text += "limits and budget is Adam's; give one"
        refuse(text, chain(), rate_optimizer="sgd")

    def test_an_optimizer_of_another_model(self) -> None:
        plain = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1))
        model = relax(plain, {"0": PerSite(1, 4)}, example=torch.empty(1, 1, 16, 16, device="meta"))
        text = "the optimizer holds parameters that are not the model's; make it after relax, which"
        text += " returns a copy, from that copy's parameters"
        refuse(text, model, optimizer=torch.optim.SGD(plain.parameters(), lr=0.1))
        mixed = [*weight_parameters(model), *plain.parameters()]
        refuse(text, model, optimizer=torch.optim.SGD(mixed, lr=0.1))

    def test_a_model_that_is_wrapped(self) -> None:
        fabric = open_fabric("cpu")
        text = "the model is wrapped already (it is a _FabricModule), and the search wraps it "
        text += "itself; give the module that relax returned"
        refuse(text, fabric.setup_module(chain()), fabric=fabric)

    @pytest.mark.parametrize("precision", ["16-mixed", "fp16", "64-true"])
    def test_precisions_that_two_optimisers_cannot_share(self, precision: str) -> None:
        text = f"precision = {precision!r} cannot be searched with (the loss scaling of float16 "
        text += "does not serve two optimisers); use one of 32-true, bf16-mixed"
        refuse(text, chain(), precision=precision)

    def test_the_precision_of_a_fabric_of_ones_own(self) -> None:
        fabric = Fabric(accelerator="cpu", devices=1, precision="64-true")
        refuse("precision = '64-true' cannot be searched with", chain(), fabric=fabric)

    def test_a_checkpoint_for_more_than_one_device(self, tmp_path: Path) -> None:
        fabric = Fabric(accelerator="cpu", devices=2, strategy="ddp")  # never launched
        text = "a checkpoint is kept on one device only, and there are 2; leave the checkpoint out"
        refuse(text, chain(), fabric=fabric, checkpoint=Checkpoint(tmp_path / "state"))

    @pytest.mark.parametrize(
        ("wrong", "said"),
        [
            ({"image": 0, "label": 1}, "a dict: 'image' (int), 'label' (int)"),
            ((0, 1, 2), "a tuple of 3: int, int, int"),
            ([0], "a list of 1: int"),
            (torch.zeros(2, 1, 8, 8), "a Tensor of shape (2, 1, 8, 8)"),
        ],
    )
    def test_batches_that_are_no_pair(self, wrong: object, said: str) -> None:
        text = f"search_rates: a batch of the train_loader is {said}, not a pair (inputs, target); "
        text += "give a batch_fn that makes one of it"
        refuse(text, chain(), [wrong])
        text = f"search_rates: batch_fn made {said} of a batch, not a pair (inputs, target); return"
        refuse(text, chain(), batches(1), batch_fn=lambda pair: wrong)

    def test_an_optimizer_that_holds_the_rates(self) -> None:
        model = chain()
        text = "the optimizer holds the dilation rates as well, which have an optimiser of their "
        text += "own; give it the other parameters only (those not in rate_parameters(model))"
        refuse(text, model, optimizer=torch.optim.SGD(model.parameters(), lr=0.1))
        refuse(text, model, optimizer=torch.optim.SGD(rate_parameters(model)[:1], lr=0.1))

    def test_all_at_once(self) -> None:
        model = chain()
        with pytest.raises(SearchError) as caught:
            search_rates(
                model,
                batches(2),
                budget=0,
                patience=-1,
                needed_px=0,
                rate_learning_rate=0,
                field_target=-2,
                gap="no",  # type: ignore[arg-type]
                rate_optimizer="no",  # type: ignore[arg-type]
                smoothing=0,  # type: ignore[arg-type]
                precision="16-mixed",
                optimizer=torch.optim.SGD(model.parameters(), lr=0.1),
            )
        heading, *faults = str(caught.value).splitlines()
        assert heading == "search_rates, 10 faults:"
        assert [fault.split()[1] for fault in faults] == [
            *("budget", "patience", "needed_px", "rate_learning_rate", "smoothing"),
            *("field_target", "gap", "rate_optimizer", "the", "precision"),
        ]

    def test_a_model_without_sites(self) -> None:
        refuse("Sequential has no relaxed site; call relax on it first", nn.Sequential())

    def test_the_gap_bound_without_an_example(self) -> None:
        text = "the gap bound needs the model's field graph; give relax an example input, or do "
        text += 'without the bound (gap = "ignore")'
        refuse(text, relaxed(6))
        search_rates(relaxed(6), batches(1), budget=1, gap="report", device="cpu")  # control

    def test_a_pull_without_an_example(self) -> None:
        text = "a field target needs the model's field graph; give relax an example input"
        refuse(text, relaxed(6), gap="ignore", needed_px=9)
        search_rates(
            relaxed(6),
            batches(1),
            budget=1,
            gap="ignore",
            needed_px=9,
            field_target=0,
            device="cpu",
        )

    @pytest.mark.parametrize("seen", [0, 1])
    def test_a_loader_that_ends(self, seen: int) -> None:
        def generator() -> Iterator[tuple[Tensor, Tensor]]:
            yield from batches(seen)

        text = "search_rates: the train_loader is empty; give one with batches"
        if seen:
            text = "search_rates: the train_loader ended for good after batch 1; give a "
            text += "DataLoader or a list, which can be gone through again, and not a generator"
        with pytest.raises(SearchError, match=re.escape(text)):
            search_rates(chain(), generator(), budget=2, device="cpu")
        # negative control: a generator that lasts is good enough
        search_rates(chain(), (batch(step) for step in range(2)), budget=2, device="cpu")

    def test_a_budget_that_is_none_is_the_only_fault_told(self) -> None:
        for budget in (-1, 2.0, None):
            with pytest.raises(SearchError, match=r"^search_rates: budget = "):
                search_rates(chain(), never(), budget=budget, device="cpu")  # type: ignore[arg-type]


class TestWarning:
    def test_what_went_wrong_is_a_warning(self) -> None:
        with pytest.warns(SearchWarning) as caught:
            search_rates(
                chain(),
                batches(2),
                budget=2,
                rate_learning_rate=1e-9,
                needed_px=500,
                field_target=0,
                device="cpu",
            )
        said = [str(warning.message).split(";")[0] for warning in caught]
        assert said == [
            "500 px are needed, and limits and bounds allow 25 px at most",  # before the search
            "no rate moved by more than 0.05 in 2 steps",
            "the field is 7 px and 500 px are needed, but limits and bounds allow 25 px at most",
        ]
        assert {warning.filename for warning in caught} == {__file__}  # points at the caller

    def test_a_search_that_went_well_is_silent(self) -> None:  # the control
        model = relaxed(12, initial=5.0, traced=True)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            search_rates(
                model,
                batches(2),
                budget=3,
                rate_learning_rate=0.3,
                gap="ignore",
                needed_px=5,
                device="cpu",
            )


def test_the_pull_has_one_default_wherever_it_is_set() -> None:
    parameters = inspect.signature(search_rates).parameters
    spaces = SearchSection(steps=1).field_target
    assert parameters["field_target"].default == FieldTarget(9).weight == spaces == 2.0


def _search_on_rank(fabric: Fabric, folder: Path, pulled: bool) -> None:
    model = chain(seed=fabric.global_rank)  # DistributedDataParallel takes the weights of rank 0
    own = [batch(2 * step + fabric.global_rank) for step in range(3)]
    more: dict[str, Any] = {"needed_px": 25} if pulled else {}
    plan = search_rates(model, own, budget=6, seed=5, fabric=fabric, **more)
    weights = [weight.sum().item() for weight in weight_parameters(model)]
    text = json.dumps([fabric.world_size, {site: list(rates) for site, rates in plan.items()}])
    (folder / f"rank{fabric.global_rank}").write_text(text + json.dumps(weights))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("pulled", [False, True])
def test_two_ranks_find_one_plan(pulled: bool, tmp_path: Path) -> None:
    # autograd's threads, which tests before this one have begun, do not survive a fork
    fabric = Fabric(accelerator="cpu", devices=2, strategy="ddp_spawn")
    fabric.launch(_search_on_rank, tmp_path, pulled)
    first, second = ((tmp_path / f"rank{rank}").read_text() for rank in (0, 1))
    assert first == second
    assert first.startswith("[2, ")
    # negative control: what a rank would find in its own batches alone
    alone = search_rates(
        chain(), [batch(2 * step) for step in range(3)], budget=6, seed=5, device="cpu"
    )
    assert json.dumps({site: list(rates) for site, rates in alone.items()}) not in first
