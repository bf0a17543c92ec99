"""The options and arguments of the commands, each with its help."""

from pathlib import Path
from typing import Annotated, Final

import typer

STORAGE_VARIABLE: Final = "DILSEARCH_STORAGE"
"""Environment variable of ``--storage``: a command line is read by everybody on a machine."""

SpaceName = Annotated[
    str, typer.Argument(metavar="SPACE", help="A space by name, or the path of a TOML file.")
]
RunPath = Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")]
DataOption = Annotated[
    Path | None, typer.Option("--data", help="Folder of the data set, where one is needed.")
]
OutOption = Annotated[
    Path | None, typer.Option("--out", help="Run folder to write; default runs/SPACE-seedN.")
]
ProfileOption = Annotated[
    str | None, typer.Option("--profile", help="Profile of the space, such as smoke or full.")
]
SeedOption = Annotated[int, typer.Option("--seed", min=0, help="Seed of weights and data order.")]
DeviceOption = Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:INDEX or mps.")]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override a key, as in data.size_px=128."),
]
ResumeOption = Annotated[
    bool, typer.Option("--resume", help="Go on with the run in the folder, if there is one.")
]
QuietOption = Annotated[bool, typer.Option("--quiet", help="Show nothing but errors.")]
StagesOption = Annotated[
    str | None,
    typer.Option(
        "--stages",
        metavar="NAMES",
        help="Only these stages, separated by commas: search, convert, retrain, control, evaluate.",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
ForceOption = Annotated[
    bool, typer.Option("--force", help="Run the stage again although it is finished.")
]
TargetName = Annotated[
    str,
    typer.Argument(
        metavar="TARGET",
        help="A space, run folder, plan file, .pt2 program, or package.module:factory.",
    ),
]
InputOption = Annotated[
    list[str] | None,
    typer.Option(
        "--input",
        metavar="SIZES",
        help="Shape of an input, as in 1,3,512,1024; once for each input.",
    ),
]
KwargsOption = Annotated[
    str | None,
    typer.Option("--kwargs", metavar="JSON", help="Arguments of a factory, as a JSON object."),
]
NodeOption = Annotated[
    list[str] | None,
    typer.Option("--output", metavar="NODE", help="Look at this node or module; repeatable."),
]
ModelOption = Annotated[
    str | None,
    typer.Option(
        "--model",
        metavar="TARGET",
        help="Network of a plan file: space, run, factory; or the factory of a run of your own.",
    ),
]
NetworkOption = Annotated[
    str | None,
    typer.Option(
        "--model",
        metavar="FACTORY",
        help="Train a network of your own, written package.module:factory, on the space's data "
        "and recipe. The factory gets num_classes if it has such an argument.",
    ),
]
RunNetworkOption = Annotated[
    str | None,
    typer.Option(
        "--model",
        metavar="FACTORY",
        help="The network of your own that the run was begun with, package.module:factory.",
    ),
]
SitesOption = Annotated[
    list[str] | None,
    typer.Option(
        "--sites",
        metavar="SITES",
        help="Search these convolutions instead of the space's; repeatable. A glob such as "
        "'layer4.*.conv2' gives each one rate, from 1 to what spans the needed field, starting at "
        "its present dilation; a table has the keys of [[sites]], as in "
        '\'{select = "layer4.*", granularity = "channel", upper = 8}\', or causal = true.',
    ),
]
CsvOption = Annotated[
    Path | None, typer.Option("--csv", help="File to write: one row for each convolution.")
]
HtmlOption = Annotated[
    Path | None, typer.Option("--html", help="File to write: a page with tables and figures.")
]
FiguresOption = Annotated[
    Path | None, typer.Option("--figures", help="Folder to write: each figure as PNG and SVG.")
]
CheckOption = Annotated[
    bool, typer.Option("--check", help="Compare with a gradient; exit code 1 if they differ.")
]
NumericOption = Annotated[
    bool, typer.Option("--numeric", help="Measure by a gradient alone, without a trace.")
]
EffectiveOption = Annotated[
    bool, typer.Option("--effective", help="Also where the network really looks, by its weights.")
]
ImagesOption = Annotated[
    list[Path] | None,
    typer.Option("--image", metavar="FILE", help="Photograph for --effective; repeatable."),
]
StrictOption = Annotated[
    bool,
    typer.Option("--strict", help="Exit code 1 if a bound is broken or an output misses pixels."),
]
GridOption = Annotated[
    str | None,
    typer.Option(
        "--grid",
        metavar="FIRST:LAST:STEP",
        help="Fields in px to aim at, as in 500:3500:500; default the grid of the space.",
    ),
]
TrialsOption = Annotated[
    int | None,
    typer.Option(
        "--trials", min=1, help="Let Optuna propose the plans, so many; without it, a grid."
    ),
]
TotalOption = Annotated[
    int | None,
    typer.Option(
        "--total",
        min=1,
        help="Finished trials of the whole study, where --trials is only this command's share.",
    ),
]
SeedsOption = Annotated[
    str | None,
    typer.Option("--seeds", help="Seeds of every target of a grid, as in 0-9; default 0-2."),
]
SamplerSeedOption = Annotated[
    int | None,
    typer.Option("--seed", min=0, help="Seed of training and proposals with --trials; default 0."),
]
ObjectivesOption = Annotated[
    str,
    typer.Option(
        "--objectives", metavar="NAMES", help="miou or another score; miou,latency for two."
    ),
]
PrunerOption = Annotated[
    str | None,
    typer.Option(
        "--pruner", help="median, hyperband or none; default median, with --trials and one score."
    ),
]
StorageOption = Annotated[
    str | None,
    typer.Option(
        "--storage",
        metavar="URL",
        envvar=STORAGE_VARIABLE,
        help="Optuna storage, or a .journal file; default a SQLite file in the folder.",
    ),
]
StudyOption = Annotated[
    str | None,
    typer.Option("--study", metavar="NAME", help="Name of the study; default from the space."),
]
WorkersOption = Annotated[
    int, typer.Option("--workers", min=1, help="Processes on this machine, one GPU each.")
]
GiveUpOption = Annotated[
    list[int] | None,
    typer.Option(
        "--give-up",
        metavar="NUMBER",
        min=0,
        help="Count this running trial as failed, where a storage has no heartbeats; repeatable.",
    ),
]
HeartbeatOption = Annotated[
    int, typer.Option("--heartbeat", min=1, metavar="SECONDS", help="Time between signs of life.")
]
GraceOption = Annotated[
    int,
    typer.Option(
        "--grace", min=1, metavar="SECONDS", help="Silence after which a worker counts as dead."
    ),
]
SweepOutOption = Annotated[
    Path | None,
    typer.Option("--out", help="Folder to write; default runs/SPACE-grid or runs/SPACE-tpe-seedN."),
]
WorkerOption = Annotated[
    bool,
    # How --workers starts its processes: they train, and leave tables and page to the command.
    typer.Option("--worker", hidden=True),
]
