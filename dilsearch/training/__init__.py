"""One training loop for search, retraining and control, and what it is made of."""

from dilsearch.training.adapters import (
    AdaptedLoss,
    BatchFunction,
    LogitsLoss,
    OutputFunction,
    call_model,
    logits_for,
)
from dilsearch.training.checkpoints import Checkpoint
from dilsearch.training.devices import open_fabric
from dilsearch.training.evaluate import Evaluation, evaluate
from dilsearch.training.hooks import Hooks
from dilsearch.training.loop import History, fit
from dilsearch.training.losses import build_loss
from dilsearch.training.optimizers import weight_optimizer
from dilsearch.training.schedule import PolySchedule

__all__ = [
    "AdaptedLoss",
    "BatchFunction",
    "Checkpoint",
    "Evaluation",
    "History",
    "Hooks",
    "LogitsLoss",
    "OutputFunction",
    "PolySchedule",
    "build_loss",
    "call_model",
    "evaluate",
    "fit",
    "logits_for",
    "open_fabric",
    "weight_optimizer",
]
