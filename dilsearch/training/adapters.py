"""From what loaders give and models return to what a loss takes.

Inputs are passed to a model by one rule, everywhere: a tuple or list as positional arguments, a
mapping as keyword arguments, and anything else as the one argument. What a model returns reaches
the loss as it is, or through a function of the user's own; where neither loss nor function is
given, the logits are looked for, and brought to the size of the labels.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

from dilsearch.data import IGNORE_INDEX
from dilsearch.errors import RunError
from dilsearch.training.losses import cross_entropy

OutputFunction: TypeAlias = Callable[[Any], Any]
"""From what a model returns to what the loss gets."""

BatchFunction: TypeAlias = Callable[[Any], tuple[Any, Any]]
"""From a batch of any form to inputs and target."""

_NAMES = ("out", "logits")  # torchvision's and Hugging Face's words for them
_MODES = {1: "linear", 2: "bilinear", 3: "trilinear"}


def call_model(model: Callable[..., Any], inputs: Any) -> Any:
    """What a model returns: a mapping is its keyword arguments, a tuple or list its positional."""
    if isinstance(inputs, Mapping):
        return model(**inputs)
    if isinstance(inputs, tuple | list):
        return model(*inputs)
    return model(inputs)


def sample_count(inputs: object) -> int:
    """Length of the first tensor with a length in whatever a model is given; 0 without one."""
    if isinstance(inputs, Tensor):
        return len(inputs) if inputs.ndim else 0
    values = inputs.values() if isinstance(inputs, Mapping) else inputs
    if isinstance(values, str | bytes) or not isinstance(values, Iterable):
        return 0
    return next((count for value in values if (count := sample_count(value))), 0)


@dataclass(frozen=True)
class AdaptedLoss:
    """A loss of what a function takes from a model's output.

    Args:
        loss: Of what was taken, and the target.
        output_fn: What takes it.
    """

    loss: Callable[[Any, Any], Tensor]
    output_fn: OutputFunction

    def taken(self, output: Any, target: Any) -> Any:
        """What the loss gets of a model's output."""
        return self.output_fn(output)

    def __call__(self, output: Any, target: Any) -> Tensor:
        """The loss."""
        return self.loss(self.taken(output, target), target)


@dataclass(frozen=True)
class LogitsLoss:
    """A loss of labelled positions, for whatever a model returns: see :func:`logits_for`.

    Args:
        loss: Of logits (batch, classes, ...) and class indices (batch, ...), such as those of
            :func:`dilsearch.training.build_loss`.
        output_fn: Takes the logits from a model's output; None looks for them.
    """

    loss: Callable[[Tensor, Tensor], Tensor] = cross_entropy
    output_fn: OutputFunction | None = None

    def taken(self, output: Any, target: Any) -> Tensor:
        """The logits, one for each label."""
        return logits_for(output, target, self.output_fn)

    def __call__(self, output: Any, target: Any) -> Tensor:
        """The loss.

        Raises:
            RunError: If there are no logits, or the labels do not fit them.
        """
        logits = self.taken(output, target)
        check_labels(target, logits.shape[1])
        return self.loss(logits, target.long())


def logits_for(output: Any, labels: Any, output_fn: OutputFunction | None = None) -> Tensor:
    """The logits in a model's output, one for each label.

    They are the output itself if it is a tensor, or what is called ``out`` or ``logits`` in it, or
    the first of a tuple or list. Logits of another size than the labels are interpolated linearly
    along every axis (``align_corners=False``).

    Args:
        output: What a model returned.
        labels: Class indices (batch, ...), with no, one, two or three sizes behind.
        output_fn: Takes the logits from the output, in place of this search.

    Returns:
        Logits (batch, classes, ...), of the labels' sizes.

    Raises:
        RunError: If there are none, or none that fit the labels.
    """
    logits = find_logits(output) if output_fn is None else output_fn(output)
    if not isinstance(logits, Tensor):
        raise RunError(_no_logits(output, logits, output_fn))
    if not isinstance(labels, Tensor):
        raise RunError(
            f"the target is {described(labels)} and not a tensor of class indices; give a "
            "batch_fn that takes them from the batch, or a loss that knows what to do with it"
        )
    if not logits.is_floating_point() or logits.ndim < 2 or logits.ndim > 5:
        raise RunError(
            f"the model's output is {described(logits)} of {_dtype(logits)}, which are no logits "
            "(batch, classes, ...); give an output_fn that takes the logits from the output"
        )
    if logits.ndim != labels.ndim + 1 or len(logits) != len(labels):
        raise RunError(
            f"logits of shape {tuple(logits.shape)} and labels of shape {tuple(labels.shape)} do "
            "not fit; labels are class indices (batch, ...) for logits (batch, classes, ...), "
            "so give a batch_fn or an output_fn that brings them into that form"
        )
    return _resized(logits, labels.shape[1:])


