"""Rates in a Lightning training: a callback that holds, logs and saves them.

``pip install "dilsearch[lightning]"`` brings Lightning. Import the package that you train with,
``lightning`` or ``pytorch_lightning``, before this module: the callback is one of its own.
"""

import sys
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from dilsearch.errors import DilsearchError, SearchError
from dilsearch.layers import RelaxedConv
from dilsearch.plan import DilationPlan
from dilsearch.runs import write_atomically
from dilsearch.search.after_step import Gap, clamp_after_step, holds_rates
from dilsearch.search.loop import search_columns
from dilsearch.surgery import rate_parameters, read_plan
from dilsearch.surgery.companion import companion_of

if TYPE_CHECKING:
    from lightning.pytorch import Callback, LightningModule, Trainer

_PACKAGES = ("lightning.pytorch", "pytorch_lightning")


def callback_class() -> Any:
    """The ``Callback`` of the Lightning that is imported already, or else of one installed.

    Raises:
        ModuleNotFoundError: If none is installed.
    """
    for name in sorted(_PACKAGES, key=lambda package: package not in sys.modules):
        try:
            return import_module(name).Callback
        except ModuleNotFoundError as error:
            if error.name not in (name, name.partition(".")[0]):
                raise  # it is there, and something that it needs is not
    raise ModuleNotFoundError(
        'dilsearch.lightning needs Lightning; install it with pip install "dilsearch[lightning]"',
        name="lightning",
    )


if not TYPE_CHECKING:
    Callback = callback_class()


