"""Where a convolution stands: what around it would go on with the one that was exchanged."""

from collections.abc import Iterator, Sequence
from typing import Any

from torch import nn

from dilsearch.surgery.selection import Named
from dilsearch.tracing.wrappers import is_compiled, is_distributed, plain_path


def surrounding_faults(model: nn.Module, sites: Sequence[Named]) -> list[str]:
    """Why these convolutions cannot be exchanged where they stand: none if they can."""
    return [*_held_elsewhere(model, sites), *_inside_wrappers(model, sites)]


def _held_elsewhere(model: nn.Module, sites: Sequence[Named]) -> Iterator[str]:
    """Sites that a plain attribute holds beside ``named_children``, as in a list of modules."""
    names = {id(site.module): site.name for site in sites}
    for path, owner in model.named_modules():
        if is_compiled(owner):
            continue  # holds what it compiled, and is made anew
        for attribute, value in vars(owner).items():
            if attribute == "_modules":
                continue
            for held in _modules_in(value):
                if id(held) in names:
                    where = f"'{plain_path(path)}'" if path else "the model"
                    yield (
                        f"site '{names[id(held)]}' is also held by the plain attribute "
                        f"'{attribute}' of {where} ({type(owner).__name__}), which would keep the "
                        "old convolution; hold it in a nn.ModuleList or nn.ModuleDict, or look it "
                        "up in forward"
                    )


def _modules_in(value: Any) -> list[nn.Module]:
    """Modules that a value is, holds, or is a method of."""
    match value:
        case dict():
            held = list(value.values())
        case list() | tuple() | set() | frozenset():
            held = list(value)
        case _:
            held = [value]
    owners = [getattr(one, "__self__", one) if callable(one) else one for one in held]
    return [one for one in owners if isinstance(one, nn.Module)]


def _inside_wrappers(model: nn.Module, sites: Sequence[Named]) -> Iterator[str]:
    for path, wrapper in model.named_modules():
        if is_distributed(wrapper):
            inside = {id(module) for module in wrapper.modules()}
            for site in sites:
                if id(site.module) in inside:
                    yield (
                        f"site '{site.name}' lies in the {type(wrapper).__name__} "
                        f"'{plain_path(path)}', which would not know of its rate; wrap it after "
                        "relaxing"
                    )
