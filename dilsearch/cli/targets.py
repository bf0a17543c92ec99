"""What ``analyze`` is pointed at: a space, a run, a plan, a program, or a factory in Python."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from dilsearch.cli.factories import (
    FACTORY_EXAMPLE,
    INPUT_EXAMPLE,
    build_from_factory,
    parse_inputs,
    parse_kwargs,
)
from dilsearch.cli.programs import (
    PROGRAM_SUFFIX,
    load_program,
    program_inputs,
    program_module,
)
from dilsearch.errors import TraceError
from dilsearch.plan import DilationPlan
from dilsearch.runs import RUN_FILE, SPACE_FILE
from dilsearch.space import SearchSpace, list_spaces
from dilsearch.space.locate import SUFFIX as SPACE_SUFFIX
from dilsearch.space.locate import did_you_mean

if TYPE_CHECKING:
    from dilsearch.cli.networks import GivenNetwork
    from dilsearch.cli.searched import Searched

PLAN_SUFFIX = ".json"
_Kind: TypeAlias = Literal["space", "run", "plan", "program", "factory"]
_KIND_OF_FILE: dict[str, _Kind] = {
    SPACE_SUFFIX: "space",
    PROGRAM_SUFFIX: "program",
    PLAN_SUFFIX: "plan",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A network to be analysed.

    Args:
        model: A module in evaluation mode, maybe on the meta device, or an exported program.
        example: Its inputs on the meta device; None for a program, which knows them.
        label: What it is, in words.
        weights: Where its weights come from, in words.
        outputs: Where its field is read unless a user says otherwise; empty for its outputs.
        plan: Rates that count instead of those that its modules compute with; None for these.
        needed_px: Field that its task asks for; None where the size of the input says.
    """

    model: nn.Module | ExportedProgram
    example: tuple[Tensor, ...] | None
    label: str
    weights: str
    outputs: tuple[str, ...] = ()
    plan: DilationPlan | None = None
    needed_px: int | None = None

    def runnable(self) -> tuple[nn.Module, tuple[Tensor, ...]]:
        """The network as a module, and inputs of zeros on the CPU, to run it."""
        if isinstance(self.model, ExportedProgram):
            return program_module(self.model), program_inputs(self.model)
        assert self.example is not None  # all but programs come with one
        return self.model, tuple(torch.zeros(tensor.shape) for tensor in self.example)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Words:
    """What was said beside the target."""

    kwargs: str | None
    input_shapes: Sequence[str]
    need_weights: bool
    model: str | None
    profile: str | None
    overrides: Sequence[str]
    seed: int

    def refuse(self, target: str, *options: str) -> None:
        """Refuse options that a kind of target has no use for.

        Raises:
            TraceError: If one of them was given.
        """
        given = {
            "--kwargs": self.kwargs is not None,
            "--input": bool(self.input_shapes),
            "--model": self.model is not None,
            "--profile": self.profile is not None,
            "--set": bool(self.overrides),
        }
        uses = {
            "--kwargs": "belongs to a package.module:factory",
            "--input": "is not needed, since a program holds the shapes of its inputs",
            "--model": "belongs to a plan file, which does not know its network, and is a factory "
            "where a space or run leaves its own open",
            "--profile": "belongs to a search space",
            "--set": "belongs to a search space",
        }
        for option in options:
            if given[option]:
                raise TraceError(f"{target}: {option} {uses[option]}; leave it out")


def open_target(
    target: str,
    *,
    kwargs: str | None = None,
    input_shapes: Sequence[str] = (),
    need_weights: bool = False,
    model: str | None = None,
    profile: str | None = None,
    overrides: Sequence[str] = (),
    seed: int = 0,
) -> Target:
    """Find out what a target is, and make its network ready.

    What exists on the disk comes first: a run folder, a ``.toml`` space, a ``.pt2`` program, a
    ``.json`` plan. Then ``package.module:factory``, then the names of spaces. A folder that holds
    no run does not hide a space of its name.

    Args:
        target: What the user wrote.
        kwargs: JSON object of a factory's arguments.
        input_shapes: Shapes of the inputs, as in ``1,3,512,1024``; needed for a factory.
        need_weights: Whether the values of weights count, so that they are made or read.
        model: The network of a plan that lies in no run folder: a space, a run or a factory; or
            the factory of a space or run that leaves its network open.
        profile: Profile of a space.
        overrides: Settings of a space.
        seed: Seed of weights that are not read from a file.

    Raises:
        DilsearchError: In one sentence, if there is no such target, it is damaged, or it cannot
            be used with these options.
    """
    words = _Words(
        kwargs=kwargs,
        input_shapes=input_shapes,
        need_weights=need_weights,
        model=model,
        profile=profile,
        overrides=overrides,
        seed=seed,
    )
    parse_inputs(input_shapes)  # told first, whatever the target is
    kind = _kind_of(target)
    if kind == "plan":
        return _of_plan(Path(target), words)
    if kind == "factory":
        words.refuse(target, "--model")
        return _of_factory(target, words)
    if kind == "program":
        words.refuse(target, "--model")
        return _of_program(Path(target), words)
    given = _given(target, words)
    if kind == "space":
        return _of_space(target, words, given=given)
    return _of_run(Path(target), words, given=given)


