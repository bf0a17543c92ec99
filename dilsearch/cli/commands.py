"""The commands. Each checks what it was given and hands over to the pipeline or the report."""

from pathlib import Path
from typing import Annotated

import typer

from dilsearch.cli.options import (
    CheckOption,
    CsvOption,
    DataOption,
    DeviceOption,
    EffectiveOption,
    FiguresOption,
    ForceOption,
    HtmlOption,
    ImagesOption,
    InputOption,
    JsonOption,
    KwargsOption,
    ModelOption,
    NetworkOption,
    NodeOption,
    NumericOption,
    OutOption,
    ProfileOption,
    QuietOption,
    ResumeOption,
    RunNetworkOption,
    RunPath,
    SeedOption,
    SetOption,
    SitesOption,
    SpaceName,
    StagesOption,
    StrictOption,
    TargetName,
)

app = typer.Typer(
    name="dilsearch",
    help="Find a network's dilation rates by gradient descent.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _version(wanted: bool) -> None:
    if wanted:
        import dilsearch

        print(f"dilsearch {dilsearch.__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    pass


@app.command()
def run(
    space: SpaceName,
    model: NetworkOption = None,
    kwargs: KwargsOption = None,
    sites: SitesOption = None,
    data: DataOption = None,
    out: OutOption = None,
    profile: ProfileOption = None,
    seed: SeedOption = 0,
    device: DeviceOption = "auto",
    overrides: SetOption = None,
    stages: StagesOption = None,
    resume: ResumeOption = False,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Search, convert, retrain, train the control, evaluate and report."""
    from dilsearch.cli.networks import GivenNetwork
    from dilsearch.cli.session import RunOptions, Session, all_stages, chosen_stages

    options = RunOptions(
        space=space,
        data=data,
        out=out,
        profile=profile,
        seed=seed,
        device=device,
        overrides=overrides or [],
        network=GivenNetwork.of(model, kwargs),
        sites=sites or [],
        stages=stages,
        resume=resume,
        quiet=quiet,
    )
    wanted = None if stages is None else chosen_stages(stages)
    session = Session.start("run", options)
    session.execute(all_stages(session.space) if wanted is None else wanted)
    session.finish(as_json=as_json)


@app.command()
def search(
    space: SpaceName,
    model: NetworkOption = None,
    kwargs: KwargsOption = None,
    sites: SitesOption = None,
    data: DataOption = None,
    out: OutOption = None,
    profile: ProfileOption = None,
    seed: SeedOption = 0,
    device: DeviceOption = "auto",
    overrides: SetOption = None,
    resume: ResumeOption = False,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Train weights and rates together; writes plan.float.json."""
    from dilsearch.cli.networks import GivenNetwork
    from dilsearch.cli.session import RunOptions, Session

    options = RunOptions(
        space=space,
        data=data,
        out=out,
        profile=profile,
        seed=seed,
        device=device,
        overrides=overrides or [],
        network=GivenNetwork.of(model, kwargs),
        sites=sites or [],
        resume=resume,
        quiet=quiet,
    )
    session = Session.start("search", options)
    session.execute(["search"])
    session.finish(as_json=as_json, report=False)


@app.command()
def convert(
    folder: RunPath,
    model: RunNetworkOption = None,
    kwargs: KwargsOption = None,
    force: ForceOption = False,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Round the rates of a search under the gap bound; writes plan.json."""
    network = (model, kwargs)
    _stage("convert", folder, network, force=force, quiet=quiet, as_json=as_json)


@app.command()
def retrain(
    folder: RunPath,
    model: RunNetworkOption = None,
    kwargs: KwargsOption = None,
    data: DataOption = None,
    device: DeviceOption = "auto",
    control: Annotated[bool, typer.Option("--control", help="Train the control instead.")] = False,
    force: ForceOption = False,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Train the network with the rates of plan.json from scratch."""
    stage, network = "control" if control else "retrain", (model, kwargs)
    _stage(stage, folder, network, data, device, force=force, quiet=quiet, as_json=as_json)


@app.command()
def evaluate(
    folder: RunPath,
    model: RunNetworkOption = None,
    kwargs: KwargsOption = None,
    data: DataOption = None,
    device: DeviceOption = "auto",
    force: ForceOption = False,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Score the networks of a run on the validation set."""
    network = (model, kwargs)
    _stage("evaluate", folder, network, data, device, force=force, quiet=quiet, as_json=as_json)


@app.command()
def report(
    folder: RunPath,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Write figures and report.html from the files of a run."""
    from dilsearch.cli.output import show_result
    from dilsearch.progress import Reporter
    from dilsearch.report import write_report

    page = write_report(folder)
    show_result(folder, page, Reporter(quiet=quiet), as_json=as_json)


@app.command()
def spaces(
    name: Annotated[
        str | None, typer.Argument(metavar="[SPACE]", help="Show this space in full.")
    ] = None,
    profile: ProfileOption = None,
    overrides: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the search spaces, or show one with every key explained."""
    from dilsearch.cli.output import show_space, show_spaces

    if name is None:
        show_spaces(as_json=as_json)
    else:
        show_space(name, profile, overrides or [], as_json=as_json)


@app.command()
def analyze(
    target: TargetName,
    inputs: InputOption = None,
    kwargs: KwargsOption = None,
    outputs: NodeOption = None,
    model: ModelOption = None,
    profile: ProfileOption = None,
    overrides: SetOption = None,
    seed: SeedOption = 0,
    csv: CsvOption = None,
    html: HtmlOption = None,
    figures: FiguresOption = None,
    check: CheckOption = False,
    numeric: NumericOption = False,
    effective: EffectiveOption = False,
    images: ImagesOption = None,
    strict: StrictOption = False,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Tell what any torch network sees: its exact receptive field and the gaps in it."""
    from dilsearch.cli.analyze import AnalyzeOptions, run_analysis

    options = AnalyzeOptions(
        target=target,
        inputs=inputs or [],
        kwargs=kwargs,
        outputs=outputs or [],
        model=model,
        profile=profile,
        overrides=overrides or [],
        seed=seed,
        csv=csv,
        html=html,
        figures=figures,
        check=check,
        numeric=numeric,
        effective=effective,
        images=images or [],
        strict=strict,
        quiet=quiet,
        as_json=as_json,
    )
    if code := run_analysis(options):
        raise typer.Exit(code)


@app.command()
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


@app.command()
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


def _stage(
    stage: str,
    folder: Path,
    network: tuple[str | None, str | None],
    data: Path | None = None,
    device: str = "cpu",
    *,
    force: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    from dilsearch.cli.networks import GivenNetwork
    from dilsearch.cli.session import Session

    given = GivenNetwork.of(*network)
    command = ["retrain", str(folder), "--control"] if stage == "control" else [stage, str(folder)]
    words = ["dilsearch", *command, *(given.words if given else [])]
    words += ["--data", str(data)] if data else []
    words += ["--device", device] if device not in ("auto", "cpu") else []
    session = Session.open(folder, given, data=data, device=device, quiet=quiet, words=words)
    if session.bench.folder.is_finished(stage) and not force:
        session.bench.reporter.say(f"{stage}: finished already; --force runs it again")
    else:
        session.execute([stage], force=force)
    session.finish(as_json=as_json, report=False)
