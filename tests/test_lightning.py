"""The Lightning callback, in trainings of a few steps on the CPU."""

import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import dilsearch
from dilsearch.errors import SearchError, SurgeryError
from dilsearch.lightning import RateCallback, callback_class, relaxed_within
from dilsearch.plan import DilationPlan
from dilsearch.sites import PerBranch, PerSite

pytestmark = [
    # of Lightning, about this machine and these tiny loaders
    pytest.mark.filterwarnings("ignore:The '.*' does not have many workers"),
    pytest.mark.filterwarnings("ignore:The number of training batches"),
    pytest.mark.filterwarnings("ignore:.*isinstance.treespec, LeafSpec.*:FutureWarning"),
]

EXAMPLE = torch.empty(1, 1, 16, 16, device="meta")


def relaxed(example: Tensor | None = EXAMPLE) -> nn.Module:
    torch.manual_seed(0)
    layers = nn.Sequential(
        nn.Conv2d(1, 2, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(2, 2, 3, padding=1, groups=2),
        nn.Conv2d(2, 1, 1),
    )
    return dilsearch.relax(
        layers, {"0": PerSite(1, 6, 1.5), "2": PerBranch(1, 9, 2, 2.0)}, example=example
    )


class Task(LightningModule):
    """Pulls every rate up, whatever the data say."""

    def __init__(self, model: nn.Module | None = None, *, rate_lr: float | None = 1.0) -> None:
        super().__init__()
        self.model = relaxed() if model is None else model
        self.rate_lr = rate_lr
        self.seen: list[DilationPlan] = []

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        self.seen.append(dilsearch.read_plan(self.model))
        rates = sum(rate.sum() for rate in dilsearch.rate_parameters(self.model))
        return self.model(batch[0]).square().mean() - rates

    def configure_optimizers(self) -> torch.optim.Optimizer:
        if self.rate_lr is None:
            kept = [value for name, value in self.named_parameters() if not name.endswith("rate")]
            return torch.optim.SGD(kept, lr=0.01)
        groups = dilsearch.param_groups(self.model, lr=0.01, rate_lr=self.rate_lr)
        return torch.optim.Adam(groups)


def trainer(folder: Path, *callbacks: Callback, **more: Any) -> Trainer:
    settings: dict[str, Any] = {
        "max_steps": 4,
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        **more,
    }
    return Trainer(
        accelerator="cpu",
        devices=1,
        default_root_dir=folder,
        log_every_n_steps=1,
        callbacks=list(callbacks),
        **settings,
    )


def loader() -> DataLoader[tuple[Tensor, ...]]:
    images = torch.rand(4, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    return DataLoader(TensorDataset(images), batch_size=1)


def test_rates_keep_limits_and_bound_after_every_step(tmp_path: Path) -> None:
    def seen(*callbacks: Callback) -> list[DilationPlan]:
        task = Task()
        trainer(tmp_path, *callbacks, max_steps=8).fit(task, loader())
        return [*task.seen, dilsearch.read_plan(task.model)]

    # field 1 px in front of the first site, 3 in front of the second
    for plan in seen(RateCallback()):
        assert plan["0"] == (1.0,)
        assert max(plan["2"]) <= 3
    free = seen(RateCallback(gap="ignore", plan_path=None))
    assert free[-1] == DilationPlan({**free[-1].sites}).replace({"0": (6.0,), "2": (9.0, 9.0)})
    assert max(seen()[-1]["0"]) > 6  # the control: without it they leave their limits


def test_the_plan_is_written_at_the_end(tmp_path: Path) -> None:
    task, callback = Task(), RateCallback(gap="ignore", plan_path="plans/found.json")
    trainer(tmp_path, callback).fit(task, loader())
    assert DilationPlan.load(tmp_path / "plans/found.json") == dilsearch.read_plan(task.model)
    assert callback.plan() == dilsearch.read_plan(task.model)
    assert callback.plan()["0"] != (1.5,)
    # the control: only where it is asked for
    trainer(tmp_path / "none", RateCallback(plan_path=None)).fit(Task(), loader())
    assert not list(tmp_path.glob("none/**/*.json"))


class Fails(Callback):
    """Ends a training in its second batch."""

    def __init__(self, error: BaseException, rates_to: float | None = None) -> None:
        self.error, self.rates_to = error, rates_to

    def on_train_batch_start(self, trainer: Trainer, pl_module: Any, *_: object) -> None:
        if trainer.global_step == 1:
            if self.rates_to is not None:
                for rate in dilsearch.rate_parameters(pl_module.model):
                    rate.data.fill_(self.rates_to)
            raise self.error


def test_the_plan_is_written_on_an_exception(tmp_path: Path) -> None:
    task = Task()
    with pytest.raises(RuntimeError, match="power cut"):
        trainer(tmp_path, RateCallback(gap="ignore"), Fails(RuntimeError("power cut"))).fit(
            task, loader()
        )
    written = DilationPlan.load(tmp_path / "plan.float.json")
    assert written == dilsearch.read_plan(task.model)
    assert written["0"] == pytest.approx((2.5,))  # one step of Adam


def test_a_training_that_diverged_leaves_no_plan_and_its_own_error(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="power cut"):
        trainer(tmp_path, RateCallback(), Fails(RuntimeError("power cut"), float("nan"))).fit(
            Task(), loader()
        )
    assert not list(tmp_path.glob("*.json"))


@pytest.mark.parametrize("freeze_steps", [0, 2, 9])
def test_a_warm_up_leaves_the_rates_alone(tmp_path: Path, freeze_steps: int) -> None:
    task = Task()
    weight = task.model[0].weight.detach().clone()  # type: ignore[index, union-attr]
    trainer(tmp_path, RateCallback(gap="ignore", freeze_steps=freeze_steps)).fit(task, loader())
    moved = [plan["0"] for plan in [*task.seen, dilsearch.read_plan(task.model)]]
    still = min(freeze_steps, 4) + 1
    assert moved[:still] == [(1.5,)] * still
    assert all(later > sooner for sooner, later in zip(moved[still - 1 :], moved[still:]))  # noqa: B905
    assert not torch.equal(task.model[0].weight, weight)  # type: ignore[index, union-attr, arg-type]
    assert all(rate.requires_grad for rate in dilsearch.rate_parameters(task.model))


def test_field_and_rates_are_logged(tmp_path: Path) -> None:
    task = Task()
    fit = trainer(tmp_path, RateCallback(gap="ignore"))
    fit.fit(task, loader())
    logged = {name: value.item() for name, value in fit.logged_metrics.items()}
    plan = dilsearch.read_plan(task.model)
    assert logged == pytest.approx(
        {
            "field_px": dilsearch.trace_graph(relaxed(), EXAMPLE).propagate(plan).field_px,
            "rate/0/0": plan["0"][0],
            "rate/2/0": plan["2"][0],
            "rate/2/1": plan["2"][1],
        }
    )
    silent = trainer(tmp_path, RateCallback(gap="ignore", log_every=0))
    silent.fit(Task(), loader())
    assert not silent.logged_metrics


def test_a_checkpoint_of_lightning_brings_the_rates_back(tmp_path: Path) -> None:
    whole, limits_alone = Task(), {"gap": "ignore", "plan_path": None}
    trainer(tmp_path, RateCallback(**limits_alone), max_steps=8).fit(whole, loader())
    first, half = Task(), trainer(tmp_path, RateCallback(**limits_alone))
    half.fit(first, loader())
    half.save_checkpoint(tmp_path / "half.ckpt")
    resumed = Task()
    again = trainer(tmp_path, RateCallback(**limits_alone), max_steps=8)
    again.fit(resumed, loader(), ckpt_path=tmp_path / "half.ckpt", weights_only=True)
    assert resumed.seen[0] == dilsearch.read_plan(first.model)  # not those it was made with
    found, expected = dilsearch.read_plan(resumed.model), dilsearch.read_plan(whole.model)
    assert found == expected
    assert found != dilsearch.read_plan(first.model)  # the control: it went on


def test_a_module_without_sites_is_told(tmp_path: Path) -> None:
    task = Task(nn.Conv2d(1, 1, 3), rate_lr=None)
    text = "Task has no relaxed site; let it hold a model that relax returned, such as self.model"
    with pytest.raises(SearchError, match=text):
        trainer(tmp_path, RateCallback()).fit(task, loader())


def test_rates_in_no_optimiser_are_told(tmp_path: Path) -> None:
    text = "the rates of Sequential are in no optimiser, so that nothing moves them; let configure_"
    with pytest.raises(SearchError, match=text):
        trainer(tmp_path, RateCallback()).fit(Task(rate_lr=None), loader())


def test_the_bound_needs_the_graph(tmp_path: Path) -> None:
    with pytest.raises(SurgeryError, match="the gap bound needs the model's field graph"):
        trainer(tmp_path, RateCallback()).fit(Task(relaxed(None)), loader())
    task = Task(relaxed(None))  # the control: limits need none
    trainer(tmp_path, RateCallback(gap="ignore")).fit(task, loader())


def test_what_is_no_setting_is_told() -> None:
    with pytest.raises(SearchError, match="3 faults") as told:
        RateCallback(gap="report", freeze_steps=-1, log_every=2.5)  # type: ignore[arg-type]
    for text in (
        "gap = 'report' is unknown; use 'enforce' or 'ignore'",
        "freeze_steps = -1 is no number of steps; give a whole one, 0 for none",
        "log_every = 2.5 is no number of batches; give a whole one, 0 for none",
    ):
        assert text in str(told.value)
    with pytest.raises(SearchError, match="no fit has begun; give it to a Trainer and fit"):
        RateCallback().plan()


class TestRelaxedWithin:
    def test_it_is_found_wherever_it_is(self) -> None:
        model = relaxed()
        assert relaxed_within(model) is model
        assert relaxed_within(nn.ModuleDict({"net": nn.Sequential(nn.ReLU(), model)})) is model
        by_hand = nn.Sequential(nn.Sequential(*relaxed().children()))  # no companion: all of it
        assert relaxed_within(by_hand) is by_hand

    def test_plain_layers_of_a_plan_do_not_count(self) -> None:
        model = relaxed()
        plain = dilsearch.discretize(model, dilsearch.read_plan(model).replace({"0": (2,)}))
        assert relaxed_within(nn.ModuleDict({"old": plain, "new": model})) is model

    def test_of_several_one_is_named(self) -> None:
        both = nn.ModuleDict({"student": relaxed(), "teacher": relaxed()})
        text = r"several relaxed models \(student, teacher\); say which one is trained, as in Rate"
        with pytest.raises(SearchError, match=text):
            relaxed_within(both)
        assert relaxed_within(both, "teacher") is both["teacher"]
        with pytest.raises(SearchError, match="ModuleDict has no submodule 'pupil'; give the path"):
            relaxed_within(both, "pupil")


class TestCallbackClass:
    def fake(self, monkeypatch: pytest.MonkeyPatch, *packages: str) -> dict[str, type]:
        """Only these packages are there, and imported already."""
        classes: dict[str, type] = {}
        for name in ("lightning.pytorch", "pytorch_lightning"):
            package = ModuleType(name)
            classes[name] = package.Callback = type("Callback", (), {})  # type: ignore[attr-defined]
            monkeypatch.setitem(sys.modules, name, package if name in packages else None)
        return classes

    def test_it_is_that_of_the_lightning_in_use(self, monkeypatch: pytest.MonkeyPatch) -> None:
        assert callback_class() is Callback
        for name in ("pytorch_lightning", "lightning.pytorch"):
            assert self.fake(monkeypatch, name)[name] is callback_class()

    def test_the_one_imported_goes_before_the_one_installed(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        found = self.fake(monkeypatch, "pytorch_lightning")
        monkeypatch.delitem(sys.modules, "lightning.pytorch")
        assert callback_class() is found["pytorch_lightning"]

    def test_without_any_it_says_what_to_install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.fake(monkeypatch)
        text = 'dilsearch.lightning needs Lightning; install it with pip install "dilsearch[light'
        with pytest.raises(ModuleNotFoundError, match=re.escape(text)):
            callback_class()

    def test_one_that_is_broken_is_not_called_missing(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def broken(name: str) -> ModuleType:
            raise ModuleNotFoundError("No module named 'torchmetrics'", name="torchmetrics")

        monkeypatch.setattr("dilsearch.lightning.import_module", broken)
        with pytest.raises(ModuleNotFoundError, match="No module named 'torchmetrics'"):
            callback_class()
