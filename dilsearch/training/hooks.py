"""What a training may do around its steps, beside moving weights."""

from collections.abc import Mapping, Sequence

from dilsearch.training.checkpoints import Row


class Hooks:
    """Called by ``fit`` at five points; each does nothing unless overridden.

    What a hook does must follow from the model and the step alone: a training that resumes calls
    ``begin`` on the restored model and goes on, and nothing else of a hook is restored.
    """

    def begin(self) -> None:
        """The model is as the first step will find it, restored or fresh."""

    def before_step(self, step: int) -> None:
        """The forward pass of a step, counted from 0, is about to run."""

    def before_update(self) -> None:
        """Gradients are there, and the optimisers have not used them yet."""

    def after_step(self) -> Mapping[str, float]:
        """The optimisers have moved; what is returned joins the history's row."""
        return {}

    def is_finished(self, history: Sequence[Row]) -> bool:
        """Whether to end before the schedule does; asked after every step."""
        return False
