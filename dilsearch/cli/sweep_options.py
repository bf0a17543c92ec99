"""What ``sweep`` is asked for: which options go together, and what they stand for."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, get_args

from dilsearch.baselines.grid import parse_grid
from dilsearch.baselines.objectives import Objectives
from dilsearch.baselines.samplers import PrunerName
from dilsearch.baselines.storage import shown_url
from dilsearch.cli.session import SpaceOptions
from dilsearch.errors import SweepError
from dilsearch.space import SearchSpace
from dilsearch.space.locate import did_you_mean
from dilsearch.study.choose import parse_seeds

_DEFAULT_SEEDS: Final = "0-2"
_HASH_DIGITS: Final = 8


@dataclass(frozen=True, kw_only=True)
class SweepOptions(SpaceOptions):
    """What ``sweep`` is asked for; what was not given is None or empty."""

    grid: str | None = None
    trials: int | None = None
    total: int | None = None
    seeds: str | None = None
    seed: int | None = None
    objectives: str = "miou"
    pruner: str | None = None
    storage: str | None = None
    study: str | None = None
    workers: int = 1
    give_up: Sequence[int] = ()
    heartbeat_seconds: int = 5
    grace_seconds: int = 15
    out: Path | None = None
    dry_run: bool = False
    worker: bool = False
    quiet: bool = False
    as_json: bool = False

    def check(self) -> None:
        """Find what cannot be asked for together, before anything is read or made.

        Raises:
            SweepError: With every fault found.
        """
        parsed = Objectives.parse(self.objectives)
        if self.grid is not None:
            parse_grid(self.grid)
        _ = self.training_seeds
        faults = [*self._misplaced(), *self._pruner_faults(parsed), *self._number_faults()]
        if faults:
            raise SweepError.from_faults("sweep", faults)

    @property
    def proposes(self) -> bool:
        """Whether Optuna proposes the plans; a grid is tried otherwise."""
        return self.trials is not None

    @property
    def parsed_objectives(self) -> Objectives:
        """What trials are judged by."""
        return Objectives.parse(self.objectives)

    @property
    def training_seeds(self) -> tuple[int, ...]:
        """Seeds that plans are trained with: several on a grid, one otherwise."""
        if self.proposes:
            return (self.seed or 0,)
        return parse_seeds(self.seeds if self.seeds is not None else _DEFAULT_SEEDS)

    @property
    def pruner_name(self) -> str:
        """The pruner that was chosen, or the default: median where trials can be pruned."""
        if self.pruner is not None:
            return self.pruner
        return "median" if self.proposes and self.parsed_objectives.single else "none"

    @property
    def study_total(self) -> int | None:
        """Finished trials that the study is to have; None for all of a grid."""
        return self.total if self.total is not None else self.trials

    @property
    def at_most(self) -> int | None:
        """How many trials this command takes on; None for as many as there are."""
        return self.trials if self.total is not None else None

    def folder(self, space: SearchSpace) -> Path:
        """The run folder of the sweep."""
        return self.out or Path("runs") / self._name(space)

    def study_name(self, space: SearchSpace) -> str:
        """The study's name, which tells sweeps of one storage apart."""
        return self.study or f"{self._name(space)}-{space.hash[:_HASH_DIGITS]}"

    @property
    def shown_storage(self) -> str | None:
        """The storage without its password; None for the folder's own."""
        return None if self.storage is None else shown_url(self.storage)

    def words(self, out: Path) -> list[str]:
        """The command line, without where its data lies and what it runs on.

        Args:
            out: The run folder.
        """
        given: dict[str, object | None] = {
            "--out": out,
            "--grid": self.grid,
            "--trials": self.trials,
            "--total": self.total,
            "--seeds": self.seeds,
            "--seed": self.seed,
            "--objectives": self.objectives if self.objectives != "miou" else None,
            "--pruner": self.pruner,
            "--storage": self.shown_storage,
            "--study": self.study,
            "--workers": self.workers if self.workers != 1 else None,
            "--heartbeat": self.heartbeat_seconds if self.heartbeat_seconds != 5 else None,
            "--grace": self.grace_seconds if self.grace_seconds != 15 else None,
        }
        words = ["dilsearch", "sweep", self.space]
        for option, value in given.items():
            words += [option, str(value)] if value is not None else []
        return words + self.space_words

    def worker_words(self, out: Path, number: int, workers: int) -> list[str]:
        """The command line of one of several workers that this command starts.

        The storage is not in it: a password would be read by everybody on the machine.

        Args:
            out: The run folder.
            number: Which of them, from 0 on.
            workers: How many there are.
        """
        share = self.trials
        if self.at_most is not None:
            share = len(range(number, self.at_most, workers))
        alone = replace(self, workers=1, trials=share, storage=None)
        return [*alone.words(out), *self.place_words, "--worker", "--quiet"]

    def _name(self, space: SearchSpace) -> str:
        return f"{space.name}-tpe-seed{self.seed or 0}" if self.proposes else f"{space.name}-grid"

    def _misplaced(self) -> Iterator[str]:
        if not self.proposes:
            if self.total is not None:
                yield "--total counts proposed trials, and a grid has its own number; add --trials"
            if self.seed is not None:
                yield "--seed belongs to --trials; a grid is trained with each of --seeds"
            return
        if self.grid is not None:
            yield (
                "--grid and --trials exclude each other: fields are tried from a list, or plans "
                "are proposed; leave one out"
            )
        if self.seeds is not None:
            yield (
                "--seeds belongs to a grid; proposed plans are all trained with one seed, so that "
                "equal plans give equal results; give --seed"
            )

    def _pruner_faults(self, objectives: Objectives) -> Iterator[str]:
        if self.pruner is None:
            return
        names = get_args(PrunerName)
        if self.pruner not in names:
            hint = did_you_mean(self.pruner, names)
            yield f"there is no pruner '{self.pruner}'{hint}; give one of {', '.join(names)}"
        elif self.pruner != "none" and not self.proposes:
            yield f"--pruner {self.pruner} belongs to --trials; a grid is trained to its end"
        elif self.pruner != "none" and not objectives.single:
            yield (
                f"--pruner {self.pruner} judges by one objective, and there are "
                f"{len(objectives.names)} ({objectives}); leave it out"
            )

    def _number_faults(self) -> Iterator[str]:
        if self.total is not None and self.trials is not None:
            if self.total < self.trials:
                yield (
                    f"--trials {self.trials} is more than the {self.total} of --total; --trials "
                    "is the share of this command, so give at most the total"
                )
            if self.trials < self.workers:
                yield (
                    f"--workers {self.workers} are more than the {self.trials} trials that they "
                    "share; start fewer"
                )
        if self.grace_seconds < 2 * self.heartbeat_seconds:
            yield (
                f"--grace {self.grace_seconds} s is less than two heartbeats of "
                f"{self.heartbeat_seconds} s, so that living workers would count as dead; give "
                f"{2 * self.heartbeat_seconds} or more"
            )
