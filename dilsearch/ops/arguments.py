"""What the caller of a fractional convolution may ask for: checked, and brought into one form."""

from collections.abc import Sequence
from dataclasses import dataclass
from operator import index
from typing import Literal, TypeAlias, get_args

import torch
from torch import Tensor

from dilsearch.errors import OpError
from dilsearch.ops.taps import Axis

PerAxis: TypeAlias = int | Sequence[int]
PaddingMode: TypeAlias = Literal["zeros", "reflect", "replicate", "circular"]
PADDING_MODES: tuple[str, ...] = get_args(PaddingMode)


@dataclass(frozen=True, slots=True)
class Form:
    """A convolution over one, two or three spatial axes, and its words for messages."""

    axes: tuple[str, ...]
    sample: str
    samples: str

    @property
    def name(self) -> str:
        """The function's name."""
        return f"fractional_conv{len(self.axes)}d"

    def error(self, text: str) -> OpError:
        """The fault, naming the function."""
        return OpError(f"{self.name}: {text}")


FORMS = {
    1: Form(("length",), "sequence", "sequences"),
    2: Form(("height", "width"), "image", "images"),
    3: Form(("depth", "height", "width"), "volume", "volumes"),
}


def check_tensors(form: Form, x: Tensor, weight: Tensor, bias: Tensor | None, groups: int) -> None:
    """Refuse images, weights and biases that do not fit together.

    Raises:
        OpError: Naming the first that does not fit.
    """
    count, listed = len(form.axes), ", ".join(form.axes)
    if x.dim() not in (count + 1, count + 2):
        raise form.error(
            f"x has {x.dim()} dimensions, but a batch of {form.samples} has {count + 2} (batch, "
            f"channels, {listed}) and one {form.sample} {count + 1}. Reshape it."
        )
    if weight.dim() != count + 2:
        raise form.error(
            f"weight has {weight.dim()} dimensions, but a {count}-D convolution's has "
            f"{count + 2} (out_channels, in_channels / groups, {listed}). Reshape it."
        )
    given = {"x": x, "weight": weight} | ({} if bias is None else {"bias": bias})
    for name, tensor in given.items():
        if not tensor.is_floating_point():
            raise form.error(
                f"{name} is {_dtype(tensor)}, but blending pixels needs real numbers. "
                "Convert it to a floating-point type."
            )
        if tensor.dtype != x.dtype:
            raise form.error(
                f"{name} is {_dtype(tensor)} but x is {_dtype(x)}. "
                "Convert one of them, or run under autocast."
            )
        if tensor.device != x.device:
            raise form.error(
                f"{name} is on {tensor.device} but x is on {x.device}. Move one of them."
            )
    for name, sizes in (("x", x.shape[-count:]), ("weight", weight.shape)):
        if 0 in sizes:
            raise form.error(
                f"{name} has shape {tuple(given[name].shape)}, but a convolution needs at least "
                "one of everything but images. Leave the call out."
            )
    if not _is_whole(groups) or groups < 1 or weight.shape[0] % groups:
        raise form.error(
            f"groups = {groups} does not divide the {weight.shape[0]} output channels. "
            "Give a number of groups that does."
        )
    channels = x.shape[-count - 1]
    if channels != weight.shape[1] * groups:
        raise form.error(
            f"x has {channels} channels, but weight {tuple(weight.shape)} with groups = {groups} "
            f"takes {weight.shape[1] * groups}. Change either."
        )
    if bias is not None and bias.shape != weight.shape[:1]:
        raise form.error(
            f"bias has shape {tuple(bias.shape)}, but weight has {weight.shape[0]} output "
            "channels. Give one bias for each."
        )


def check_rate(
    form: Form, rate: Tensor, groups: int, in_channels: int, device: torch.device
) -> None:
    """Refuse rates that cannot be dealt out to the channels and axes.

    Raises:
        OpError: If the shape, type or number of rates cannot be.
    """
    if not isinstance(rate, Tensor) or not rate.is_floating_point() or rate.dim() > 2:
        what = (
            f"a {_dtype(rate)} tensor of shape {tuple(rate.shape)}"
            if isinstance(rate, Tensor)
            else f"{rate!r}"
        )
        raise form.error(
            f"rate is {what}, but it must be a floating-point tensor of shape () for one rate, "
            "(branches,) or (in_channels,) for several, or with one more dimension, the axes. "
            "Convert it."
        )
    if rate.device != device:
        raise form.error(f"rate is on {rate.device} but x is on {device}. Move one of them.")
    count = len(form.axes)
    if rate.dim() == 2 and rate.shape[1] != count:
        raise form.error(
            f"rate has shape {tuple(rate.shape)}, but the columns of a table of rates are the "
            f"{count} spatial axes. Give ({rate.shape[0]}, {count})."
        )
    rows = 1 if rate.dim() == 0 else rate.shape[0]
    if rows < 1 or (groups % rows and rows != in_channels):
        raise form.error(
            f"{rows} rates ask for {rows} equal branches of channels, which groups = {groups} "
            f"cannot be divided into, and are not one for each of the {in_channels} input "
            "channels. Give one rate, a number of rates that divides groups, or one for each "
            "input channel."
        )


