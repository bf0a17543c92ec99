"""The networks of spaces and runs, at the rates that a space begins with or a plan gives."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from dilsearch.cli.networks import GivenNetwork, network_of_run, require_network
from dilsearch.errors import PlanError, RunError
from dilsearch.pipeline import build_relaxed, network_hash
from dilsearch.pipeline.stages import NETWORK_FILES
from dilsearch.plan import DilationPlan
from dilsearch.runs import SPACE_FILE, RunFolder
from dilsearch.space import SearchSpace
from dilsearch.surgery import clamp_rates, discretize, load, read_plan
from dilsearch.surgery.rates import relaxed_sites

_FLOAT_PLAN = "plan.float.json"
_PLANS = {"plan.json": NETWORK_FILES["retrain"], _FLOAT_PLAN: NETWORK_FILES["fractional"]}
"""The plans of a run folder, the last one first, and the weights that were trained with them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Searched:
    """A network of dilsearch's own making.

    Args:
        model: It computes with the rates of ``plan``.
        plan: Its rates.
        input_shape: Shape of one input that it trains on, its batch included.
        needed_px: Field that its task asks for, where that does not follow from the input's size.
        label: What it is, in words.
        weights: Where its weights come from, in words.
    """

    model: nn.Module
    plan: DilationPlan
    input_shape: tuple[int, ...]
    needed_px: int | None
    label: str
    weights: str


def from_space(
    name: str,
    profile: str | None,
    overrides: Sequence[str],
    *,
    seed: int,
    plan_path: Path | None = None,
    given: GivenNetwork | None = None,
) -> Searched:
    """The network of a space, at its initial rates or those of a plan.

    Args:
        name: Name or path of the space.
        profile: One of its profiles.
        overrides: What is laid over it.
        seed: Seed of fresh weights.
        plan_path: A plan whose rates it takes.
        given: The network, where the space leaves it open.

    Raises:
        DilsearchError: If space or plan are at fault, or do not fit each other.
    """
    space = SearchSpace.load(name, profile, overrides)
    network = None if given is None else given.maker(space)
    relaxed = build_relaxed(space, seed, network)
    plan, rates = read_plan(relaxed), "initial rates"
    if plan_path is not None:
        plan, rates = DilationPlan.load(plan_path), f"rates of {plan_path}"
    return Searched(
        model=_at_rates(relaxed, plan, plan_path),
        plan=plan,
        input_shape=(1, space.data.channels, *space.data.image_px),
        needed_px=_needed_px(space),
        label=f"space {space.name}{f', profile {space.profile}' if space.profile else ''}, {rates}",
        weights=_weights(given, seed),
    )


def from_run(
    path: Path,
    *,
    need_weights: bool,
    plan_path: Path | None = None,
    given: GivenNetwork | None = None,
) -> Searched:
    """The network of a run, at the rates of a plan; by default, those of the last that it has.

    Args:
        path: The run folder, which is only read.
        need_weights: Read the weights that belong to the plan, where the run has them.
        plan_path: Another plan of the folder, or from elsewhere.
        given: The run's network, where that is a user's own.

    Raises:
        DilsearchError: If the folder holds no run or no plan, or a file is at fault.
    """
    folder = RunFolder.open(path)
    space = SearchSpace.load(folder.path(SPACE_FILE))
    if folder.record["hashes"].get("space") is not None:  # else it would be written
        folder.require_hash("space", space.hash)
    network = network_of_run(folder, space, given)
    chosen = plan_path or next((folder.path(name) for name in _PLANS if folder.has(name)), None)
    if chosen is None:
        raise RunError(
            f"{path} holds no plan yet, neither {' nor '.join(_PLANS)}; run its search, or "
            f"analyse its space: dilsearch analyze {folder.path(SPACE_FILE)}"
        )
    plan = DilationPlan.load(chosen)
    relaxed = build_relaxed(space, folder.seed, network)
    if network is not None and folder.record["hashes"].get("network") is not None:
        require_network(folder, network_hash(relaxed))
    model, weights = _at_rates(relaxed, plan, chosen), _weights(given, folder.seed)
    file = _PLANS.get(chosen.name) if chosen.parent == folder.path() else None
    if need_weights and file is not None and folder.has(file):
        load(model, folder.path(file))  # refuses weights of any other plan
        weights = str(folder.path(file))
    return Searched(
        model=model,
        plan=plan,
        input_shape=(1, space.data.channels, *space.data.image_px),
        needed_px=_needed_px(space),
        label=f"run {path}, rates of {chosen.name if file else chosen}",
        weights=weights,
    )


def _needed_px(space: SearchSpace) -> int | None:
    """The field that a space sets or its task is known to need; None for 2N - 1 of each axis."""
    spanning = 2 * max(space.data.image_px) - 1
    return None if space.needed_px == spanning else space.needed_px


def _weights(given: GivenNetwork | None, seed: int) -> str:
    return f"fresh, seed {seed}" if given is None else f"those of the factory, seed {seed}"


def _at_rates(relaxed: nn.Module, plan: DilationPlan, source: Path | None) -> nn.Module:
    """A relaxed network at the rates of a plan: as plain layers if it is not a search's own.

    Raises:
        PlanError: If the plan has other sites or branches.
    """
    try:
        searching = source is not None and source.name == _FLOAT_PLAN  # as its weights are
        if plan.is_integer and not searching:
            return discretize(relaxed, plan, inplace=True)
        return _set_rates(relaxed, plan)
    except PlanError as error:
        raise PlanError(f"{source}: {error}") from None


@torch.no_grad()
def _set_rates(relaxed: nn.Module, plan: DilationPlan) -> nn.Module:
    sites = relaxed_sites(relaxed)
    absent = [site for site in sites if site not in plan]
    if absent:
        raise PlanError(f"site '{absent[0]}' has no rates in the plan; give it some")
    read_plan(relaxed).replace(plan)  # refuses what does not fit
    for name, layer in sites.items():
        layer.rate.copy_(torch.tensor(plan[name]).reshape(layer.rate.shape))
    clamp_rates(relaxed, gap="ignore")
    return relaxed
