"""The stages of a run. Each reads the files of those before it and writes its own.

A stage returns what it has to say in ``summary.json``, which the pipeline merges and writes.
"""

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from dilsearch.errors import RunError
from dilsearch.geometry import FieldGraph, FieldTable, project
from dilsearch.pipeline.frames import changes_frame, field_frame, whole_rates
from dilsearch.pipeline.randomness import lent_generators
from dilsearch.pipeline.rates import control_rates, present_plan
from dilsearch.pipeline.workbench import Workbench
from dilsearch.plan import DilationPlan
from dilsearch.scores import counts_table, scores
from dilsearch.search import Smoothing, out_of_reach, search
from dilsearch.surgery import field_graph, load, read_plan, save
from dilsearch.surgery.rates import rate_limits, weight_parameters
from dilsearch.training import (
    Evaluation,
    Hooks,
    LogitsLoss,
    build_loss,
    evaluate,
    fit,
    weight_optimizer,
)

Summary: TypeAlias = dict[str, Any]

SHOWN_PREDICTIONS = 6
NETWORK_FILES = {
    "fractional": "search.safetensors",
    "retrain": "weights.safetensors",
    "control": "control.safetensors",
}
"""The three networks a run compares, and where their weights lie."""
NETWORK_NAMES = {"fractional": "searched", "retrain": "retrained", "control": "control"}
"""What reports call them."""
STAGE_OF = {"fractional": "search", "retrain": "retrain", "control": "control"}
"""The stage that trains each of them."""
OUTPUTS: Mapping[str, tuple[str, ...]] = {
    "search": ("trajectory.csv", "plan.float.json", "search.safetensors"),
    "convert": ("plan.json", "projection.csv", "field.csv"),
    "retrain": ("retrain.csv", "weights.safetensors"),
    "control": ("control.csv", "control.safetensors"),
    "evaluate": ("counts.csv", "arrays/predictions.npz"),
}
"""What each stage writes."""


def run_search(bench: Workbench) -> Summary:
    """Train weights and rates together; writes the trajectory, the float plan and the weights."""
    space = bench.space
    model = bench.relaxed_network().to(bench.fabric.device)
    steps = space.search_steps
    warning = out_of_reach(model, gap=space.gap.policy, needed_px=space.needed_px)
    if warning is not None:
        bench.reporter.say(f"search: {warning}")
    batches = bench.batches("search", steps)
    with bench.reporter.training("search", steps) as watch:
        result = search(
            model,
            batches,
            fabric=bench.fabric,
            weight_optimizer=_weight_optimizer(bench, model, weight_parameters(model)),
            loss=_loss(bench),
            schedule=bench.schedule(steps),
            rate_optimizer=space.search.rate_optimizer,
            rate_learning_rate=space.search.rate_learning_rate,
            smoothing=Smoothing(space.search.smoothing, share=space.search.smoothing_share),
            gap=space.gap.policy,
            needed_px=space.needed_px,
            field_target=space.search.field_target,
            patience=round(space.search.patience_share * steps),
            seed=bench.seed,
            checkpoint=bench.checkpoint("search"),
            watch=watch,
        )
    done = len(result.history) - 1
    if result.settled:
        bench.reporter.say(f"search: the rates settled after {done} of {steps} steps")
    for finding in result.findings:
        bench.reporter.say(f"search: {finding}")
    columns = [*result.history[-1]]  # the row before the first step has no loss
    bench.folder.write_csv("trajectory.csv", pd.DataFrame(result.history, columns=columns))
    bench.folder.write_text("plan.float.json", result.plan.to_json())
    save(model, bench.folder.path(NETWORK_FILES["fractional"]))
    return {
        "search": {
            "steps": done,
            "field_px": int(result.history[-1]["field_px"]),
            "needed_px": space.needed_px,
            "settled": result.settled,
            "limits": {site: list(limits) for site, limits in rate_limits(model).items()},
            "findings": list(result.findings),
        }
    }


