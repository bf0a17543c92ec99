"""Sweep root folders as a sweep leaves them, made up, for tests of what reads them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from dilsearch.baselines.record import TRIAL_TYPES
from dilsearch.plan import DilationPlan
from dilsearch.runs import RunFolder

SITES = [f"body.{index}.conv2" for index in range(5)]
SPACE = 'name = "toy"\nprofile = "quick"\n'
SAMPLES = 4800

GRID = {
    # target: exact field and score by seed
    47: (47, (0.341, 0.352, 0.346)),
    143: (151, (0.712, 0.655, 0.768)),
    239: (239, (0.958, 0.981, 0.967)),
    335: (335, (0.962, 0.949, 0.977)),
}
TPE = [
    # field, score, state, step of the last look, latency
    (47, 0.35, "complete", 240, 4.1),
    (151, 0.71, "complete", 240, 5.0),
    (199, 0.93, "complete", 240, 6.2),
    (95, 0.41, "pruned", 90, None),
    (239, 0.972, "complete", 240, 6.9),
    (287, 0.966, "complete", 240, 9.3),
    (61, 0.38, "pruned", 120, None),
    (331, None, "failed", 0, None),
]


def plan_of(field_px: int) -> DilationPlan:
    """Some plan, another for each field."""
    return DilationPlan.per_branch({site: (1, field_px % 40 + k) for k, site in enumerate(SITES)})


def trial_row(number: int, **values: Any) -> dict[str, Any]:
    """A row of ``trials.csv``, a complete trial unless said otherwise."""
    row = dict.fromkeys(TRIAL_TYPES) | {
        "number": number,
        "state": "complete",
        "seed": 0,
        "samples": SAMPLES,
        "seconds": 12.5,
        "device": "cpu",
        "host": "here",
        "folder": f"trials/{number:04d}",
    }
    return row | values


def grid_rows(seeds: int = 3) -> list[dict[str, Any]]:
    """The trials of ``GRID``, seed by seed."""
    order = [(seed, target) for seed in range(seeds) for target in GRID]
    return [
        trial_row(
            number,
            slot=f"{target} px seed {seed}",
            seed=seed,
            target_px=target,
            field_px=GRID[target][0],
            mean_iou=GRID[target][1][seed],
            plan_hash=plan_of(target).hash,
            rates="as it is in words",
        )
        for number, (seed, target) in enumerate(order)
    ]


def tpe_rows() -> list[dict[str, Any]]:
    """The trials of ``TPE``, and one answered from trial 4."""
    rows = [
        trial_row(
            number,
            slot=f"tpe {number}",
            state=state,
            field_px=field_px,
            mean_iou=score,
            latency_ms=latency,
            samples=SAMPLES if state == "complete" else 20 * step,
            plan_hash=plan_of(field_px).hash,
            rates="as it is in words",
            reason="killed on the way" if state == "failed" else None,
        )
        for number, (field_px, score, state, step, latency) in enumerate(TPE)
    ]
    twin = {"slot": "tpe 8", "answered_from": 4, "samples": 0, "seconds": 0.0, "folder": None}
    return [*rows, {**rows[4], "number": 8, **twin}]


def write_sweep(
    path: Path,
    protocol: str,
    rows: Sequence[dict[str, Any]],
    *,
    objectives: Sequence[str] = ("miou",),
    total: int | None = None,
    storage: str | None = None,
    pareto: Sequence[int] | None = None,
    best: dict[str, Any] | None = None,
) -> Path:
    """Write a root folder with these trials; it is finished if it has no more in ``total``."""
    run = RunFolder.create(
        path, command=f"dilsearch sweep toy # {protocol}", space=SPACE, seed=0, device="cpu"
    )
    run.begin("sweep")
    table = pd.DataFrame(rows, columns=list(dict.fromkeys([*TRIAL_TYPES, *(rows and rows[0])])))
    states = table["state"].value_counts()
    finished = int(states.get("complete", 0) + states.get("pruned", 0))
    if best is not None:
        plan = plan_of(best["field_px"])
        plan.save(run.path("plan.json"))
        run.write_csv("field.csv", _field_frame(plan, best["field_px"]))
    for row in rows:
        if row["folder"] and row["state"] in ("complete", "pruned"):
            _write_trial(run, row, looked=protocol == "tpe")
    run.write_csv("trials.csv", table)
    run.write_json("study.json", {"study": f"toy-{protocol}", "storage": storage})
    section = {
        "protocol": protocol,
        "objectives": list(objectives),
        "seeds": sorted({row["seed"] for row in rows}),
        "total": total or finished,
        "complete": int(states.get("complete", 0)),
        "pruned": int(states.get("pruned", 0)),
        "failed": int(states.get("failed", 0)),
        "samples": int(table["samples"].sum()),
        "seconds": float(table["seconds"].sum()),
        "needed_px": 191,
        "targets_px": list(GRID) if protocol == "grid" else None,
        "retrain_steps": 240,
        "best": best,
        "pareto": pareto,
    }
    run.write_json(
        "summary.json", {"space": "toy", "profile": "quick", "seed": 0, "sweep": section}
    )
    if finished >= (total or finished):
        run.finish("sweep", seconds=section["seconds"])
    return path


GRID_BEST = {"trial": 6, "slot": "239 px seed 1", "field_px": 239, "seeds": 3, "std": 0.0116}
TPE_BEST = {"trial": 4, "slot": "tpe 4", "field_px": 239, "seeds": 1, "std": None}


def _write_trial(run: RunFolder, row: dict[str, Any], *, looked: bool) -> None:
    plan_of(row["target_px"] or row["field_px"]).save(_made(run, f"{row['folder']}/plan.json"))
    if looked:
        last = TPE[row["number"]][3]
        steps = range(30, last + 1, 30)
        looks = [(step, 20 * step, 0.1 * step, row["mean_iou"] * step / last) for step in steps]
        columns = ["step", "samples", "seconds", "mean_iou"]
        run.write_csv(f"{row['folder']}/looks.csv", pd.DataFrame(looks, columns=columns))


def _made(run: RunFolder, name: str) -> Path:
    path = run.path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def _field_frame(plan: DilationPlan, field_px: int) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "site": SITES,
            "rates": ["1 2"] * len(SITES),
            "field_in_px": ["7", "31", "55", "95", "151"],
            "stride_in_px": ["4"] * len(SITES),
            "bound": [1, 7, 13, 23, 37],
            "bound_ok": [True, True, True, False, True],
            "field_out_px": ["31", "55", "95", "151", str(field_px)],
        }
    )
