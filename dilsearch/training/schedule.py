"""The learning-rate schedule of the segmentation literature: linear warm-up, polynomial decay."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PolySchedule:
    """Factor on the learning rates: (1 - t/T)^power, times a linear ramp for the first steps.

    Args:
        steps: Length T of the training.
        power: Exponent of the decay; 0.9 in DeepLab, LDN and RegSeg.
        warmup_steps: Length of the ramp; 0 for none.
        warmup_factor: Where the ramp starts; it ends at 1.
    """

    steps: int
    power: float = 0.9
    warmup_steps: int = 0
    warmup_factor: float = 0.1

    def factor(self, step: int) -> float:
        """The factor at a step counted from 0."""
        decay = float((1 - step / self.steps) ** self.power)
        if step >= self.warmup_steps:
            return decay
        ramp = self.warmup_factor + (1 - self.warmup_factor) * step / self.warmup_steps
        return decay * ramp
