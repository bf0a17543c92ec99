"""What a model computes with beside its weights: the settings of convolutions and poolings.

Stride, padding, dilation, groups and padding mode of a convolution, and all that a pooling has,
are in no ``state_dict`` and change no shape of a weight: weights of one network load into another
that differs in them, and its outputs are silently wrong. As plain data they can be kept beside
weights, hashed and compared. The kernel of a convolution is left to the shape of its weight.

A site is described by what is the same in all its forms and at all its rates: a relaxed layer, the
plain layers it may become, and the convolution it was all have one output grid, and the padding
that grid has at rate 1 is the same whichever of them is asked.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias

from torch import nn
from torch.nn.modules import conv, pooling

from dilsearch.layers import BranchConv2d, ConvGrid, MixedRateConv, RelaxedConv
from dilsearch.layers.relaxable import Convolution
from dilsearch.sites import Granularity
from dilsearch.surgery.present import known_sites, modules_by_site
from dilsearch.tracing.wrappers import plain_path, unwrapped

Setting: TypeAlias = "str | float | list[Setting] | None"
Settings: TypeAlias = Mapping[str, Mapping[str, Setting]]
"""Of each convolution and pooling by its path; JSON can hold them."""

KIND = "kind"
"""The setting that tells a site, or else the class of the module."""
GROUPS = "groups"
"""A setting of everything that has weights, and of nothing else."""
_TRANSPOSED = ("stride", "padding", "output_padding", "dilation", GROUPS)
_POOLING = (
    "kernel_size",
    "stride",
    "padding",
    "dilation",
    "ceil_mode",
    "count_include_pad",
    "divisor_override",
    "norm_type",
    "output_size",
    "output_ratio",
)
_OWN = (BranchConv2d, MixedRateConv)


def settings_of(model: nn.Module) -> Settings:
    """Settings of every convolution and pooling by the path it has without wrappers.

    Equal for models that compute the same from the same weights, inputs and rates of their sites,
    be these relaxed or discretised. A module at several paths is told at each.

    Args:
        model: Any model; one that was never relaxed or discretised has no sites.
    """
    modules = modules_by_site(model)
    sites = {id(modules[site]): what for site, what in known_sites(model).items()}
    found = {
        plain_path(path): _settings(module, sites.get(id(module)))
        for path, module in unwrapped(model).named_modules(remove_duplicate=False)
    }
    return {path: settings for path, settings in found.items() if settings}


def _settings(module: nn.Module, site: Granularity | None) -> dict[str, Setting]:
    """Empty if the module is neither convolution nor pooling."""
    if isinstance(module, RelaxedConv) or (site is not None and isinstance(module, Convolution)):
        return _of_site(module, causal=site is not None and site.causal)
    kind = _kind(module)
    if kind is None:
        return {}
    if isinstance(module, Convolution):
        return {KIND: kind.__name__, **_of_convolution(module)}
    names = _POOLING if kind.__module__ == pooling.__name__ else _TRANSPOSED
    held = {name: _plain(getattr(module, name)) for name in names if hasattr(module, name)}
    return {KIND: kind.__name__, **held}


def _kind(module: nn.Module) -> type | None:
    """The class of torch or of this package: wrappers and parametrisations make subclasses."""
    homes = (conv.__name__, pooling.__name__)
    known = (kind for kind in type(module).__mro__ if kind in _OWN or kind.__module__ in homes)
    return next(known, None)


def _of_site(module: nn.Module, *, causal: bool) -> dict[str, Setting]:
    grid = ConvGrid.of(module, causal=causal)
    return {
        KIND: "site",
        "stride": _plain(grid.stride),
        "padding_at_rate_1": _ends(grid.padding_at((1,) * grid.axes)),
        GROUPS: _plain(module.groups),
        "padding_mode": grid.padding_mode,
    }


def _of_convolution(module: Convolution) -> dict[str, Setting]:
    grid = ConvGrid.of(module)
    settings: dict[str, Setting] = {
        "stride": _plain(grid.stride),
        "padding": _ends(grid.padding),
        "dilation": _plain(grid.dilation),
        GROUPS: module.groups,
        "padding_mode": grid.padding_mode,
    }
    if isinstance(module, _OWN):
        settings["rates"] = [_plain(row) for row in module.rates]
    return settings


def _ends(padding: Sequence[tuple[int, int]]) -> Setting:
    """A number for each axis, or two where what is added before it is not what is added behind."""
    if all(before == after for before, after in padding):
        return _plain([before for before, _ in padding])
    return [list(pair) for pair in padding]


def _plain(value: object) -> Setting:
    """As JSON would have it; one number for all axes is the same as that number for each."""
    if isinstance(value, Iterable) and not isinstance(value, str):
        numbers = list(value)
        return numbers[0] if len(set(numbers)) == 1 else numbers
    assert value is None or isinstance(value, str | int | float)
    return value