def find_logits(output: Any) -> Tensor | None:
    """The tensor in a model's output that its names or its place say to be the logits."""
    if output is None or isinstance(output, Tensor):
        return output
    for name in _NAMES:
        held = output.get(name) if isinstance(output, Mapping) else getattr(output, name, None)
        if held is not None:
            return find_logits(held)
    if isinstance(output, tuple | list) and output:
        return find_logits(output[0])
    return None


def check_labels(labels: Tensor, classes: int) -> None:
    """Refuse what are no indices of that many classes, which torch would say in other words.

    Raises:
        RunError: With the largest or smallest label.
    """
    if labels.is_floating_point() or labels.is_complex():
        raise RunError(
            f"the labels are {_dtype(labels)} numbers and not class indices; give them as "
            "integers, or a loss of your own"
        )
    if not labels.numel():
        return
    indices = labels.long()
    extremes = torch.aminmax(torch.where(indices == IGNORE_INDEX, 0, indices))
    least, most = torch.stack(extremes).tolist()  # one look at the device
    if least < 0 or most >= classes:
        raise RunError(
            f"there is a label {least if least < 0 else most}, and the logits are of {classes} "
            f"{'class' if classes == 1 else 'classes'} ({IGNORE_INDEX} is ignored); give the model "
            "as many as the labels have, labels of those classes only, or a loss of your own"
        )


def described(value: object) -> str:
    """What a value is, in words for a message: its type, and what it holds."""
    kind = type(value).__name__
    if isinstance(value, Tensor):
        return f"a {kind} of shape {tuple(value.shape)}"
    if isinstance(value, Mapping):
        return _listed(f"a {kind}", [f"{key!r} ({_kind(held)})" for key, held in value.items()])
    if isinstance(value, tuple | list):
        return _listed(f"a {kind} of {len(value)}", [_kind(held) for held in value])
    fields = [f".{name} ({_kind(held)})" for name, held in _fields(value) if name[0] != "_"]
    return _listed(f"a {kind}", fields) if fields else f"a {kind}"


def _resized(logits: Tensor, size: torch.Size) -> Tensor:
    if logits.shape[2:] == size:
        return logits
    if logits.dtype in (torch.bfloat16, torch.float16):
        logits = logits.float()  # the weights of the interpolation need more than 8 bits
    mode = _MODES[logits.ndim - 2]
    return F.interpolate(logits, size=size, mode=mode, align_corners=False)


def _no_logits(output: object, taken: object, output_fn: OutputFunction | None) -> str:
    if output_fn is not None:
        return (
            f"output_fn made {described(taken)} of the model's output, and not the tensor of "
            "logits (batch, classes, ...) that the cross-entropy takes; return that, or give a "
            "loss of your own"
        )
    return (
        f"the model's output is {described(output)}, and there are no logits in it (a tensor, "
        "'out', 'logits', or the first of a tuple); give an output_fn that takes them from it"
    )


def _fields(value: object) -> list[tuple[str, object]]:
    return list(vars(value).items()) if hasattr(value, "__dict__") else []


def _listed(what: str, parts: list[str]) -> str:
    shown = ", ".join(parts[:8]) + (f" and {len(parts) - 8} more" if len(parts) > 8 else "")
    return f"{what}: {shown}" if shown else f"{what}, empty"


def _kind(value: object) -> str:
    return type(value).__name__


def _dtype(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")