def run_convert(bench: Workbench) -> Summary:
    """Project the float plan to integers; writes the plan, its changes and its field table."""
    plan = read_plan_file(bench, "plan.float.json")
    model = bench.relaxed_network()
    graph = field_graph(model)
    assert graph is not None  # the workbench always traces
    projection = project(plan, graph, bench.space.gap.policy, limits=rate_limits(model))
    bench.folder.write_csv("projection.csv", changes_frame(projection))
    summary = keep_plan(bench, projection.plan, graph)
    for violation in projection.violations:
        bench.reporter.say(violation)
    return summary


def keep_plan(bench: Workbench, plan: DilationPlan, graph: FieldGraph) -> Summary:
    """Write the plan that is retrained and its field table, wherever it comes from."""
    table = graph.propagate(plan)
    bench.folder.write_csv("field.csv", field_frame(table))
    bench.folder.write_text("plan.json", plan.to_json())
    bench.folder.note_hash("plan", plan.hash)
    return {
        "plan": {
            "rates": {site: whole_rates(rates) for site, rates in plan.sites.items()},
            "field_px": largest_field_px(table),
            "needed_px": bench.space.needed_px,
            "bound_ok": table.bound_ok,
            "holes": graph.coverage(plan).holes,
        }
    }


def run_retrain(bench: Workbench) -> Summary:
    """Train the integer network from scratch."""
    plan = read_plan_file(bench, "plan.json")
    return _train_integer_network(bench, "retrain", plan, bench.retrain_hooks)


def run_control(bench: Workbench) -> Summary:
    """Train the same network with every rate at the control's, on the same budget and data."""
    return _train_integer_network(bench, "control", control_plan(bench))


def run_evaluate(bench: Workbench) -> Summary:
    """Score every network of the run on the validation set; writes counts and predictions."""
    counts: list[tuple[str, str, Any]] = []
    summary: dict[str, Any] = {}
    arrays = _shown_samples(bench)
    for network in NETWORK_FILES:
        if not bench.folder.is_finished(STAGE_OF[network]):
            continue
        model = trained_network(bench, network)
        bench.reporter.say(f"evaluating the {NETWORK_NAMES[network]} network")
        result = score_network(bench, model, keep=SHOWN_PREDICTIONS)
        counts += [(network, region, matrix) for region, matrix in result.counts.items()]
        summary[network] = {"val": validation_scores(result)}
        arrays[network] = _as_pictures(result.predictions)
    if not counts:
        raise RunError(
            f"{bench.folder.path()} holds no trained network to evaluate; "
            "run 'dilsearch search' or 'dilsearch run' first"
        )
    bench.folder.write_csv("counts.csv", counts_table(counts))
    bench.folder.write_with("arrays/predictions.npz", lambda path: _write_arrays(path, arrays))
    summary["classes"] = [
        {"name": name, "color": "#{:02x}{:02x}{:02x}".format(*colour)}
        for name, colour in zip(bench.data.class_names, bench.data.palette.tolist(), strict=True)
    ]
    return summary


def score_network(bench: Workbench, model: nn.Module, *, keep: int = 0) -> Evaluation:
    """Count a network's hits and misses on the validation set, keeping a few predictions."""
    return evaluate(
        model,
        bench.data.validation,
        classes=bench.num_classes,
        fabric=bench.fabric,
        batch_size=bench.space.train.batch_size,
        regions=bench.data.regions,
        keep=keep,
    )


def read_plan_file(bench: Workbench, name: str) -> DilationPlan:
    """A plan of the run folder.

    Raises:
        RunError: If the stage that writes it has not run.
        PlanError: If the file is damaged.
    """
    return DilationPlan.from_json(bench.folder.read_text(name), source=str(bench.folder.path(name)))


