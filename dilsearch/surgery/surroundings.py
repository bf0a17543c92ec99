"""Where a convolution stands: what around it would go on with the one that was exchanged."""

import functools
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import CellType, FunctionType, MethodType
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
            for held in _modules_in(value, set()):
                if id(held) in names:
                    where = f"'{plain_path(path)}'" if path else "the model"
                    yield (
                        f"site '{names[id(held)]}' is also held by the plain attribute "
                        f"'{attribute}' of {where} ({type(owner).__name__}), which would keep the "
                        "old convolution; hold it in a nn.ModuleList or nn.ModuleDict, or look it "
                        "up in forward"
                    )


def _modules_in(value: Any, seen: set[int]) -> Iterator[nn.Module]:
    """Modules that a value is, is a method of, or holds, however deep."""
    if id(value) in seen:
        return
    seen.add(id(value))
    if isinstance(value, nn.Module):
        yield value
    for held in _held_by(value):
        yield from _modules_in(held, seen)


def _held_by(value: Any) -> Iterable[Any]:
    """What a container, a partial function, a closure or a method holds."""
    match value:
        case nn.Module():
            return ()  # it is asked itself
        case Mapping():
            return (*value.keys(), *value.values())
        case list() | tuple() | set() | frozenset() | deque():
            return value
        case functools.partial():
            return (value.func, *value.args, *value.keywords.values())
        case MethodType():
            return (value.__self__,)
        case FunctionType():
            cells = value.__closure__ or ()
            closed = [cell.cell_contents for cell in cells if cell != CellType()]
            return (*closed, *(value.__defaults__ or ()), *(value.__kwdefaults__ or {}).values())
    return ()


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
