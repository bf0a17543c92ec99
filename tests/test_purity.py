"""Public functions leave the model they are given as it was, unless their name says otherwise."""

import inspect
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import dilsearch
from dilsearch import PerBranch, PerSite


class Net(nn.Module):
    """Convolutions, statistics, dropout, a buffer, hooks, parts in either mode and a frozen one."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.BatchNorm2d(8))
        self.first = nn.Conv2d(8, 8, 3, padding=1, groups=4)
        self.second = nn.Conv2d(8, 8, 3, padding=1)
        self.head = nn.Sequential(nn.Dropout(), nn.Conv2d(8, 2, 1))
        self.register_buffer("scale", torch.ones(1))
        self.note = {"kept": [1, 2]}

    def forward(self, x: Tensor) -> Tensor:
        y = self.second(self.first(self.stem(x)).relu()).relu()
        return self.head(y * self.scale)  # type: ignore[no-any-return]


SITES = {"first": PerBranch(1, 4), "second": PerSite(1, 4, initial="uniform")}
X = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def plain() -> nn.Module:
    torch.manual_seed(0)
    model = Net().train()
    model.stem.eval()
    model.head[1].requires_grad_(False)
    model.register_forward_hook(lambda *_: None)
    model(X).sum().backward()
    return model


def relaxed() -> nn.Module:
    model = dilsearch.relax(plain(), SITES, example=X)
    model(X).square().mean().backward()
    return model


def discretised() -> nn.Module:
    model = relaxed()
    return dilsearch.discretize(model, whole(model))


def whole(model: nn.Module) -> dilsearch.DilationPlan:
    return dilsearch.read_plan(model).replace({"first": (1, 2), "second": (3,)})


def file_of(model: nn.Module, folder: Path) -> Path:
    dilsearch.save(model, folder / "made.safetensors")
    return folder / "made.safetensors"


def graph_of(model: nn.Module) -> dilsearch.FieldGraph:
    graph = dilsearch.field_graph(model)
    assert graph is not None
    return graph


def snapshot(model: nn.Module) -> dict[str, Any]:
    """All that a function could change about a model, and about the global random states."""
    seen: dict[str, Any] = {
        "torch": torch.get_rng_state().clone(),
        "numpy": np.random.get_state()[1].tolist(),
        "python": random.getstate(),
        "gradients on": torch.is_grad_enabled(),
    }
    for path, module in model.named_modules(remove_duplicate=False):
        seen[f"{path} is"] = (id(module), type(module), module.training)
        seen[f"{path} has"] = sorted(vars(module))
        for name, value in vars(module).items():
            if name.endswith("hooks") or name == "_modules":
                seen[f"{path}.{name}"] = [(key, id(held)) for key, held in value.items()]
            elif not name.startswith("_") or name == "_dilsearch_companion":
                seen[f"{path}.{name}"] = (id(value), repr(value))
    for name, parameter in model.named_parameters(remove_duplicate=False):
        gradient = parameter.grad
        seen[f"{name} flags"] = (id(parameter), id(gradient), parameter.requires_grad)
        seen[f"{name} layout"] = (parameter.data_ptr(), parameter.stride(), parameter._version)
        seen[name] = parameter.detach().clone()
        seen[f"{name} gradient"] = None if gradient is None else gradient.clone()
    for name, buffer in model.named_buffers(remove_duplicate=False):
        seen[f"buffer {name}"] = buffer.clone()
        seen[f"buffer {name} is"] = (id(buffer), buffer.dtype, buffer._version)
    return seen


def changes(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """What differs between two snapshots."""
    return [
        name
        for name in {**before, **after}
        if name not in before or name not in after or not same(before[name], after[name])
    ]


def same(left: Any, right: Any) -> bool:
    if isinstance(left, Tensor) and isinstance(right, Tensor):
        return torch.equal(left, right)
    return type(left) is type(right) and bool(left == right)


Act = Callable[[nn.Module, Path], object]
Made = Callable[[], nn.Module]
GENERATOR = torch.Generator()

PURE: dict[str, list[tuple[Made, Act]]] = {
    "FieldTarget": [(relaxed, lambda m, _: dilsearch.FieldTarget(99)(m).backward)],
    "GapPenalty": [(relaxed, lambda m, _: dilsearch.GapPenalty()(m))],
    "analyze": [(kind, lambda m, _: dilsearch.analyze(m, X)) for kind in (plain, relaxed)],
    "apply_plan": [
        (relaxed, lambda m, _: dilsearch.apply_plan(m, whole(m))),
        (plain, lambda m, _: dilsearch.apply_plan(m, whole(relaxed_quietly()))),
        (discretised, lambda m, _: dilsearch.apply_plan(m, whole(relaxed_quietly()))),
    ],
    "discretize": [(relaxed, lambda m, _: dilsearch.discretize(m, whole(m)))],
    "effective_field": [
        (kind, lambda m, _: dilsearch.effective_field(m, [X[:1]])) for kind in (plain, relaxed)
    ],
    "field_graph": [(kind, lambda m, _: dilsearch.field_graph(m)) for kind in (plain, relaxed)],
    "measure_support": [
        (kind, lambda m, _: dilsearch.measure_support(m, X[:1])) for kind in (plain, relaxed)
    ],
    "param_groups": [(relaxed, lambda m, _: dilsearch.param_groups(m, lr=0.1, rate_lr=0.1))],
    "project": [
        (relaxed, lambda m, _: dilsearch.project(dilsearch.read_plan(m), graph_of(m))),
    ],
    "rate_limits": [(relaxed, lambda m, _: dilsearch.rate_limits(m))],
    "rate_parameters": [(relaxed, lambda m, _: dilsearch.rate_parameters(m))],
    "read_plan": [(relaxed, lambda m, _: dilsearch.read_plan(m))],
    "relax": [
        (plain, lambda m, _: dilsearch.relax(m, SITES, example=X, generator=GENERATOR)),
        (discretised, lambda m, _: dilsearch.relax(m, {"stem.0": PerSite(1, 4)})),
    ],
    "relaxed_sites": [(relaxed, lambda m, _: dilsearch.relaxed_sites(m))],
    "save": [(kind, lambda m, folder: file_of(m, folder)) for kind in (relaxed, discretised)],
    "saved_plan": [(relaxed, lambda m, folder: dilsearch.saved_plan(file_of(m, folder)))],
    "set_output_stride": [(plain, lambda m, _: dilsearch.set_output_stride(m, 1, example=X))],
    "trace_graph": [(kind, lambda m, _: dilsearch.trace_graph(m, X)) for kind in (plain, relaxed)],
    "weight_parameters": [(relaxed, lambda m, _: dilsearch.weight_parameters(m))],
}
"""What takes a model and leaves it alone, with the models it is tried on."""


def relaxed_quietly() -> nn.Module:
    """A relaxed model, made without moving the random state."""
    with torch.random.fork_rng():
        return relaxed()


def stepped(model: nn.Module) -> None:
    optimizer = torch.optim.SGD(dilsearch.param_groups(model, lr=0.1, rate_lr=100.0))
    dilsearch.clamp_after_step(optimizer, model)
    optimizer.step()


def trained(model: nn.Module) -> None:
    batch = (X, torch.zeros(2, 8, 8, dtype=torch.long))
    dilsearch.search_rates(model, [batch], budget=1, device="cpu")


def loaded(model: nn.Module, folder: Path) -> None:
    path = file_of(model, folder)
    for parameter in model.parameters():
        nn.init.zeros_(parameter)
    dilsearch.load(model, path)


CHANGING: dict[str, Act] = {
    "clamp_after_step": lambda m, _: stepped(m),
    "clamp_rates": lambda m, _: (moved_out(m), dilsearch.clamp_rates(m)),
    "freeze_rates": lambda m, _: dilsearch.freeze_rates(m),
    "load": loaded,
    "search_rates": lambda m, _: trained(m),
    "unfreeze_rates": lambda m, _: (dilsearch.freeze_rates(m), dilsearch.unfreeze_rates(m)),
}
"""What changes the model that it is given, as its name says."""

WITHOUT_MODEL = {
    "__version__",
    "build_model",
    "fractional_conv1d",
    "fractional_conv2d",
    "fractional_conv3d",
    "join",
    "manual_schedule",
    "max_rate",
    "suggest_plan",
}
"""Public functions that are given no model."""


def moved_out(model: nn.Module) -> None:
    with torch.no_grad():
        for rate in dilsearch.rate_parameters(model):
            rate.fill_(99)


def test_every_public_function_is_in_a_table() -> None:
    functions = {
        name
        for name in dilsearch.__all__
        if not inspect.isclass(getattr(dilsearch, name)) and name != "__version__"
    }
    callable_values = {
        name
        for name in dilsearch.__all__
        if inspect.isclass(value := getattr(dilsearch, name))
        and "model" in inspect.signature(value.__call__).parameters
    }
    tables = [set(PURE), set(CHANGING), WITHOUT_MODEL - {"__version__"}]
    assert set().union(*tables) == functions | callable_values
    assert sum(map(len, tables)) == len(functions | callable_values)  # each in one alone


@pytest.mark.parametrize(
    ("name", "number"), [(name, n) for name, tried in PURE.items() for n in range(len(tried))]
)
def test_the_model_that_is_given_stays_as_it_was(name: str, number: int, tmp_path: Path) -> None:
    made, act = PURE[name][number]
    model = made()
    before = snapshot(model)
    act(model, tmp_path)
    assert not changes(before, snapshot(model))


@pytest.mark.parametrize("name", CHANGING)
def test_a_snapshot_sees_what_the_others_change(name: str, tmp_path: Path) -> None:
    model = relaxed()
    before = snapshot(model)
    CHANGING[name](model, tmp_path)
    assert changes(before, snapshot(model))


CHANGED: dict[str, Callable[[nn.Module], object]] = {
    "second.weight": lambda m: nn.init.zeros_(m.second.weight),
    "second.weight flags": lambda m: m.second.weight.requires_grad_(False),
    "second.weight gradient": lambda m: m.second.weight.grad.zero_(),
    "buffer scale": lambda m: m.scale.zero_(),
    "buffer stem.1.running_mean": lambda m: m.stem[1].running_mean.add_(1),
    "second is": lambda m: m.second.eval(),
    "first is": lambda m: setattr(m, "first", nn.Conv2d(8, 8, 3, padding=1, groups=4)),
    "second._forward_hooks": lambda m: m.second.register_forward_hook(lambda *_: None),
    "second has": lambda m: setattr(m.second, "extra", 1),
    ".note": lambda m: m.note["kept"].append(3),
    "second.dilation": lambda m: setattr(m.second, "dilation", (2, 2)),
    "torch": lambda _: torch.rand(1),
    "numpy": lambda _: np.random.rand(),
    "python": lambda _: random.random(),
}


@pytest.mark.parametrize("what", CHANGED)
def test_a_snapshot_sees_every_sort_of_change(what: str) -> None:
    model = plain()
    before = snapshot(model)
    CHANGED[what](model)
    assert what in changes(before, snapshot(model))


def test_in_place_is_what_the_keyword_says() -> None:
    for made, act in (
        (plain, lambda m: dilsearch.relax(m, SITES, inplace=True)),
        (plain, lambda m: dilsearch.set_output_stride(m, 1, example=X, inplace=True)),
        (relaxed, lambda m: dilsearch.discretize(m, whole(m), inplace=True)),
        (relaxed, lambda m: dilsearch.apply_plan(m, whole(m), inplace=True)),
    ):
        model = made()
        before = snapshot(model)
        assert act(model) is model
        assert changes(before, snapshot(model))
