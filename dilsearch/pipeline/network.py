"""The network of a space, relaxed: a built-in one, or one that is given."""

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fnmatch import fnmatchcase
from typing import TypeAlias

import torch
from torch import nn
from torch.nn.modules.conv import _ConvNd

from dilsearch.data import derived_seed, seeded
from dilsearch.errors import DilsearchError, SpaceError
from dilsearch.layers import BranchConv2d
from dilsearch.models import build_model, searchable_blocks
from dilsearch.pipeline.rates import control_rates, present_plan, site_limits, start_rates
from dilsearch.space import SearchSpace
from dilsearch.surgery import clamp_rates, read_plan, relax
from dilsearch.surgery.rates import relaxed_sites
from dilsearch.surgery.settings import settings_of

Network: TypeAlias = Callable[[int, int], nn.Module]
"""Makes a network from the number of classes and the seed of fresh weights."""

_STRIDE_MULTIPLE = 64  # more than the stride of any built-in network
_SHOWN = 4


def build_relaxed(space: SearchSpace, seed: int, network: Network | None = None) -> nn.Module:
    """A space's network with its starting weights, relaxed at its sites, its field traced.

    Args:
        space: The resolved space.
        seed: Seed of fresh weights and of rates that are drawn.
        network: Makes the network of a space whose model is ``"given"``.

    Raises:
        DilsearchError: If the space asks for what its network cannot have; the message names the
            space's section.
    """
    model = _starting_network(space, seed, network)
    sizes = (_rounded_up(size) for size in space.data.image_px)
    example = torch.empty(1, space.data.channels, *sizes, device="meta")
    generator = torch.Generator().manual_seed(derived_seed("initial rates", seed))
    with _blamed_on(space, "sites"):
        if network is not None:
            _check_globs(space, model)
        granularities = site_limits(space, model, example)
        relaxed = relax(model, granularities, example=example, generator=generator, inplace=True)
        present = present_plan(relaxed)
        start_rates(space, relaxed)
        clamp_rates(relaxed, gap="enforce" if space.gap.policy == "enforce" else "ignore")
    with _blamed_on(space, "control"):
        control_rates(space, read_plan(relaxed), present)
    return relaxed


def network_hash(relaxed: nn.Module) -> str:
    """SHA-256 of a network's form: classes of its modules, shapes of its weights, and its sites.

    What a convolution or pooling does beside its weights counts, such as its stride and, outside
    the sites, its dilation. Values of weights and rates do not.
    """
    sites = relaxed_sites(relaxed)
    inside = tuple(f"{site}." for site in sites)
    form = {
        "sites": sorted(sites),
        "modules": [
            (name, type(module).__qualname__)
            for name, module in relaxed.named_modules()
            if name not in sites and not name.startswith(inside)
        ],
        "weights": [
            (name, list(parameter.shape))
            for name, parameter in relaxed.named_parameters()
            if name.removesuffix(".rate") not in sites
        ],
        "settings": settings_of(relaxed),
    }
    return hashlib.sha256(json.dumps(form, separators=(",", ":")).encode()).hexdigest()


def _starting_network(space: SearchSpace, seed: int, network: Network | None) -> nn.Module:
    model, classes = space.model, len(space.data.class_names)
    if network is not None and model.is_given:
        return network(classes, seed)
    with _blamed_on(space, "model"):
        if network is not None:
            raise SpaceError(f"the network is the built-in '{model.name}'; leave out --model")
        if model.is_given:
            raise SpaceError(
                f'name = "{model.name}" leaves the network to the command line; add '
                "--model package.module:factory, and --kwargs where it needs arguments"
            )
        blocks = searchable_blocks(model.name, **model.options)
        with seeded("weights", seed):
            return build_model(
                model.name,
                num_classes=classes,
                rates=((1,) * model.branches,) * blocks,
                **model.options,
            )


def _check_globs(space: SearchSpace, model: nn.Module) -> None:
    """A recipe may come with the sites of another network: show those that there are."""
    convs = [
        name
        for name, module in model.named_modules()
        if isinstance(module, _ConvNd | BranchConv2d) and max(module.kernel_size) > 1
    ]
    unfit = [
        f"'{glob}'"
        for section in space.sites
        for glob in section.select
        if not any(fnmatchcase(name, glob) for name in convs)
    ]
    if not unfit:
        return
    few = len(convs) <= 2 * _SHOWN
    shown = ", ".join(convs if few else [*convs[:_SHOWN], "...", *convs[-_SHOWN:]]) or "none"
    raise SpaceError(
        f"{' and '.join(unfit)} {'matches' if len(unfit) == 1 else 'match'} no convolution of the "
        f"network; choose by --sites GLOB among those with two or more taps: {shown}"
    )


@contextmanager
def _blamed_on(space: SearchSpace, section: str) -> Iterator[None]:
    """Say which section of which space asked for what turned out to be impossible."""
    try:
        yield
    except DilsearchError as error:
        raise SpaceError(f"space '{space.name}': [{section}]: {error}") from None


def _rounded_up(size: int) -> int:
    """A size that every stride divides, so that the tracer can follow upsampling exactly."""
    return -(-size // _STRIDE_MULTIPLE) * _STRIDE_MULTIPLE
