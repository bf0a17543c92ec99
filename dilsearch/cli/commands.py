"""The commands. Each checks what it was given and hands over to the pipeline or the report."""

from pathlib import Path
from typing import Annotated

import typer

from dilsearch.cli.many import bench, compare, study, sweep
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
    """Write figures and report.html from the files of a run or sweep."""
    from dilsearch.cli.output import show_result
    from dilsearch.cli.sweep_output import has_tables, show_sweep
    from dilsearch.progress import Reporter
    from dilsearch.report import write_report

    page, reporter = write_report(folder), Reporter(quiet=quiet)
    show = show_sweep if has_tables(folder) else show_result
    show(folder, page, reporter, as_json=as_json)


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


for _command in (sweep, study, compare, bench):
    app.command()(_command)


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
