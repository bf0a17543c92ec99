"""Which convolutions are meant: by glob over module paths, by kernel, or by a predicate."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TypeAlias, TypeVar, get_args

from torch import nn
from torch.nn.modules.conv import _ConvNd

from dilsearch.layers import BranchConv2d, MixedRateConv, RelaxedConv
from dilsearch.sites import Granularity, Kernel
from dilsearch.surgery.site_faults import is_quantised
from dilsearch.tracing.wrappers import plain_path

Predicate: TypeAlias = Callable[[str, nn.Module], bool]
Selector: TypeAlias = str | Kernel | Predicate
"""A glob (``fnmatch`` on the whole module path), taps, or ``(name, module) -> bool``."""

Key = TypeVar("Key", bound=Selector)
"""So that a mapping whose keys are all globs, or all predicates, will do."""

_SHOWN = 6


@dataclass(frozen=True)
class Named:
    """A module with its names.

    Args:
        name: The first path that leads to it, without the parts of wrappers.
        aliases: Every such path; a shared module has several.
        module: The module.
    """

    name: str
    aliases: tuple[str, ...]
    module: nn.Module

    @property
    def is_candidate(self) -> bool:
        """Whether a selector can mean it: a convolution with taps to move, of whatever kind."""
        known = isinstance(self.module, _ConvNd | BranchConv2d | MixedRateConv | RelaxedConv)
        return (known or is_quantised(self.module)) and max(self.taps) > 1

    @property
    def taps(self) -> tuple[int, ...]:
        """Taps of a convolution along its axes."""
        taps = self.module.kernel_size
        assert isinstance(taps, tuple)
        return taps


@dataclass(frozen=True)
class Chosen:
    """A selected convolution.

    Args:
        named: The convolution.
        granularity: What may vary there.
    """

    named: Named
    granularity: Granularity


def select(model: nn.Module, sites: Mapping[Key, Granularity]) -> tuple[list[Chosen], list[str]]:
    """The selected convolutions in module order, and what is wrong with the selectors."""
    if not_said := _what_is_not_said(sites):
        return [], [not_said]
    modules = named_modules(model)
    candidates = [named for named in modules if named.is_candidate]
    chosen: dict[str, tuple[Selector, Chosen]] = {}
    faults = [] if sites else ["no site is selected; give at least one glob"]
    for selector, granularity in sites.items():
        if not isinstance(granularity, get_args(Granularity)):
            faults.append(_no_granularity(selector, granularity))
            continue
        selected, wrong = _selected(selector, modules, candidates)
        faults += wrong
        for named in selected:
            if named.name in chosen:
                faults.append(
                    f"site '{named.name}' is selected by {shown(chosen[named.name][0])} and by "
                    f"{shown(selector)}; let one of them select it"
                )
            else:
                chosen[named.name] = (selector, Chosen(named, granularity))
    return [chosen[named.name][1] for named in candidates if named.name in chosen], faults


def named_modules(model: nn.Module) -> list[Named]:
    """Every module once, in module order, with all paths that lead to it."""
    aliases: dict[int, list[str]] = {}
    modules: dict[int, nn.Module] = {}
    for path, module in model.named_modules(remove_duplicate=False):
        modules.setdefault(id(module), module)
        aliases.setdefault(id(module), []).append(plain_path(path))
    return [
        Named(paths[0], tuple(dict.fromkeys(paths)), modules[key]) for key, paths in aliases.items()
    ]


def shown(selector: object) -> str:
    """A selector as messages call it: ``'layer4.*'``, ``Kernel(3)``, ``predicate is_deep``."""
    if isinstance(selector, str):
        return f"'{selector}'"
    if isinstance(selector, Kernel):
        return f"Kernel({selector.size})"
    if callable(selector):
        return f"predicate {getattr(selector, '__name__', type(selector).__name__)}"
    return repr(selector)


def _selected(
    selector: object, modules: list[Named], candidates: list[Named]
) -> tuple[list[Named], list[str]]:
    """What one selector selects, and why that cannot be used."""
    faults: list[str] = []
    if isinstance(selector, str):
        matched = [named for named in modules if _fits(named, selector)]
    elif isinstance(selector, Kernel):
        matched = [named for named in candidates if selector.matches(named.taps)]
    elif callable(selector):
        matched = list(_approved(selector, candidates, faults))
    else:
        return [], [f"{selector!r} selects nothing; give a glob, a Kernel or a predicate"]
    found = [named for named in matched if named.is_candidate]
    if not found and not faults:
        faults.append(_nothing_selected(selector, matched, candidates))
    return found, faults


def _what_is_not_said(sites: object) -> str:
    """What a selector alone, as the command line takes it, leaves open; empty for a mapping."""
    if isinstance(sites, Mapping):
        return ""
    return (
        f"sites is {sites!r}, which does not say what may vary; give a mapping, such as "
        "{'layer4.*.conv2': PerSite(1, 8)}"
    )


def _no_granularity(selector: object, given: object) -> str:
    return (
        f"{shown(selector)} is given {given!r}, which does not say what may vary; "
        "give PerSite, PerBranch or PerChannel"
    )


def _fits(named: Named, glob: str) -> bool:
    return any(fnmatchcase(path, glob) for path in named.aliases)


def _approved(
    selector: Callable[[str, nn.Module], object], candidates: list[Named], faults: list[str]
) -> Iterator[Named]:
    """The candidates that a predicate says yes to; what goes wrong is added to the faults."""
    for named in candidates:
        try:
            answer = selector(named.name, named.module)
        except Exception as error:  # whatever the user's function raises
            faults.append(
                f"site '{named.name}': {shown(selector)} fails there "
                f"({type(error).__name__}: {error}); correct it"
            )
            continue
        if answer is True:
            yield named
        elif answer is not False:
            faults.append(
                f"site '{named.name}': {shown(selector)} gives {answer!r}; let it give True or "
                "False"
            )


def _nothing_selected(selector: object, matched: list[Named], candidates: list[Named]) -> str:
    if matched:
        first = matched[0]
        return (
            f"{shown(selector)} selects no convolution with two or more taps "
            f"(the first module it matches, '{first.name}', is a {type(first.module).__name__}); "
            "name the convolutions themselves"
        )
    if isinstance(selector, Kernel):
        kernels = Counter("x".join(map(str, named.taps)) for named in candidates)
        listed = ", ".join(f"{kernel} ({count})" for kernel, count in kernels.items()) or "none"
        return (
            f"{shown(selector)} selects no convolution; the kernels with two or more taps are "
            f"{listed}"
        )
    names = ", ".join(f"'{named.name}'" for named in candidates[:_SHOWN]) or "none"
    more = f" and {len(candidates) - _SHOWN} more" if len(candidates) > _SHOWN else ""
    does = "matches no module" if isinstance(selector, str) else "selects no convolution"
    return f"{shown(selector)} {does}; the convolutions with two or more taps are {names}{more}"
