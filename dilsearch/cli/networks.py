"""A user's own network on the data of a space: ``--model``, ``--kwargs``, and whether they fit."""

import copy
import inspect
import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from dilsearch.cli.factories import build_from_factory, find_factory, one_line, parse_kwargs
from dilsearch.errors import ModelError, RunError
from dilsearch.pipeline import Network
from dilsearch.runs import RunFolder
from dilsearch.space import SearchSpace
from dilsearch.space.sections import GIVEN
from dilsearch.training.adapters import described, find_logits

GIVEN_SETTING = f"model.name={GIVEN}"
"""What a space is told where the command line has a network for it."""

_CLASS_ARGUMENTS = ("num_classes", "classes", "n_classes", "nclass", "num_labels", "out_channels")
_CHANNEL_ARGUMENTS = ("in_channels", "in_chans", "num_channels", "channels", "input_channels")
_AXES = {1: "length", 2: "height, width"}


@dataclass(frozen=True, slots=True)
class GivenNetwork:
    """What the command line says of a network.

    Args:
        target: ``package.module:factory``.
        kwargs: JSON object of its arguments.
    """

    target: str
    kwargs: str | None = None

    @classmethod
    def of(cls, model: str | None, kwargs: str | None) -> "GivenNetwork | None":
        """The network that was given, if one was.

        Raises:
            ModelError: If there are arguments for none.
        """
        if model is not None:
            return cls(model, kwargs)
        if kwargs is not None:
            raise ModelError("--kwargs are the arguments of --model, which is missing; give both")
        return None

    @property
    def words(self) -> list[str]:
        """As the command line has them."""
        return ["--model", self.target, *(["--kwargs", self.kwargs] if self.kwargs else [])]

    def maker(self, space: SearchSpace) -> Network:
        """The function that makes the network for a space, and makes sure that it fits its data.

        The factory is called once for each seed; what is handed out are copies, so that a network
        that a module holds stays as it is.
        """
        made: dict[int, nn.Module] = {}

        def network(num_classes: int, seed: int) -> nn.Module:
            if seed not in made:
                kwargs = parse_kwargs(self.kwargs)
                offered = {"num_classes": num_classes}
                model = build_from_factory(
                    self.target, kwargs, seed=seed, need_weights=True, offered=offered
                )
                _require_fit(self.target, kwargs, model, space)
                made[seed] = model
            return copy.deepcopy(made[seed])

        return network


def network_of_run(
    folder: RunFolder, space: SearchSpace, given: GivenNetwork | None
) -> Network | None:
    """What makes the network of a run, if it is none of the built-in ones.

    A folder may come from anywhere, so that its record tells what to type and is never imported.

    Raises:
        RunError: If the run needs a network that was not given, or has one of its own.
    """
    if given is None and space.model.is_given:
        raise RunError(
            f"{folder.path()} trains a network of your own, which every command has to be given; "
            f"add {_recorded_words(folder)}"
        )
    if given is not None and not space.model.is_given:
        raise RunError(
            f"{folder.path()} has the built-in network '{space.model.name}'; leave out --model"
        )
    return None if given is None else given.maker(space)


def require_network(folder: RunFolder, digest: str) -> None:
    """Record the form of a run's network the first time, and insist on the same from then on.

    Raises:
        RunError: If the run was begun with another.
    """
    known = folder.record["hashes"].get("network")
    if known not in (None, digest):
        raise RunError(
            f"{folder.path()} was begun with another network than --model gives now: modules, "
            "their settings, weights or sites differ; give it "
            f"{_recorded_words(folder)}, or start a new run with --out"
        )
    folder.require_hash("network", digest)


def _recorded_words(folder: RunFolder) -> str:
    """The words of a run's command that gave its network."""
    words = shlex.split(str(folder.record.get("command", "")))
    found = [
        word
        for option in ("--model", "--kwargs")
        if option in words[:-1]
        for word in (option, words[words.index(option) + 1])
    ]
    if "--model" not in found:
        return "--model PACKAGE.MODULE:FACTORY"
    return f"{shlex.join(found)}, as its run was begun"


def _require_fit(
    target: str, kwargs: Mapping[str, Any], model: nn.Module, space: SearchSpace
) -> None:
    """Run the network once on an input of the data's shape, and look at what comes out.

    Raises:
        ModelError: If it does not take the input, or gives no scores of the data's classes.
    """
    data, classes = space.data, len(space.data.class_names)
    shape = (2, data.channels, *data.image_px)
    try:
        output = _output(model, shape)
    except Exception as error:  # a user's network may raise anything
        raise ModelError(_does_not_run(target, kwargs, model, shape, data.name, error)) from error
    logits, axes = find_logits(output), _AXES[len(data.image_px)]
    if not isinstance(logits, Tensor):
        raise ModelError(
            f"{target}: the network returns {described(output)}, and there are no scores in it (a "
            "tensor, 'out', 'logits', or the first of a tuple); name a factory whose network "
            "returns them so"
        )
    if logits.ndim != len(shape) or len(logits) != shape[0]:
        raise ModelError(
            f"{target}: the network returns scores of shape {tuple(logits.shape)} for an input of "
            f"shape {shape}, and data '{data.name}' has a label at every position; name a network "
            f"that returns (batch, classes, {axes})"
        )
    if logits.shape[1] != classes:
        name = _argument_named(target, _CLASS_ARGUMENTS)
        fix = f"make it tell {classes} apart"
        fix += "" if name is None else f" with {_as_typed({**kwargs, name: classes})}"
        raise ModelError(
            f"{target}: the network tells {logits.shape[1]} classes apart, and data '{data.name}' "
            f"has {classes}; {fix}"
        )


@torch.no_grad()
def _output(model: nn.Module, shape: tuple[int, ...]) -> Any:
    """What a network returns for zeros, without computing it where it can do without values."""
    try:
        return copy.deepcopy(model).to("meta")(torch.empty(shape, device="meta"))
    except Exception:  # reads values, or is at fault: the CPU will tell which
        return model(torch.zeros(shape))


def _does_not_run(
    target: str,
    kwargs: Mapping[str, Any],
    model: nn.Module,
    shape: tuple[int, ...],
    data: str,
    error: Exception,
) -> str:
    convs = ((name, m) for name, m in model.named_modules() if isinstance(m, _ConvNd))
    name, conv = next(convs, ("", None))
    if conv is not None and conv.in_channels != shape[1]:
        argument = _argument_named(target, _CHANNEL_ARGUMENTS)
        fix = f"make it take {shape[1]}"
        fix += "" if argument is None else f" with {_as_typed({**kwargs, argument: shape[1]})}"
        return (
            f"{target}: its first convolution '{name}' takes inputs of {conv.in_channels} "
            f"channels, and data '{data}' has {shape[1]}; {fix}"
        )
    return (
        f"{target}: the network fails on an input of shape {shape}, as data '{data}' has it: "
        f"{one_line(error)}; correct it, or choose another size with --set"
    )


def _argument_named(target: str, names: tuple[str, ...]) -> str | None:
    """The factory's own word for something, if its signature has one."""
    factory = find_factory(target)
    try:
        parameters = inspect.signature(factory).parameters if callable(factory) else {}
    except (TypeError, ValueError):
        return None
    return next((name for name in names if name in parameters), None)


def _as_typed(kwargs: Mapping[str, Any]) -> str:
    return f"--kwargs {shlex.quote(json.dumps(kwargs))}"
