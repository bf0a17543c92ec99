"""One command's work on one run folder: open it, run stages, report, or say how to go on."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dilsearch.cli.networks import GIVEN_SETTING, GivenNetwork, network_of_run, require_network
from dilsearch.cli.output import show_result
from dilsearch.errors import Interrupted, RunError
from dilsearch.pipeline import STAGES, Resources, Workbench, network_hash, run_stages
from dilsearch.progress import Reporter
from dilsearch.report import write_report
from dilsearch.runs import RUN_FILE, RunFolder
from dilsearch.space import SearchSpace
from dilsearch.space.locate import did_you_mean


def all_stages(space: SearchSpace) -> list[str]:
    """Every stage that a space asks for, in order."""
    return [stage for stage in STAGES if stage != "control" or space.control.enabled]


def chosen_stages(text: str) -> list[str]:
    """The stages of ``--stages``, in the order in which they stand on each other.

    Raises:
        RunError: If one of them is unknown.
    """
    names = [name.strip() for name in text.split(",")]
    unknown = [name for name in names if name not in STAGES]
    if unknown:
        hint = did_you_mean(unknown[0], list(STAGES))
        raise RunError(
            f"--stages {text}: there is no stage '{unknown[0]}'{hint}; "
            f"name some of {', '.join(STAGES)}"
        )
    return [stage for stage in STAGES if stage in names]


@dataclass(frozen=True, kw_only=True)
class SpaceOptions:
    """A space as a command line gives it, and what it is to be trained with."""

    space: str
    data: Path | None
    profile: str | None
    device: str
    overrides: Sequence[str]
    network: GivenNetwork | None = None
    sites: Sequence[str] = ()

    def load_space(self) -> SearchSpace:
        """The resolved space, which says so where the network is the user's own.

        Raises:
            SpaceError: With every fault of the file and of what is laid over it.
        """
        given = () if self.network is None else (GIVEN_SETTING,)
        return SearchSpace.load(
            self.space, self.profile, (*given, *self.overrides), sites=self.sites
        )

    @property
    def space_words(self) -> list[str]:
        """What the command line says of the space, behind its name."""
        words = [*self.network.words] if self.network is not None else []
        for sites in self.sites:
            words += ["--sites", sites]
        words += ["--profile", self.profile] if self.profile else []
        for override in self.overrides:
            words += ["--set", override]
        return words

    @property
    def place_words(self) -> list[str]:
        """What the command line says of this machine: where data lies, and what it runs on."""
        words = ["--data", str(self.data)] if self.data else []
        return words + (["--device", self.device] if self.device != "auto" else [])


@dataclass(frozen=True, kw_only=True)
class RunOptions(SpaceOptions):
    """What ``run`` and ``search`` are asked for."""

    out: Path | None
    seed: int
    resume: bool
    quiet: bool
    stages: str | None = None

    def words(self, command: str, out: Path) -> list[str]:
        """The command line, without where its data lies and what it runs on."""
        words = ["dilsearch", command, self.space, "--out", str(out), "--seed", str(self.seed)]
        words += self.space_words
        return words + (["--stages", self.stages] if self.stages else [])


@dataclass
class Session:
    """A run folder in the hands of a command.

    Args:
        bench: The run's inputs.
        resume_command: What a user types to go on after an interrupt.
    """

    bench: Workbench
    resume_command: str

    @property
    def space(self) -> SearchSpace:
        """The resolved space."""
        return self.bench.space

    @classmethod
    def start(cls, command: str, options: "RunOptions") -> "Session":
        """Open a new run folder, or with ``resume`` the one that is there.

        Everything that can be checked is checked before the folder is made.
        """
        space = options.load_space()
        path = options.out or Path("runs") / f"{space.name}-seed{options.seed}"
        _refuse_sweep(path)
        if not options.resume:
            RunFolder.refuse_occupied(path)
        network = None if options.network is None else options.network.maker(space)
        resources = Resources(space, options.data, options.device, network)
        relaxed = resources.relaxed_network(options.seed)
        device_name, content_hash = resources.device_name, resources.data.content_hash
        words = options.words(command, path)
        folder = RunFolder.create(
            path,
            command=shlex.join(words),
            space=space.to_toml(),
            seed=options.seed,
            device=device_name,
            resume=options.resume,
        )
        folder.require_hash("data", content_hash)
        folder.require_hash("space", space.hash)
        if network is not None:
            require_network(folder, network_hash(relaxed))
        bench = Workbench(folder, resources, options.seed, Reporter(quiet=options.quiet))
        return cls(bench, shlex.join([*words, *options.place_words, "--resume"]))

    @classmethod
    def open(
        cls,
        path: Path,
        given: GivenNetwork | None,
        *,
        data: Path | None,
        device: str,
        quiet: bool,
        words: Sequence[str],
    ) -> "Session":
        """Open the folder of a run for one more stage.

        Args:
            path: The run folder.
            given: Its network, where that is the user's own.
            data: The data folder, if the stage needs one.
            device: The user's word for a device.
            quiet: Show nothing but errors.
            words: The command that a user repeats to go on after an interrupt.
        """
        folder = RunFolder.open(path)
        space = SearchSpace.load(folder.path("space.toml"))
        folder.require_hash("space", space.hash)
        network = network_of_run(folder, space, given)
        resources = Resources(space, data, device, network)
        if network is not None:
            require_network(folder, network_hash(resources.relaxed_network(folder.seed)))
        bench = Workbench(folder, resources, folder.seed, Reporter(quiet=quiet))
        return cls(bench, shlex.join(words))

    def execute(self, stages: Sequence[str], *, force: bool = False) -> None:
        """Run stages; an interrupt says how to go on."""
        try:
            run_stages(self.bench, stages, force=force)
        except KeyboardInterrupt:
            raise Interrupted(f"stopped; go on with: {self.resume_command}") from None

    def finish(self, *, as_json: bool, report: bool = True) -> None:
        """Write the report and show the result."""
        path = self.bench.folder.path()
        page = write_report(path) if report else None
        show_result(path, page, self.bench.reporter, as_json=as_json)


def _refuse_sweep(path: Path) -> None:
    """Refuse the folder of a sweep, whose plan was never searched, to a run.

    Raises:
        RunError: If it is one.
    """
    if (path / RUN_FILE).exists() and "sweep" in RunFolder.open(path).stages:
        raise RunError(
            f"{path} holds a sweep, which 'dilsearch sweep' goes on with. Write elsewhere with "
            "--out."
        )
