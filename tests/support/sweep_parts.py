"""A small network to sweep, a training that is a formula, and the simplest worker there can be."""

from collections.abc import Callable
from pathlib import Path

import optuna

from dilsearch.baselines.artifacts import attach
from dilsearch.baselines.objectives import Objectives
from dilsearch.baselines.protocols import SweepProtocol
from dilsearch.baselines.table import record_request, record_result
from dilsearch.baselines.trial import Look, Train, TrialRequest, TrialResult
from dilsearch.baselines.twins import answer_from, finished_twin
from dilsearch.geometry import FieldGraph, Node, Source, Window
from dilsearch.plan import DilationPlan

NAMES = ("a", "b", "c", "d")
LIMITS = dict.fromkeys(NAMES, (1, 9))
FORM = DilationPlan.per_branch(dict.fromkeys(NAMES, (1, 1)))
TRAIN_STEPS = 40
LOOKS = 4


def graph() -> FieldGraph:
    """Four sites of two branches behind a stem of 15 px at stride 4, where the bound is 3."""
    return FieldGraph((Source("image"), _window("stem", "image", 15, 4), *_sites()), ("d",))


def _sites() -> list[Node]:
    return [
        _window(name, source, 3, 1, branches=2)
        for source, name in zip(("stem", *NAMES), NAMES, strict=False)
    ]


def _window(name: str, source: str, taps: int, stride: int, branches: int = 1) -> Window:
    return Window(
        name=name,
        source=source,
        taps=(taps, taps),
        stride=(stride, stride),
        anchor=(0, 0),
        rates=((1, 1),) * branches,
        site=branches > 1,
    )


def field_px(plan: DilationPlan) -> int:
    size = graph().propagate(plan).field_px
    assert isinstance(size, int)
    return size


def formula(folder: Path, wanted_px: int = 150, latency: bool = False) -> Train:
    """A training whose score falls with the distance of the field from a wanted one."""

    def train(request: TrialRequest, look: Look | None) -> TrialResult:
        plan, seed = request.suggestion.plan, request.suggestion.seed
        size = field_px(plan)
        final = 1 - abs(size - wanted_px) / 1000 - seed / 1e4
        own = folder / "trials" / f"{request.number:04}"
        own.mkdir(parents=True)
        (own / "plan.json").write_text(plan.to_json())
        (own / "counts.csv").write_text("stage,region,truth,predicted,count\n")
        (own / "log.txt").write_text(f"trial {request.number}\n")
        step, score, pruned = TRAIN_STEPS, final, False
        for number in range(1, LOOKS + 1):
            step, score = number * TRAIN_STEPS // LOOKS, final * number / LOOKS
            if look is not None and look(step, score):
                pruned = True
                break
        files = {name: own / name for name in ("plan.json", "counts.csv", "log.txt")}
        return TrialResult(
            pruned=pruned,
            scores={"mean_iou": score} if pruned else {"mean_iou": score, "far_accuracy": score},
            field_px=size,
            samples=8 * step,
            seconds=float(step),
            latency_ms=sum(map(sum, plan.values())) / 10 if latency else None,
            device="a formula",
            folder=f"trials/{request.number:04}",
            files=files,
        )

    return train


def drain(
    study: optuna.Study,
    protocol: SweepProtocol,
    objectives: Objectives,
    train: Train,
    folder: Path,
    *,
    total: int | None = None,
    prunes: bool = False,
    before: Callable[[int], None] = lambda number: None,
) -> None:
    """Enqueue every slot and run them one after the other."""
    slots = protocol.slots(total)
    for slot in slots:
        study.enqueue_trial(dict(slot.parameters), user_attrs={"slot": slot.key})
    for number, slot in enumerate(slots):
        before(number)
        study.sampler = protocol.sampler(number)
        trial = study.ask()
        assert trial.number == number
        suggestion = protocol.suggest(trial)
        request = TrialRequest(number, slot.key, suggestion)
        record_request(trial, request)
        twin = finished_twin(study, number, suggestion.plan.hash, suggestion.seed)

        def look(step: int, score: float, trial: optuna.Trial = trial) -> bool:
            trial.report(score, step)
            return trial.should_prune()

        if twin:
            result = answer_from(trial, twin, suggestion.plan, folder)
        else:
            result = train(request, look if prunes else None)
        record_result(trial, result)
        attach(study._storage, trial, result.files, folder)
        if result.pruned:
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)
        else:
            study.tell(trial, objectives.values(result))