def control_plan(bench: Workbench) -> DilationPlan:
    """The control's rates: one everywhere, or a hand-made schedule.

    Raises:
        SpaceError: If the schedule does not fit the sites.
    """
    relaxed = bench.relaxed_network()
    return control_rates(bench.space, read_plan(relaxed), present_plan(relaxed))


def validation_scores(result: Evaluation) -> dict[str, float | None]:
    """All metrics of the whole image, and each other region's accuracy as ``REGION_accuracy``."""
    values = scores(result.counts["all"])
    for region, matrix in result.counts.items():
        if region != "all":
            values[f"{region}_accuracy"] = scores(matrix)["pixel_accuracy"]
    return values


def largest_field_px(table: FieldTable) -> int:
    """The larger side of the field behind the last site, in input pixels."""
    assert table.last_site is not None  # a plan has at least one site
    return max(field.size_px for field in table.at(table.last_site))


def _train_integer_network(
    bench: Workbench,
    stage: str,
    plan: DilationPlan,
    hooks: Callable[[nn.Module], Hooks] | None = None,
) -> Summary:
    steps, device = bench.space.retrain_steps, bench.fabric.device
    model = bench.integer_network(plan).to(device)
    with (
        bench.reporter.training(stage, steps) as watch,
        lent_generators(device, "retrain", bench.seed),  # for networks that draw, as by dropout
    ):
        history = fit(
            model,
            bench.batches("retrain", steps),
            fabric=bench.fabric,
            optimizers=(_weight_optimizer(bench, model, list(model.parameters())),),
            loss=_loss(bench),
            schedule=bench.schedule(steps),
            hooks=hooks(model) if hooks is not None else None,
            checkpoint=bench.checkpoint(stage, plan),
            watch=watch,
        )
    bench.folder.write_csv(f"{stage}.csv", pd.DataFrame(history))
    save(model, bench.folder.path(NETWORK_FILES[stage]))
    graph = field_graph(model)
    assert graph is not None  # the workbench always traces
    return {stage: {"steps": steps, "field_px": largest_field_px(graph.propagate(plan))}}


def trained_network(bench: Workbench, network: str) -> nn.Module:
    """One of the networks of ``NETWORK_FILES``, with the weights that its stage has written."""
    path = bench.folder.path(NETWORK_FILES[network])
    if network == "fractional":
        return load(bench.relaxed_network(), path)
    plan = read_plan_file(bench, "plan.json") if network == "retrain" else control_plan(bench)
    return load(bench.integer_network(plan), path)  # refuses weights of any other plan


def _weight_optimizer(
    bench: Workbench, model: nn.Module, weights: list[nn.Parameter]
) -> torch.optim.Optimizer:
    train = bench.space.train
    return weight_optimizer(
        model,
        weights,
        name=train.optimizer,
        learning_rate=train.learning_rate,
        momentum=train.momentum,
        weight_decay=train.weight_decay,
    )


def _loss(bench: Workbench) -> LogitsLoss:
    train = bench.space.train
    return LogitsLoss(build_loss(train.loss, ohem_threshold=train.ohem_threshold))


def _shown_samples(bench: Workbench) -> dict[str, np.ndarray]:
    data = bench.data
    count = min(SHOWN_PREDICTIONS, len(data.validation))  # type: ignore[arg-type]
    samples: list[tuple[Tensor, Tensor]] = [data.validation[index] for index in range(count)]
    return {
        "images": data.to_rgb(torch.stack([image for image, _ in samples])),
        "truth": _as_pictures(np.stack([label.numpy() for _, label in samples])),
    }


def _as_pictures(labels: np.ndarray) -> np.ndarray:
    """Labels of samples as maps of height and width; those of a sequence are one row high."""
    return np.expand_dims(labels, tuple(range(1, 4 - labels.ndim))).astype(np.int16)


def _write_arrays(path: object, arrays: dict[str, np.ndarray]) -> None:
    with open(str(path), "wb") as file:  # a path would have ".npz" put behind it
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