class RateCallback(Callback):
    """Holds the rates of a LightningModule to what is allowed, logs them and saves the plan.

    The module has a relaxed model as one of its submodules, or is one, and ``configure_optimizers``
    gives the rates to an optimiser, as ``dilsearch.param_groups`` does. After every step of that
    optimiser the rates are clamped. ``rate/SITE/BRANCH`` and ``field_px`` are logged with
    ``pl_module.log``, sites named as in the plan, relative to the relaxed model.

    In a warm-up the gradient of the rates is dropped, and not the rates frozen: a Parameter that
    stops needing a gradient, or begins to, breaks the bookkeeping of distributed training.

    Args:
        gap: ``"enforce"`` holds the rates to the gap bound too, for which ``relax`` needs an
            example; ``"ignore"`` to their limits alone.
        plan_path: Where the plan is written when the fit ends, an exception included; relative to
            the trainer's ``default_root_dir``. None writes none.
        freeze_steps: Steps before the rates begin to move, as ``trainer.global_step`` counts them.
        log_every: Batches from one logging to the next, 0 for none. The trainer's
            ``log_every_n_steps`` thins them out further.
        model: Path of the relaxed model within the module, such as ``"student"``; needed where
            there are several.

    Raises:
        SearchError: With every fault, if an argument cannot be used. When the fit begins: if the
            module has no relaxed model, or several, or no optimiser holds the rates.
        SurgeryError: When the fit begins, if ``gap`` is ``"enforce"`` and there is no field graph.
    """

    def __init__(
        self,
        *,
        gap: Gap = "enforce",
        plan_path: str | Path | None = "plan.float.json",
        freeze_steps: int = 0,
        log_every: int = 1,
        model: str | None = None,
    ) -> None:
        super().__init__()
        faults = [
            f"{name} = {value!r} is no number of {what}; give a whole one, 0 for none"
            for name, value, what in (
                ("freeze_steps", freeze_steps, "steps"),
                ("log_every", log_every, "batches"),
            )
            if isinstance(value, bool) or not isinstance(value, int) or value < 0
        ]
        if gap not in ("enforce", "ignore"):
            faults.append(f"gap = {gap!r} is unknown; use 'enforce' or 'ignore'")
        if faults:
            raise SearchError.from_faults("RateCallback", faults)
        self.gap: Gap = gap
        self.plan_path = plan_path
        self.freeze_steps = freeze_steps
        self.log_every = log_every
        self.model = model
        self._relaxed: nn.Module | None = None
        self._handles: list[RemovableHandle] = []

    def on_fit_start(self, trainer: "Trainer", pl_module: "LightningModule") -> None:
        """Find the relaxed model."""
        self._relaxed = relaxed_within(pl_module, self.model)

    def on_train_start(self, trainer: "Trainer", pl_module: "LightningModule") -> None:
        """Hold the rates, which a checkpoint may have brought, from here on."""
        relaxed = self._found()
        holding = [optimizer for optimizer in trainer.optimizers if holds_rates(optimizer, relaxed)]
        if not holding:
            raise SearchError(
                f"the rates of {type(relaxed).__name__} are in no optimiser, so that nothing moves "
                "them; let configure_optimizers give them to one, for instance with "
                "dilsearch.param_groups(...)"
            )
        self._release()
        self._handles = [clamp_after_step(one, relaxed, gap=self.gap) for one in holding]

    def on_before_optimizer_step(
        self, trainer: "Trainer", pl_module: "LightningModule", optimizer: Optimizer
    ) -> None:
        """Leave the rates where they are during the warm-up."""
        if trainer.global_step < self.freeze_steps:
            for rate in rate_parameters(self._found()):
                rate.grad = None

    def on_train_batch_end(
        self,
        trainer: "Trainer",
        pl_module: "LightningModule",
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Log field and rates."""
        if self.log_every and (batch_idx + 1) % self.log_every == 0:
            columns = search_columns(self._found())
            logged = {_logged_name(column): float(value) for column, value in columns.items()}
            pl_module.log_dict(logged, on_step=True, on_epoch=False)

    def on_fit_end(self, trainer: "Trainer", pl_module: "LightningModule") -> None:
        """Write the plan."""
        self._release()
        self._save(trainer, self.plan())

    def on_exception(
        self, trainer: "Trainer", pl_module: "LightningModule", exception: BaseException
    ) -> None:
        """Write the plan that was reached; nothing if training diverged."""
        self._release()
        with suppress(DilsearchError):  # there is an error to tell already
            self._save(trainer, self.plan())

    def plan(self) -> DilationPlan:
        """The present plan of the model that is, or was, trained.

        Raises:
            SearchError: If no fit has begun.
        """
        return read_plan(self._found())

    def _found(self) -> nn.Module:
        if self._relaxed is None:
            raise SearchError("RateCallback: no fit has begun; give it to a Trainer and fit")
        return self._relaxed

    def _save(self, trainer: "Trainer", plan: DilationPlan) -> None:
        if self.plan_path is not None and trainer.is_global_zero:
            write_atomically(Path(trainer.default_root_dir) / self.plan_path, plan.to_json())

    def _release(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles = []


def relaxed_within(module: nn.Module, path: str | None = None) -> nn.Module:
    """The relaxed model that a LightningModule holds, or is.

    Args:
        module: The LightningModule.
        path: Where to look in it; None if there is only one.

    Raises:
        SearchError: If there is none, or more than one.
    """
    name = type(module).__name__
    if path is not None:
        try:
            inside = module.get_submodule(path)
        except AttributeError:
            raise SearchError(f"{name} has no submodule '{path}'; give the path of one") from None
        return relaxed_within(inside)
    if not _has_sites(module):
        raise SearchError(
            f"{name} has no relaxed site; let it hold a model that relax returned, such as "
            "self.model = dilsearch.relax(...)"
        )
    # what relax returned has the field graph; sites that were put in by hand have only the module
    found: dict[str, nn.Module] = {}
    for inner, part in module.named_modules():  # the outermost of each: wrappers and all
        within = any(f"{inner}.".startswith(f"{outer}." if outer else "") for outer in found)
        if not within and companion_of(part) is not None and _has_sites(part):
            found[inner] = part
    if len(found) > 1:
        raise SearchError(
            f"{name} holds several relaxed models ({', '.join(found)}); say which one is trained, "
            f"as in RateCallback(model={next(iter(found))!r})"
        )
    return next(iter(found.values()), module)


def _has_sites(module: nn.Module) -> bool:
    return any(isinstance(part, RelaxedConv) for part in module.modules())


def _logged_name(column: str) -> str:
    """``rate/SITE/BRANCH``: a name without brackets, which some loggers refuse."""
    if not column.endswith("]"):
        return column
    site, _, label = column.removesuffix("]").rpartition("[")
    return "/".join(part for part in ("rate", site, label) if part)
