"""One training loop for search, retraining and control, and what it is made of."""

from dilsearch.training.checkpoints import Checkpoint
from dilsearch.training.devices import open_fabric
from dilsearch.training.evaluate import Evaluation, evaluate
from dilsearch.training.hooks import Hooks
from dilsearch.training.loop import History, fit
from dilsearch.training.losses import build_loss
from dilsearch.training.optimizers import weight_optimizer
from dilsearch.training.schedule import PolySchedule

__all__ = [
    "Checkpoint",
    "Evaluation",
    "History",
    "Hooks",
    "PolySchedule",
    "build_loss",
    "evaluate",
    "fit",
    "open_fabric",
    "weight_optimizer",
]
