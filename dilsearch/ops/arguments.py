"""What the caller of a fractional convolution may ask for: checked, and brought into one form."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from torch import Tensor

from dilsearch.errors import OpError
from dilsearch.ops.taps import Axis

Pair: TypeAlias = int | Sequence[int]


@dataclass(frozen=True, slots=True)
class Grid:
    """The convolution replaced, without its tensors: both axes and the number of groups."""

    rows: Axis
    columns: Axis
    groups: int


def check_tensors(x: Tensor, weight: Tensor, bias: Tensor | None, groups: int) -> None:
    """Refuse images, weights and biases that do not fit together.

    Raises:
        OpError: Naming the first that does not fit.
    """
    if x.dim() not in (3, 4):
        raise OpError(
            f"fractional_conv2d: x has {x.dim()} dimensions, but a batch of images has 4 (batch, "
            "channels, height, width) and one image 3. Reshape it."
        )
    if weight.dim() != 4:
        raise OpError(
            f"fractional_conv2d: weight has {weight.dim()} dimensions, but a 2-D convolution's has "
            "4 (out_channels, in_channels / groups, height, width). Reshape it."
        )
    given = {"x": x, "weight": weight} | ({} if bias is None else {"bias": bias})
    for name, tensor in given.items():
        if not tensor.is_floating_point():
            raise OpError(
                f"fractional_conv2d: {name} is {_dtype(tensor)}, but blending pixels needs real "
                "numbers. Convert it to a floating-point type."
            )
        if tensor.dtype != x.dtype:
            raise OpError(
                f"fractional_conv2d: {name} is {_dtype(tensor)} but x is {_dtype(x)}. "
                "Convert one of them, or run under autocast."
            )
    height, width = weight.shape[2:]
    if height % 2 == 0 or width % 2 == 0:
        raise OpError(
            f"fractional_conv2d: the kernel is {height} x {width}, but only odd sizes have a "
            "middle tap that stays in place. Use an odd kernel."
        )
    if groups < 1 or weight.shape[0] % groups:
        raise OpError(
            f"fractional_conv2d: groups = {groups} does not divide the {weight.shape[0]} output "
            "channels. Give a number of groups that does."
        )
    if x.shape[-3] != weight.shape[1] * groups:
        raise OpError(
            f"fractional_conv2d: x has {x.shape[-3]} channels, but weight {tuple(weight.shape)} "
            f"with groups = {groups} takes {weight.shape[1] * groups}. Change either."
        )
    if bias is not None and bias.shape != weight.shape[:1]:
        raise OpError(
            f"fractional_conv2d: bias has shape {tuple(bias.shape)}, but weight has "
            f"{weight.shape[0]} output channels. Give one bias for each."
        )


def check_rate(rate: Tensor, upper: object, groups: int) -> None:
    """Refuse rates that cannot be dealt out to the groups.

    Raises:
        OpError: If the shape, type or number of rates, or of their upper limits, cannot be.
    """
    if not isinstance(rate, Tensor) or not rate.is_floating_point() or rate.dim() > 1:
        what = (
            f"a {_dtype(rate)} tensor of shape {tuple(rate.shape)}"
            if isinstance(rate, Tensor)
            else f"{rate!r}"
        )
        raise OpError(
            f"fractional_conv2d: rate is {what}, but it must be a floating-point tensor of shape "
            "() for one rate or (branches,) for one per branch. Convert it."
        )
    branches = rate.numel()
    if branches < 1 or groups % branches:
        raise OpError(
            f"fractional_conv2d: {branches} rates ask for {branches} equal branches of channels, "
            f"which groups = {groups} cannot be divided into. Give one rate, or a number of rates "
            "that divides groups."
        )
    count = _count(upper)
    if count not in (None, branches):
        raise OpError(
            f"fractional_conv2d: upper has {count} values for {branches} rates. "
            "Give one number, or one for each rate."
        )


def read_grid(
    x: Tensor,
    weight: Tensor,
    *,
    stride: Pair,
    padding: Pair | str,
    dilation: Pair,
    groups: int,
    padding_mode: str,
) -> Grid:
    """The output grid of the convolution replaced.

    Raises:
        OpError: If a setting is impossible or leaves no output.
    """
    if padding_mode != "zeros":
        raise OpError(
            f"fractional_conv2d: padding_mode is '{padding_mode}', but only 'zeros' is "
            "understood. Pad the image beforehand and give padding = 0."
        )
    steps = _pair("stride", stride, least=1)
    dilations = _pair("dilation", dilation, least=1)
    taps = (weight.shape[2], weight.shape[3])
    paddings = _paddings(padding, steps, dilations, taps)
    sizes = (x.shape[-2], x.shape[-1])
    rows, columns = map(Axis, sizes, taps, steps, paddings, dilations)
    if rows.size_out < 1 or columns.size_out < 1:
        raise OpError(
            f"fractional_conv2d: no output fits: a {taps[0]} x {taps[1]} kernel of dilation "
            f"{dilations} is larger than the {sizes[0]} x {sizes[1]} image padded by {paddings}. "
            "Raise padding."
        )
    return Grid(rows, columns, groups)


def _paddings(
    padding: Pair | str, strides: tuple[int, int], dilations: tuple[int, int], taps: tuple[int, int]
) -> tuple[int, int]:
    if not isinstance(padding, str):
        return _pair("padding", padding, least=0)
    if padding == "valid":
        return (0, 0)
    if padding != "same":
        raise OpError(
            f"fractional_conv2d: padding is '{padding}', but the words it may be are 'same' and "
            "'valid'. Give one of them or numbers of pixels."
        )
    if strides != (1, 1):
        raise OpError(
            f"fractional_conv2d: padding 'same' has no meaning with stride {strides}. "
            "Give the padding in pixels."
        )
    return ((taps[0] - 1) // 2 * dilations[0], (taps[1] - 1) // 2 * dilations[1])


def _pair(name: str, value: Pair, *, least: int) -> tuple[int, int]:
    pair = tuple(value) if isinstance(value, Sequence) else (value, value)
    if len(pair) != 2 or any(not isinstance(v, int) or v < least for v in pair):
        raise OpError(
            f"fractional_conv2d: {name} is {value!r}, but it must be one whole number of at least "
            f"{least} or a pair of them. Correct it."
        )
    return (pair[0], pair[1])


def _count(upper: object) -> int | None:
    """How many upper limits there are; None if there is one for all, or none."""
    if isinstance(upper, Tensor):
        return upper.numel() if upper.dim() else None
    return len(upper) if isinstance(upper, Sequence) else None


def _dtype(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")
