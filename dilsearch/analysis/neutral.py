"""A mode in which a network becomes a positive linear map, so that a gradient shows what it sees.

Under it every function of the input is exchanged for a linear one with coefficients that are never
negative: whatever depends on a pixel keeps a gradient to it, nothing saturates and nothing cancels.
Which tensors depend on the input is told by ``requires_grad``. Sums over the whole image are cut:
global context is no part of a field of view.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from dilsearch.analysis.neutral_axes import carries, follow_axes, keep_axes, tensors_in
from dilsearch.analysis.neutral_maps import (
    adaptive_pool,
    average_pool,
    blocks_of,
    convolution,
    interpolation,
    max_pool,
)
from dilsearch.analysis.neutral_mixing import (
    attention,
    channel_mix,
    concatenation,
    einsum,
    gated_halves,
    layer_norm,
    linear,
    product,
    reduction,
    softmax,
    unite,
    unite_in_place,
)
from dilsearch.errors import TraceError

Rule = Callable[..., Any]

# Of one map, pixel by pixel: the identity. Norms with statistics over space are here, too.
_POINTWISE = frozenset(
    """
    relu relu6 leaky_relu prelu rrelu elu selu celu gelu silu mish sigmoid logsigmoid log_sigmoid
    hardsigmoid hardswish hardtanh hardshrink softshrink tanhshrink softplus softsign tanh threshold
    _threshold
    clamp clip clamp_min clamp_max abs absolute neg negative positive exp exp2 expm1 log log2 log10
    log1p sqrt rsqrt square reciprocal sin cos tan asin acos atan arctan sinh cosh asinh acosh atanh
    erf erfc erfinv expit logit round floor ceil trunc fix frac sign sgn sinc i0 nan_to_num
    dropout dropout1d dropout2d dropout3d alpha_dropout feature_dropout feature_alpha_dropout
    batch_norm group_norm instance_norm clone
    __neg__ __pos__ __abs__
    """.split()
)
# Nothing but another view or type of the same map, which must stay the same tensor.
_SAME = frozenset(
    """
    detach detach_ data requires_grad_ contiguous alias to float double half bfloat16 type type_as
    int long cpu
    """.split()
)
# Of several maps, pixel by pixel: the sum of those that depend on the input.
_UNITING = frozenset(
    """
    add sub subtract rsub mul multiply div divide true_divide floor_divide fmod remainder pow
    float_power maximum minimum fmax fmin where lerp addcmul addcdiv atan2 arctan2 hypot logaddexp
    logaddexp2 masked_fill xlogy copysign dist_add
    """.split()
) | {
    f"__{kind}{name}__"
    for kind in ("", "r")
    for name in ("add", "sub", "mul", "div", "truediv", "floordiv", "mod", "pow")
}
_UNITING_IN_PLACE = frozenset(
    f"__i{name}__" for name in ("add", "sub", "mul", "div", "truediv", "floordiv", "mod", "pow")
)
# Moves pixels about; the axes may change places.
_MOVING = frozenset(
    """
    view reshape permute transpose swapaxes swapdims movedim moveaxis t adjoint T mT H mH flatten
    ravel unflatten squeeze unsqueeze expand expand_as view_as reshape_as select unbind stack
    __getitem__ repeat tile broadcast_to atleast_3d diagonal
    """.split()
)
# Moves pixels about, or sums them with positive weights; the axes keep their places.
_KEEPING = frozenset(
    """
    chunk split split_with_sizes tensor_split unsafe_chunk unsafe_split
    narrow index_select gather take_along_dim roll flip fliplr flipud repeat_interleave pad
    pixel_shuffle pixel_unshuffle channel_shuffle native_channel_shuffle cumsum __setitem__ copy_
    index_copy index_add index_fill scatter scatter_add masked_scatter triu tril constant_pad_nd
    """.split()
)
_REDUCTIONS = frozenset(
    """
    mean sum nanmean nansum amax amin max min prod std var norm vector_norm logsumexp median
    argmax argmin
    """.split()
)
_RULES: dict[str, Rule] = {
    **dict.fromkeys(("cat", "concat", "concatenate"), concatenation),
    **{f"conv{axes}d": convolution for axes in (1, 2, 3)},
    **{f"conv_transpose{axes}d": convolution for axes in (1, 2, 3)},
    **{f"max_pool{axes}d": max_pool for axes in (1, 2, 3)},
    **{f"max_pool{axes}d_with_indices": max_pool for axes in (1, 2, 3)},
    **{f"adaptive_max_pool{axes}d_with_indices": adaptive_pool for axes in (1, 2, 3)},
    **{f"avg_pool{axes}d": average_pool for axes in (1, 2, 3)},
    **{f"adaptive_{kind}_pool{n}d": adaptive_pool for kind in ("max", "avg") for n in (1, 2, 3)},
    **dict.fromkeys(("interpolate", "upsample"), interpolation),
    **dict.fromkeys(("unfold", "fold"), blocks_of),
    **dict.fromkeys(("softmax", "log_softmax", "softmin", "gumbel_softmax"), softmax),
    **dict.fromkeys(("layer_norm", "rms_norm"), layer_norm),
    **dict.fromkeys(("normalize", "local_response_norm", "softmax2d"), channel_mix),
    **dict.fromkeys(("matmul", "bmm", "mm", "__matmul__", "__rmatmul__"), product),
    **dict.fromkeys(_REDUCTIONS, reduction),
    **dict.fromkeys(("scaled_dot_product_attention", "multi_head_attention_forward"), attention),
    "linear": linear,
    "glu": gated_halves,
    "einsum": einsum,
}

# Set while a checkpoint runs. Torch keeps it to itself, and may do without.
_SAVED_TENSORS_HOOKS = getattr(torch._C._autograd, "_top_saved_tensors_default_hooks", None)


class NeutralMode(TorchFunctionMode):
    """Exchanges every function that a tensor depending on the input passes through.

    Raises:
        TraceError: At a function that has no rule.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Run the function, or what stands for it."""
        kwargs = kwargs or {}
        name = name_of(func)
        if name == "_set_grad_enabled":
            return None  # what a network computes without gradients is seen all the same
        if not any(carries(tensor) for tensor in tensors_in((args, kwargs))):
            return _constant(name, func, args, kwargs)
        return _exchanged(name, func, args, kwargs)


def name_of(func: Callable[..., Any]) -> str:
    """What a function is called, as method, operator, property or overload alike."""
    name = str(getattr(func, "__name__", type(func).__name__)).split(".")[0]
    if name == "__get__":
        name = str(getattr(getattr(func, "__self__", None), "__name__", name))
    return name


def _constant(
    name: str, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    """What does not depend on the input is computed as it is, in the one precision of the copy."""
    if _RULES.get(name) in (convolution, linear, product):
        args = tuple(_as_double(value) for value in args)
        kwargs = {key: _as_double(value) for key, value in kwargs.items()}
    return func(*args, **kwargs)


def _as_double(value: Any) -> Any:
    return value.double() if isinstance(value, Tensor) and value.is_floating_point() else value


def _exchanged(
    name: str, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    if _SAVED_TENSORS_HOOKS is not None and _SAVED_TENSORS_HOOKS(True) is not None:
        # what is run again on the way back would be the network itself
        raise TraceError(
            f"what the input's pixels do in '{name}' cannot be measured, because it is to run "
            "again on the way back; switch the checkpointing of activations off"
        )
    plain = name.removesuffix("_") if not name.startswith("__") else name
    if name in _UNITING_IN_PLACE or (plain != name and plain in _UNITING):
        return unite_in_place(args, kwargs)
    if plain in _UNITING or (plain in ("max", "min") and _has_two_maps(args, kwargs)):
        return unite(args, kwargs)
    if plain in _POINTWISE or (name in _SAME and not (name == "type" and len(args) == 1)):
        x = args[0] if args else kwargs["input"]
        return x if plain != name or name in _SAME else keep_axes(x, x.clone())
    if plain in _RULES:
        return _RULES[plain](func, name, args, kwargs)
    if plain in _MOVING:
        return follow_axes(func, args, kwargs)
    if plain in _KEEPING or name in _KEEPING:
        source = next(tensor for tensor in tensors_in((args, kwargs)) if carries(tensor))
        result = func(*args, **kwargs)
        keep_axes(source, args[0] if result is None else result)  # None if it wrote to the first
        return result
    return _about_maps(name, func, args, kwargs)


def _about_maps(
    name: str, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    """What says something about a map and holds no pixel of it, as its size or a comparison."""
    refusal = TraceError(
        f"what the input's pixels do in '{name}' cannot be measured, because there is no rule "
        "for that function; measure a part of the network without it"
    )
    try:
        result = func(*args, **kwargs)
    except RuntimeError as fault:  # which would be about the stand-in, not about the network
        raise refusal from fault
    if any(carries(tensor) for tensor in tensors_in(result)):
        raise refusal
    return result


def _has_two_maps(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    return isinstance(kwargs.get("other", args[1] if len(args) > 1 else None), Tensor)