def _kind_of(target: str) -> _Kind:
    """What a target is, by the order that ``open_target`` promises.

    Raises:
        TraceError: If it is nothing of all that.
    """
    path = Path(target)
    names = [entry.name for entry in list_spaces()]
    if path.is_dir() and ((path / RUN_FILE).is_file() or target not in names):
        return "run"
    if path.is_file():
        if path.suffix in _KIND_OF_FILE:
            return _KIND_OF_FILE[path.suffix]
        raise TraceError(
            f"{path} is a file of no known kind; give a space ({SPACE_SUFFIX}), a program of "
            f"torch.export ({PROGRAM_SUFFIX}) or a plan ({PLAN_SUFFIX})"
        )
    if ":" in target:
        return "factory"
    if target in names or target.endswith(SPACE_SUFFIX):
        return "space"
    if path.suffix in _KIND_OF_FILE or "/" in target or "\\" in target:
        raise TraceError(f"there is no file or folder {target}; give the path of one")
    module, _, last = target.rpartition(".")
    factory = f"{module}:{last}" if module else FACTORY_EXAMPLE
    raise TraceError(
        f"'{target}' is no file or folder, and no search space has that name"
        f"{did_you_mean(target, names)}; give one of {', '.join(names)}, a run folder, a plan, a "
        f"{PROGRAM_SUFFIX} program, or a factory written as in {factory}"
    )


def _of_space(
    name: str,
    words: _Words,
    plan_path: Path | None = None,
    given: "GivenNetwork | None" = None,
) -> Target:
    from dilsearch.cli.searched import from_space  # takes seconds, which others need not wait for

    found = from_space(
        name,
        words.profile,
        words.overrides,
        seed=words.seed,
        plan_path=plan_path,
        given=given,
    )
    return _of_searched(found, words)


def _of_run(
    path: Path,
    words: _Words,
    plan_path: Path | None = None,
    given: "GivenNetwork | None" = None,
) -> Target:
    from dilsearch.cli.searched import from_run  # as above

    words.refuse(str(path), "--profile", "--set")
    found = from_run(
        path,
        need_weights=words.need_weights,
        plan_path=plan_path,
        given=given,
    )
    return _of_searched(found, words)


def _given(target: str, words: _Words) -> "GivenNetwork | None":
    """The network of a space or run that leaves it open: a factory, as their own commands take."""
    from dilsearch.cli.networks import GivenNetwork  # as above

    if words.model is None:
        words.refuse(target, "--kwargs")
        return None
    if _kind_of(words.model) != "factory":
        words.refuse(target, "--model")
    return GivenNetwork(words.model, words.kwargs)


def _of_searched(found: "Searched", words: _Words) -> Target:
    """The field is read where runs and reports read it: behind the last searched site."""
    trained = (torch.empty(found.input_shape, device="meta"),)
    return Target(
        model=found.model.eval(),
        example=parse_inputs(words.input_shapes) or trained,
        label=found.label,
        weights=found.weights,
        outputs=(list(found.plan)[-1],),
        needed_px=found.needed_px,
    )


def _of_plan(path: Path, words: _Words) -> Target:
    """A plan in its run folder, or with a network given beside it."""
    plan = DilationPlan.load(path)
    if words.model is None:
        if (path.parent / RUN_FILE).is_file():
            return _of_run(path.parent, words, path)
        raise TraceError(
            f"{path} lies in no run folder, and a plan does not know its network; name a space, a "
            "run or a factory with --model"
        )
    kind, network = _kind_of(words.model), words.model
    if kind in ("space", "run"):
        words.refuse(network, "--kwargs")
        if kind == "space":
            return _of_space(network, words, path)
        return _of_run(Path(network), words, path)
    if kind == "factory" and _leaves_network_open(path.parent):
        return _of_run(path.parent, words, path, _given(str(path), words))
    if kind == "factory":
        given = _of_factory(network, words)
        return replace(given, label=f"{given.label}, rates of {path}", plan=plan)
    raise TraceError(
        f"--model {network} is a {kind}, and no network that takes a plan; name a space, a run or "
        "a package.module:factory"
    )


def _leaves_network_open(folder: Path) -> bool:
    """Whether a folder holds a run that every command gives its network to."""
    if not (folder / RUN_FILE).is_file():
        return False
    return SearchSpace.load(folder / SPACE_FILE).model.is_given


def _of_program(path: Path, words: _Words) -> Target:
    words.refuse(str(path), "--kwargs", "--input", "--profile", "--set")
    return Target(
        model=load_program(path),
        example=None,
        label=f"program {path}",
        weights="those of the program",
    )


def _of_factory(target: str, words: _Words) -> Target:
    words.refuse(target, "--profile", "--set")
    kwargs = parse_kwargs(words.kwargs)
    if not words.input_shapes:
        raise TraceError(
            f"{target}: the shape of its input is not known; give it as in {INPUT_EXAMPLE}, "
            "once for each input"
        )
    example = parse_inputs(words.input_shapes)
    model = build_from_factory(target, kwargs, seed=words.seed, need_weights=words.need_weights)
    return Target(
        model=model,
        example=example,
        label=target,
        weights=f"those of the factory, seed {words.seed}",
    )
