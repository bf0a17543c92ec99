"""The search as a library: any small model, any loader, any loss, and what is refused."""

import inspect
import re
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from search_task import chain, relaxed
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import dilsearch
from dilsearch.errors import SearchError, SurgeryError
from dilsearch.search import (
    FieldTarget,
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
        assert search_rates(chain(), batches(2), budget=5, device="cpu", checkpoint=checkpoint) == (
            expected
        )
        # four steps are done, so that the loader's first batch is the fifth step's, as it was
        rows: list[dict[str, float]] = []
        model = chain()
        resumed = search_rates(
            model, batches(2), budget=5, device="cpu", checkpoint=checkpoint, watch=rows.append
        )
        assert [row["step"] for row in rows] == [5]
        assert resumed == expected

    def test_the_public_names_are_the_same(self) -> None:
        assert dilsearch.search_rates is search_rates
        assert dilsearch.SearchWarning is SearchWarning
        assert dilsearch.Smoothing is Smoothing
        assert dilsearch.FieldTarget is FieldTarget


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
            {"gap": "report", "rate_optimizer": "sgd"},
        ],
    )
    def test_what_is_allowed_at_the_edge(self, settings: dict[str, object]) -> None:  # the control
        with pytest.raises(LookupError, match="data was asked for"):
            search_rates(chain(), never(), budget=1, device="cpu", **settings)  # type: ignore[arg-type]

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
                learning_rate=-1,
                rate_learning_rate=0,
                field_target=-2,
                gap="no",  # type: ignore[arg-type]
                rate_optimizer="no",  # type: ignore[arg-type]
                optimizer=torch.optim.SGD(model.parameters(), lr=0.1),
            )
        heading, *faults = str(caught.value).splitlines()
        assert heading == "search_rates, 9 faults:"
        assert [fault.split()[1] for fault in faults] == [
            *("budget", "patience", "needed_px", "learning_rate", "rate_learning_rate"),
            *("field_target", "gap", "rate_optimizer", "the"),
        ]

    def test_a_model_without_sites(self) -> None:
        refuse("Sequential has no relaxed site; call relax on it first", nn.Sequential())

    def test_the_gap_bound_without_an_example(self) -> None:
        text = "the gap bound needs the model's field graph; give relax an example input"
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

        text = "search_rates: the train_loader gives no batch (any more); give a DataLoader or a "
        text += "list, which can be gone through again, and not a generator"
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
            "no rate moved by more than 0.05 in 2 steps",
            "the field is 7 px and 500 px are needed",
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