def read_upper(form: Form, upper: object, rate: Tensor) -> Tensor | None:
    """The upper limits as a tensor that broadcasts to the rates.

    Raises:
        OpError: If it is neither one limit nor one for each rate.
    """
    if upper is None:
        return None
    try:
        limits = torch.as_tensor(upper, dtype=rate.dtype, device=rate.device)
    except (TypeError, ValueError, RuntimeError):
        raise form.error(
            f"upper is {upper!r}, but limits are numbers. Give one number, or one for each rate."
        ) from None
    if limits.dim() and limits.shape != rate.shape:
        raise form.error(
            f"upper has shape {tuple(limits.shape)} for rates of shape {tuple(rate.shape)}. "
            "Give one number, or one for each rate."
        )
    return limits.detach()


def read_axes(
    form: Form,
    x: Tensor,
    weight: Tensor,
    *,
    stride: PerAxis,
    padding: PerAxis | str,
    dilation: PerAxis,
    causal: bool,
) -> tuple[Axis, ...]:
    """The output grid of the convolution replaced, axis by axis.

    Raises:
        OpError: If a setting is impossible or leaves no output.
    """
    strides = _per_axis(form, "stride", stride, least=1)
    dilations = _per_axis(form, "dilation", dilation, least=1)
    taps, sizes = tuple(weight.shape[2:]), tuple(x.shape[-len(form.axes) :])
    paddings = _paddings(form, padding, strides, dilations, taps)
    axes = tuple(
        Axis(size, k, s, p, d, k - 1 if causal else (k - 1) // 2)
        for size, k, s, p, d in zip(sizes, taps, strides, paddings, dilations, strict=True)
    )
    if any(axis.size_out < 1 for axis in axes):
        kernel, image = (" x ".join(map(str, each)) for each in (taps, sizes))
        raise form.error(
            f"no output fits: a {kernel} kernel of dilation {dilations} is larger than the "
            f"{image} {form.sample} padded by {padding!r}. Raise padding."
        )
    return axes


def check_padding_mode(form: Form, padding_mode: str) -> None:
    """Refuse a padding mode that convolutions do not have.

    Raises:
        OpError: If it is none of ``PADDING_MODES``.
    """
    if padding_mode not in PADDING_MODES:
        raise form.error(
            f"padding_mode is {padding_mode!r}, but a convolution's are "
            f"{', '.join(map(repr, PADDING_MODES))}. Give one of these."
        )


def _paddings(
    form: Form,
    padding: PerAxis | str,
    strides: tuple[int, ...],
    dilations: tuple[int, ...],
    taps: tuple[int, ...],
) -> list[tuple[int, int]]:
    if not isinstance(padding, str):
        return [(each, each) for each in _per_axis(form, "padding", padding, least=0)]
    if padding == "valid":
        return [(0, 0)] * len(taps)
    if padding != "same":
        raise form.error(
            f"padding is {padding!r}, but the words it may be are 'same' and 'valid'. "
            "Give one of them or numbers of pixels."
        )
    if any(stride != 1 for stride in strides):
        raise form.error(
            f"padding 'same' has no meaning with stride {strides}. Give the padding in pixels."
        )
    totals = [d * (k - 1) for d, k in zip(dilations, taps, strict=True)]
    return [(total // 2, total - total // 2) for total in totals]  # as torch does: more behind


def _per_axis(form: Form, name: str, value: PerAxis, *, least: int) -> tuple[int, ...]:
    count = len(form.axes)
    values = tuple(value) if isinstance(value, Sequence) else (value,) * count
    if len(values) != count or any(not _is_whole(v) or v < least for v in values):
        several = "one whole number" if count == 1 else "one whole number, or one for each axis,"
        raise form.error(
            f"{name} is {value!r}, but it must be {several} of at least {least}. Correct it."
        )
    return tuple(map(index, values))


def _is_whole(value: object) -> bool:
    """Whether it is an integer of Python's or another library's, and no truth value."""
    return hasattr(value, "__index__") and not isinstance(value, bool | Tensor)


def _dtype(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")
