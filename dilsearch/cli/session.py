"""One command's work on one run folder: open it, run stages, report, or say how to go on."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dilsearch.cli.output import show_result
from dilsearch.pipeline import STAGES, Resources, Workbench, run_stages
from dilsearch.progress import Reporter
from dilsearch.report import write_report
from dilsearch.runs import RunFolder
from dilsearch.space import SearchSpace


def all_stages(space: SearchSpace) -> list[str]:
    """Every stage that a space asks for, in order."""
    return [stage for stage in STAGES if stage != "control" or space.control.enabled]


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
    def start(
        cls,
        command: str,
        space_name: str,
        data: Path | None,
        out: Path | None,
        profile: str | None,
        seed: int,
        device: str,
        overrides: Sequence[str],
        resume: bool,
        quiet: bool,
    ) -> "Session":
        """Open a new run folder, or with ``resume`` the one that is there.

        Everything that can be checked is checked before the folder is made.
        """
        space = SearchSpace.load(space_name, profile, overrides)
        resources = Resources(space, data, device)
        device_name, content_hash = resources.device_name, resources.data.content_hash
        path = out or Path("runs") / f"{space.name}-seed{seed}"
        words = ["dilsearch", command, space_name, "--out", str(path), "--seed", str(seed)]
        words += ["--profile", profile] if profile else []
        for override in overrides:
            words += ["--set", override]
        folder = RunFolder.create(
            path,
            command=shlex.join(words),
            space=space.to_toml(),
            seed=seed,
            device=device_name,
            resume=resume,
        )
        folder.require_hash("data", content_hash)
        folder.note_hash("space", space.hash)
        words += ["--data", str(data)] if data else []
        words += ["--device", device] if device != "auto" else []
        bench = Workbench(folder, resources, seed, Reporter(quiet=quiet))
        return cls(bench, shlex.join([*words, "--resume"]))

    @classmethod
    def open(cls, path: Path, data: Path | None, device: str, quiet: bool) -> "Session":
        """Open the folder of a run for one more stage."""
        folder = RunFolder.open(path)
        space = SearchSpace.load(folder.path("space.toml"))
        bench = Workbench(
            folder, Resources(space, data, device), folder.seed, Reporter(quiet=quiet)
        )
        return cls(bench, "the same command")

    def execute(self, stages: Sequence[str], *, force: bool = False) -> None:
        """Run stages; an interrupt says how to go on."""
        try:
            run_stages(self.bench, stages, force=force)
        except KeyboardInterrupt:
            raise KeyboardInterrupt(f"stopped; go on with: {self.resume_command}") from None

    def finish(self, *, as_json: bool, report: bool = True) -> None:
        """Write the report and show the result."""
        path = self.bench.folder.path()
        page = write_report(path) if report else None
        show_result(path, page, self.bench.reporter, as_json=as_json)
