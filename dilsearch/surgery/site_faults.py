"""Why a selected convolution cannot be relaxed, one sentence for each reason."""

from collections.abc import Iterator

from torch import nn
from torch.nn.modules.conv import _ConvTransposeNd
from torch.nn.modules.lazy import LazyModuleMixin
from torch.nn.utils import parametrize
from torch.nn.utils.prune import BasePruningMethod

from dilsearch.layers import BranchConv2d, MixedRateConv, RelaxedConv, relaxation_faults
from dilsearch.layers.sharing import NAMES, first_tensor, has_bias, old_names_hooks
from dilsearch.sites import Granularity

_PLAIN = (nn.Conv1d, nn.Conv2d, nn.Conv3d, BranchConv2d, MixedRateConv)
_HOOKS = (
    "_forward_hooks",
    "_forward_pre_hooks",
    "_backward_hooks",
    "_backward_pre_hooks",
    "_state_dict_hooks",
    "_state_dict_pre_hooks",
    "_load_state_dict_pre_hooks",
    "_load_state_dict_post_hooks",
)
_OLD_NORMS = {"SpectralNorm": "spectral_norm", "WeightNorm": "weight_norm"}
_FORWARD = ("forward", "_conv_forward", "__call__")


def site_faults(name: str, module: nn.Module, granularity: Granularity) -> list[str]:
    """Why this convolution cannot have such rates: none if it can.

    Args:
        name: The site.
        module: A convolution with two or more taps, of whatever kind.
        granularity: What is to vary there.
    """
    unsuited = _unsuited(module)
    if unsuited is not None:
        return [f"site '{name}' {unsuited}"]
    faults = relaxation_faults(module, granularity, axes=len(_taps(module)))
    return [
        *(f"site '{name}': {fault}" for fault in faults),
        *(f"site '{name}' {fault}" for fault in _state_faults(module)),
    ]


def is_quantised(module: nn.Module) -> bool:
    """Whether it is a quantised convolution of torch, which shares no class with the plain ones."""
    return hasattr(module, "in_channels") and any(
        kind.__module__.startswith("torch.ao.nn.") and "quantized" in kind.__module__
        for kind in type(module).__mro__
    )


def _taps(module: nn.Module) -> tuple[int, ...]:
    taps = module.kernel_size
    assert isinstance(taps, tuple)
    return taps


def _unsuited(module: nn.Module) -> str | None:
    """Why it is no convolution that can be relaxed at all."""
    kind = parametrize.type_before_parametrizations(module)
    what = kind.__name__
    if isinstance(module, RelaxedConv):
        return "is relaxed already; discretise it first"
    if isinstance(module, _ConvTransposeNd):
        return (
            f"is a {what}, and a transposed convolution writes at a distance instead of reading; "
            "leave it out of the selection"
        )
    if is_quantised(module):
        return (
            f"is a quantised {what}, whose weights cannot be trained; relax the model before it "
            "is quantised"
        )
    if isinstance(module, LazyModuleMixin):
        return (
            f"is a {what}, whose weights have no shape yet; run the model on an input once, then "
            "relax it"
        )
    if not isinstance(module, _PLAIN):
        return (
            f"is a {what}, and only nn.Conv1d, nn.Conv2d, nn.Conv3d, BranchConv2d and "
            "MixedRateConv can be relaxed; leave it out of the selection"
        )
    method = _own_forward(module, kind)
    if method is not None:
        return (
            f"is a {what} with a {method} of its own, which would be lost; leave it out of the "
            "selection, or put a plain convolution in its place"
        )
    return None


def _own_forward(module: nn.Module, kind: type) -> str | None:
    """The method of a subclass, or of this one module, that computes something else."""
    inherited = {base for plain in _PLAIN for base in plain.__mro__}
    own = [vars(module), *(vars(base) for base in kind.__mro__ if base not in inherited)]
    return next((method for method in _FORWARD for names in own if method in names), None)


def _state_faults(module: nn.Module) -> list[str]:
    """What would be lost. Hooks may compute the weights from other tensors; they are told alone."""
    return [*_hook_faults(module)] or [*_own_faults(module), *_number_faults(module)]


def _hook_faults(module: nn.Module) -> Iterator[str]:
    hooks = [hook for kind in _HOOKS for hook in getattr(module, kind).values()]
    known = set(old_names_hooks(module))
    hooks = [hook for hook in hooks if getattr(hook, "hook", hook) not in known]
    names = {type(hook).__name__ for hook in hooks}
    if any(isinstance(hook, BasePruningMethod) for hook in hooks):
        yield (
            "is pruned by torch.nn.utils.prune, whose mask would be lost; make it lasting with "
            "torch.nn.utils.prune.remove first"
        )
    elif old := _OLD_NORMS.keys() & names:
        name = _OLD_NORMS[min(old)]
        yield (
            f"has the hooks of the old torch.nn.utils.{name}, which would be lost; use "
            f"torch.nn.utils.parametrizations.{name} in its place"
        )
    elif hooks:
        yield "has hooks, which would be lost; remove them and add them afterwards"


def _own_faults(module: nn.Module) -> Iterator[str]:
    """What it holds beside a weight and a bias."""
    members = {name for name in module._buffers if name.startswith("_members_")}
    own = {
        "Parameter": module._parameters.keys() - {*NAMES},
        "buffer": module._buffers.keys() - (members if isinstance(module, MixedRateConv) else {}),
        "module": module._modules.keys() - {"parametrizations"},
        "parametrisation": _parametrised(module) - {*NAMES},
    }
    for what, names in own.items():
        for name in sorted(names):
            yield (
                f"has a {what} '{name}' of its own, which would be lost; leave it out of the "
                "selection, or keep it in the module around it"
            )


def _number_faults(module: nn.Module) -> Iterator[str]:
    """Weights that no rate can blend, or that do not lie together."""
    weight = first_tensor(module, "weight")
    if not weight.is_floating_point():
        yield (
            f"has weights of {str(weight.dtype).removeprefix('torch.')}, and between pixels only "
            "real numbers can be blended; convert it, or leave it out of the selection"
        )
    if has_bias(module) and (bias := first_tensor(module, "bias")).device != weight.device:
        yield (
            f"has its weight on {weight.device} and its bias on {bias.device}; move it to one of "
            "them"
        )


def _parametrised(module: nn.Module) -> set[str]:
    """Names of the tensors that a parametrisation computes."""
    if not parametrize.is_parametrized(module):
        return set()
    held = module.parametrizations
    assert isinstance(held, nn.ModuleDict)
    return set(held)
