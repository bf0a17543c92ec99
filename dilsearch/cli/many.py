"""The commands that are about many runs at once, registered beside those that make one."""

from pathlib import Path
from typing import Annotated

import typer

from dilsearch.cli.options import (
    DataOption,
    DeviceOption,
    GiveUpOption,
    GraceOption,
    GridOption,
    HeartbeatOption,
    JsonOption,
    KwargsOption,
    NetworkOption,
    ObjectivesOption,
    ProfileOption,
    PrunerOption,
    QuietOption,
    SamplerSeedOption,
    SeedsOption,
    SetOption,
    SitesOption,
    SpaceName,
    StorageOption,
    StudyOption,
    SweepOutOption,
    TotalOption,
    TrialsOption,
    WorkerOption,
    WorkersOption,
)


def sweep(
    space: SpaceName,
    grid: GridOption = None,
    trials: TrialsOption = None,
    total: TotalOption = None,
    seeds: SeedsOption = None,
    seed: SamplerSeedOption = None,
    objectives: ObjectivesOption = "miou",
    pruner: PrunerOption = None,
    storage: StorageOption = None,
    study: StudyOption = None,
    workers: WorkersOption = 1,
    give_up: GiveUpOption = None,
    heartbeat: HeartbeatOption = 5,
    grace: GraceOption = 15,
    model: NetworkOption = None,
    kwargs: KwargsOption = None,
    sites: SitesOption = None,
    data: DataOption = None,
    out: SweepOutOption = None,
    profile: ProfileOption = None,
    device: DeviceOption = "auto",
    overrides: SetOption = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the trials and their schedules, train nothing.")
    ] = False,
    worker: WorkerOption = False,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Train plans one by one: hand-made schedules over a grid of fields, or Optuna's proposals.

    The same command again, in another terminal or on another host, joins the same study.
    """
    from dilsearch.cli.networks import GivenNetwork
    from dilsearch.cli.sweep import run_sweep
    from dilsearch.cli.sweep_options import SweepOptions

    options = SweepOptions(
        space=space,
        grid=grid,
        trials=trials,
        total=total,
        seeds=seeds,
        seed=seed,
        objectives=objectives,
        pruner=pruner,
        storage=storage,
        study=study,
        workers=workers,
        give_up=give_up or [],
        heartbeat_seconds=heartbeat,
        grace_seconds=grace,
        network=GivenNetwork.of(model, kwargs),
        sites=sites or [],
        data=data,
        out=out,
        profile=profile,
        device=device,
        overrides=overrides or [],
        dry_run=dry_run,
        worker=worker,
        quiet=quiet,
        as_json=as_json,
    )
    run_sweep(options)


def study(
    name: Annotated[
        str | None, typer.Argument(metavar="[STUDY]", help="The study; without it they are listed.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder to write; default studies/STUDY.")
    ] = None,
    part: Annotated[
        list[str] | None,
        typer.Option("--part", metavar="NAME", help="Run this part only; may be repeated."),
    ] = None,
    variant: Annotated[
        list[str] | None,
        typer.Option("--variant", metavar="NAME", help="Run this variant only; may be repeated."),
    ] = None,
    seeds: Annotated[
        str | None, typer.Option("--seeds", help="Seeds for every part, as in 0-9 or 0,1,2.")
    ] = None,
    workers: Annotated[int, typer.Option("--workers", min=1, help="Runs at a time.")] = 1,
    data: DataOption = None,
    device: DeviceOption = "auto",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the commands of the runs and do nothing.")
    ] = False,
    tables_only: Annotated[
        bool, typer.Option("--tables-only", help="Run nothing; write table and figures.")
    ] = False,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Run a space under several variants and seeds; writes one table and its figures."""
    from dilsearch.cli.study import StudyOptions, list_studies, run_study

    if name is None:
        list_studies(as_json=as_json)
        return
    run_study(
        StudyOptions(
            name=name,
            out=out,
            parts=part or [],
            variants=variant or [],
            seeds=seeds,
            workers=workers,
            data=data,
            device=device,
            dry_run=dry_run,
            tables_only=tables_only,
            quiet=quiet,
            as_json=as_json,
        )
    )


def compare(
    runs: Annotated[
        list[str],
        typer.Argument(metavar="RUN...", help="Run folders, or LABEL=RUN; globs are followed."),
    ],
    score: Annotated[
        str, typer.Option("--score", help="The metric that counts, such as far_accuracy.")
    ] = "mean_iou",
    threshold: Annotated[
        float | None,
        typer.Option("--threshold", help="Also tell at what cost each method first reaches this."),
    ] = None,
    out: Annotated[Path, typer.Option("--out", help="Folder to write.")] = Path("comparison"),
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Hold searches, sweeps and fixed baselines against each other at equal cost."""
    from dilsearch.cli.compare import CompareOptions, run_comparison

    options = CompareOptions(
        runs=runs, score=score, threshold=threshold, out=out, quiet=quiet, as_json=as_json
    )
    run_comparison(options)


def bench(
    case: Annotated[
        list[str] | None,
        typer.Option("--case", metavar="NAME", help="Measure this case only; may be repeated."),
    ] = None,
    listed: Annotated[
        bool, typer.Option("--list", help="List the cases and contestants instead.")
    ] = False,
    rounds: Annotated[
        int | None, typer.Option("--rounds", min=1, help="Rounds that count; default 15.")
    ] = None,
    without: Annotated[
        list[str] | None,
        typer.Option("--without", metavar="NAME", help="Leave this contestant out; repeatable."),
    ] = None,
    device: DeviceOption = "auto",
    precision: Annotated[
        str, typer.Option("--precision", help="float32, or bfloat16 by autocast.")
    ] = "float32",
    threads: Annotated[
        int | None, typer.Option("--threads", min=1, help="CPU threads; default torch's choice.")
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Small sizes, to see that everything works.")
    ] = False,
    out: Annotated[Path, typer.Option("--out", help="Folder to write.")] = Path("bench"),
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Measure what fractional convolution costs beside other ways to do it."""
    from dilsearch.cli.bench import BenchOptions, list_cases, run_bench

    if listed:
        list_cases(as_json=as_json)
        return
    run_bench(
        BenchOptions(
            cases=case or [],
            rounds=rounds,
            without=without or [],
            device=device,
            precision=precision,
            threads=threads,
            quick=quick,
            out=out,
            quiet=quiet,
            as_json=as_json,
        )
    )
