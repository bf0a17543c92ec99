"""Code around a convolution that reads its dilation or padding, and computes with them."""

import functools
import inspect
from collections.abc import Iterator, Sequence
from types import CellType, CodeType, FunctionType, ModuleType
from typing import Any

from torch import nn

from dilsearch.surgery.selection import Named
from dilsearch.tracing.wrappers import plain_path

_READ = frozenset({"dilation", "padding"})
_ENTRIES = ("forward", "__call__")
_NOT_THE_USERS = frozenset({"torch", "dilsearch"})
_LEVELS = 2


def read_sites(model: nn.Module, sites: Sequence[Named]) -> set[str]:
    """Names of sites around which some module reads a ``dilation`` or ``padding`` in ``forward``.

    A parent may pad by hand, by ``(kernel_size - 1) * self.conv.dilation[0]``, as Xception's
    ``fixed_padding`` and many causal convolutions do. In place of such a convolution, a
    ``torch.nn`` one of another dilation, with the padding that keeps the grid, would make the
    parent pad as well: twice. So the layer there must go on saying what the convolution said,
    which ``MixedRateConv`` does.

    The code tells: of every module above the site the ``forward`` is looked at for the two names,
    and so are, two levels deep, the methods and functions that it names; code of torch and of this
    package is left out. Whether a name is meant for another object is not told apart; that costs a
    plainer layer and no more. What is called by way of a data structure is not followed.

    Args:
        model: The model.
        sites: Its sites; where one has several paths, each is looked at.
    """
    readers = [*_readers(model)]
    return {
        site.name
        for site in sites
        if any(_is_above(path, alias) for alias in site.aliases for path in readers)
    }


def _is_above(path: str, site: str) -> bool:
    return site != path and (not path or site.startswith(f"{path}."))


def _readers(model: nn.Module) -> Iterator[str]:
    """Every path that leads to a module whose code names what may be read."""
    for path, module in model.named_modules(remove_duplicate=False):
        if _reads(module):
            yield plain_path(path)


def _reads(module: nn.Module) -> bool:
    seen: set[CodeType] = set()
    functions = [found for name in _ENTRIES for found in _methods(module, name)]
    for _ in range(_LEVELS + 1):
        further: list[FunctionType] = []
        for function in functions:
            if function.__code__ in seen:
                continue
            seen.add(function.__code__)
            names = _names(function.__code__)
            if names & _READ:
                return True
            further += _named_functions(module, function, names)
        functions = further
    return False


@functools.cache
def _names(code: CodeType) -> frozenset[str]:
    """Names of globals and attributes, and words, which ``getattr`` may use; of inner code too."""
    names = {*code.co_names, *(word for word in code.co_consts if isinstance(word, str))}
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            names |= _names(inner)
    return frozenset(names)


def _named_functions(
    module: nn.Module, function: FunctionType, names: frozenset[str]
) -> Iterator[FunctionType]:
    """The user's functions that these names may stand for: its methods, and what it can see."""
    closed = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
    around = {name: cell.cell_contents for name, cell in closed if cell != CellType()}
    seen = {**function.__globals__, **around}
    packages = [value for name in names if isinstance(value := seen.get(name), ModuleType)]
    for name in names | around.keys():
        yield from _methods(module, name)
        for scope in (seen, *map(vars, packages)):
            yield from _function(scope.get(name))


def _methods(module: nn.Module, name: str) -> Iterator[FunctionType]:
    """A method of this name, with those that it overrides and may call."""
    for names in (vars(module), *map(vars, type(module).__mro__)):
        yield from _function(names.get(name))


def _function(value: Any) -> Iterator[FunctionType]:
    """The user's function behind a value, if there is one."""
    if isinstance(value, functools.partial):
        value = value.func
    if isinstance(value, property):
        value = value.fget
    value = getattr(value, "__func__", value)  # of static, class and bound methods
    value = inspect.unwrap(value) if callable(value) else value
    if isinstance(value, FunctionType):
        package = (value.__module__ or "").partition(".")[0]
        if package not in _NOT_THE_USERS:
            yield value
