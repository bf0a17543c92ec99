"""Synthetic run folders as a finished search would leave them: a toy one and a CamVid-like one."""

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from dilsearch.plan import DilationPlan
from dilsearch.report import write_report
from dilsearch.runs import RunFolder

TOY_CLASSES = [
    {"name": "background", "color": "#20242c"},
    {"name": "red bar", "color": "#d55e00"},
    {"name": "green bar", "color": "#009e73"},
    {"name": "blue bar", "color": "#56b4e9"},
]
TOY_FLOAT = [(1.0, 1.0), (1.0, 2.41), (2.37, 8.62), (4.4, 5.71), (3.52, 4.18)]
TOY_RATES = [(1, 1), (1, 3), (2, 9), (4, 6), (3, 5)]

CAMVID_CLASSES = [
    {"name": name, "color": color}
    for name, color in {
        "sky": "#80b8e8",
        "building": "#804040",
        "pole": "#c0c080",
        "road": "#804080",
        "pavement": "#4040c0",
        "tree": "#608020",
        "sign": "#e08080",
        "fence": "#404080",
        "car": "#401080",
        "pedestrian": "#e0a030",
        "bicyclist": "#10c0c0",
    }.items()
]
# RegSeg Tab. 2: the rates its gradient search found for the 13 blocks.
CAMVID_RATES = [(1, 1), (1, 2), (1, 2), (1, 3), (2, 3), (2, 7), (2, 3), (2, 6), (2, 5)]
CAMVID_RATES += [(2, 9), (2, 11), (4, 7), (5, 14)]

STAGES = ("search", "convert", "retrain", "control")

SPACE = """
name = "{name}"
profile = "quick"
[gap]
policy = "enforce"
[control]
enabled = true
rate = 1
"""

RunFactory = Callable[..., Path]


@pytest.fixture(scope="session")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, tuple[str, ...]], Path]:
    """A run folder of that kind and with those stages, written once and only copied from."""

    @cache
    def write(kind: str, stages: tuple[str, ...]) -> Path:
        folder = tmp_path_factory.mktemp(kind)
        write_run(folder, kind, stages)
        return folder

    return write


@pytest.fixture
def make_run(tmp_path: Path, pristine: Callable[[str, tuple[str, ...]], Path]) -> RunFactory:
    """``make_run("toy", stages=("search",), name="run", summary={...})`` gives a run folder."""

    def make(
        kind: str = "toy",
        *,
        stages: Sequence[str] = STAGES,
        name: str = "run",
        summary: Mapping[str, Any] | None = None,
    ) -> Path:
        folder = tmp_path / name
        shutil.copytree(pristine(kind, tuple(stages)), folder)
        if summary:
            path = folder / "summary.json"
            path.write_text(json.dumps(_merged(json.loads(path.read_text()), summary)))
        return folder

    return make


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """Finished runs with their reports, by kind: ``toy`` and ``camvid``. Not to be changed."""
    folders = {}
    for kind in ("toy", "camvid"):
        folders[kind] = tmp_path_factory.mktemp(kind)
        write_run(folders[kind], kind, STAGES)
        write_report(folders[kind])
    return folders


def write_run(folder: Path, kind: str, stages: Sequence[str]) -> None:
    """Write the files of the given stages as a run would leave them."""
    toy = kind == "toy"
    sites = [f"body.{index}.conv2" for index in (range(5) if toy else range(4, 17))]
    rates = dict(zip(sites, TOY_RATES if toy else CAMVID_RATES, strict=True))
    searched = _searched(rates, toy)
    start_px, stride = (7, 4) if toy else (63, 16)
    steps, needed = (400, 191) if toy else (600, 959)
    name = "toy" if toy else "regseg_camvid"
    run = RunFolder.create(
        folder,
        command=f"dilsearch run {name} --profile quick --seed 0",
        space=SPACE.format(name=name),
        seed=0,
    )
    run.note_hash("data", "ef" * 32)
    summary: dict[str, Any] = {"classes": TOY_CLASSES if toy else CAMVID_CLASSES}
    trajectory = _trajectory(searched, steps, start_px, stride)
    if "search" in stages:
        run.write_csv("trajectory.csv", trajectory)
        run.write_text("plan.float.json", DilationPlan.per_branch(searched).to_json())
        field_px = int(trajectory["field_px"].iloc[-1])
        summary["search"] = {"seconds": 25.3, "steps": steps, "field_px": field_px}
        summary["search"]["needed_px"] = needed
    if "convert" in stages:
        run.write_text("plan.json", DilationPlan.per_branch(rates).to_json())
        run.write_csv("projection.csv", _projection(searched, rates))
        field = _field(rates, start_px, stride)
        run.write_csv("field.csv", field)
        summary["plan"] = {
            "rates": rates,
            "field_px": int(field["field_out_px"].iloc[-1]),
            "needed_px": needed,
            "bound_ok": True,
            "holes": 0,
        }
    _write_networks(run, summary, stages, toy, steps)
    run.write_json("summary.json", summary)
    for order, stage in enumerate(stages):
        run.begin(stage)
        run.finish(stage, seconds=20.5 + order)


def _merged(table: dict[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    for key, value in changes.items():
        if isinstance(value, Mapping) and isinstance(table.get(key), dict):
            _merged(table[key], value)
        else:
            table[key] = value
    return table


def _searched(rates: Mapping[str, tuple[int, ...]], toy: bool) -> dict[str, tuple[float, ...]]:
    if toy:
        return dict(zip(rates, TOY_FLOAT, strict=True))
    draw = np.random.default_rng(3)
    return {
        site: (
            float(low + (low > 1) * 0.9 * draw.random()),
            float(high - (high > 1) * 0.9 * draw.random()),
        )
        for site, (low, high) in rates.items()
    }


def _trajectory(
    searched: Mapping[str, tuple[float, ...]], steps: int, start_px: int, stride: int
) -> pd.DataFrame:
    draw = np.random.default_rng(0)
    step = np.arange(steps + 1)
    columns: dict[str, Any] = {}
    largest = np.zeros(steps + 1)
    for order, (site, rates) in enumerate(searched.items()):
        curves = []
        for branch, rate in enumerate(rates):
            middle = steps * (0.15 + 0.45 * order / len(searched) + 0.06 * branch)
            rise = 1 / (1 + np.exp(-(step - middle) / (steps * 0.045)))
            rise = (rise - rise[0]) / (rise[-1] - rise[0])
            wobble = 0.02 * np.cumsum(draw.normal(size=steps + 1)) * rise * (1 - rise) * 4
            curves.append(np.clip(1 + (rate - 1) * (rise + wobble), 1, None))
            columns[f"{site}[{branch}]"] = curves[-1].round(4)
        largest += np.ceil(np.max(curves, axis=0).round(4))
    field = start_px + 2 * stride * largest
    loss = 0.25 + 1.1 * np.exp(-step / (steps / 3)) * (1 + 0.18 * draw.normal(size=steps + 1))
    head = {
        "step": step,
        "samples": 8 * step,
        "loss": np.where(step > 0, loss.round(4), np.nan),
        "learning_rate": (0.05 * (1 - step / (steps + 1)) ** 0.9).round(6),
        "field_px": field.astype(int),
    }
    return pd.DataFrame(head | columns)


def _projection(
    searched: Mapping[str, tuple[float, ...]], rates: Mapping[str, tuple[int, ...]]
) -> pd.DataFrame:
    rules = ("floor of the smaller", "ceil of the larger")
    rows = [
        (site, branch, before, after, rules[branch])
        for site in rates
        for branch, (before, after) in enumerate(zip(searched[site], rates[site], strict=True))
        if before != after
    ]
    return pd.DataFrame(rows, columns=["site", "branch", "before", "after", "rule"])


def _field(rates: Mapping[str, tuple[int, ...]], size_px: int, stride: int) -> pd.DataFrame:
    rows = []
    for site, pair in rates.items():
        before, size_px = size_px, size_px + 2 * max(pair) * stride
        bound = before // stride
        rows.append(
            {
                "site": site,
                "taps": "3",
                "rates": " ".join(map(str, pair)),
                "field_in_px": before,
                "stride_in_px": stride,
                "bound": bound,
                "bound_ok": max(pair) <= bound,
                "field_out_px": size_px,
            }
        )
    return pd.DataFrame(rows)


def _write_networks(
    run: RunFolder, summary: dict[str, Any], stages: Sequence[str], toy: bool, steps: int
) -> None:
    networks = {"search": "fractional", "retrain": "retrain", "control": "control"}
    wrong = {"fractional": 0.02, "retrain": 0.01, "control": 0.4} if toy else {}
    wrong = wrong or {"fractional": 0.31, "retrain": 0.30, "control": 0.31}
    far = {"fractional": 0.981, "retrain": 0.992, "control": 0.334}
    images, truth = _toy_pictures() if toy else _street_pictures()
    arrays = {"images": images, "truth": truth}
    counts = []
    for seed, (stage, network) in enumerate(networks.items()):
        if stage not in stages or "convert" not in stages:
            continue
        arrays[network] = _predicted(truth, wrong[network], len(summary["classes"]), seed)
        pairs = pd.DataFrame({"truth": truth.ravel(), "predicted": arrays[network].ravel()})
        pairs = pairs[pairs["truth"] != 255].value_counts().reset_index(name="count")
        counts.append(pairs.assign(stage=network, region="all"))
        summary[network] = {"val": _scores(pairs)} | ({"seconds": 19.8} if seed else {})
        if toy:
            summary[network]["val"]["far_accuracy"] = far[network]
        if stage != "search":
            draw = np.random.default_rng(seed)
            step = np.arange(steps + 1)
            loss = wrong[network] + 1.3 * np.exp(-step / (steps / 4))
            loss = loss * (1 + 0.15 * draw.normal(size=steps + 1))
            columns = {"step": step, "samples": 8 * step, "loss": loss, "learning_rate": 0.05}
            run.write_csv(f"{stage}.csv", pd.DataFrame(columns))
    if counts:
        run.write_csv("counts.csv", pd.concat(counts))
        run.path("arrays").mkdir()
        stored = {name: array.astype(np.uint8) for name, array in arrays.items()}
        np.savez_compressed(run.path("arrays/predictions.npz"), **stored)


def _scores(pairs: pd.DataFrame) -> dict[str, float]:
    right = pairs[pairs["truth"] == pairs["predicted"]].set_index("truth")["count"]
    true, said = pairs.groupby("truth")["count"].sum(), pairs.groupby("predicted")["count"].sum()
    iou = right / (true + said - right)
    return {
        "pixel_accuracy": float(right.sum() / true.sum()),
        "class_accuracy": float((right / true).mean()),
        "mean_iou": float(iou.mean()),
        "freq_weighted_iou": float((iou * true / true.sum()).sum()),
    }


def _predicted(truth: np.ndarray, wrong: float, classes: int, seed: int) -> np.ndarray:
    """The truth with a share of its 6-px blocks given to another class."""
    draw = np.random.default_rng(seed)
    blocks = draw.random((truth.shape[0], truth.shape[1] // 6, truth.shape[2] // 6)) < wrong
    mask = np.kron(blocks, np.ones((1, 6, 6), dtype=bool))
    other = np.kron(draw.integers(1, classes, blocks.shape), np.ones((1, 6, 6), dtype=int))
    return np.where(mask | (truth == 255), other, truth)


def _toy_pictures() -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(1)
    truth = np.zeros((4, 96, 96), dtype=np.int64)
    images = np.full((4, 96, 96, 3), 30, dtype=np.uint8)
    shades = np.array([[30, 30, 30], [213, 94, 0], [0, 158, 115], [86, 180, 233]], dtype=np.uint8)
    for sample in range(4):
        left = int(draw.integers(2, 8))
        while left < 84:
            width, label = int(draw.integers(6, 13)), int(draw.integers(1, 4))
            truth[sample, :, left : left + width] = label
            images[sample, :, left : left + width] = 170
            images[sample, 90:, left : left + width] = shades[label]
            left += width + int(draw.integers(4, 9))
    return images, truth


def _street_pictures() -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(2)
    truth = np.zeros((3, 180, 240), dtype=np.int64)
    for sample in range(3):
        horizon = int(draw.integers(80, 100))
        truth[sample, horizon:] = 3
        for left in range(0, 240, 40):
            truth[sample, horizon - int(draw.integers(20, 70)) : horizon, left : left + 40] = 1
        for label in (2, 4, 5, 6, 7, 8, 9, 10):
            top, left = int(draw.integers(horizon - 30, 140)), int(draw.integers(0, 200))
            truth[sample, top : top + 24, left : left + 30] = label
        truth[sample, 174:, :90] = 255
    shades = draw.integers(40, 220, (256, 3))
    noisy = shades[truth] + draw.normal(0, 9, (*truth.shape, 3))
    return noisy.clip(0, 255).astype(np.uint8), truth
