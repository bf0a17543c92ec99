"""What the stages of one run share: its folder, space, data, device and networks."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import torch
from lightning_fabric import Fabric
from torch import nn

from dilsearch.data import DataSets, batches, open_data, seeded
from dilsearch.errors import DilsearchError, SpaceError
from dilsearch.models import build_model, searchable_blocks
from dilsearch.pipeline.rates import control_rates, site_limits, start_rates
from dilsearch.plan import DilationPlan
from dilsearch.progress import Reporter
from dilsearch.runs import RunFolder
from dilsearch.space import SearchSpace
from dilsearch.surgery import clamp_rates, discretize, read_plan, relax
from dilsearch.training import Checkpoint, PolySchedule, open_fabric
from dilsearch.training.loop import Batches

_STRIDE_MULTIPLE = 64  # more than the stride of any built-in network
CHECKPOINT_STEPS = 100


@dataclass
class Resources:
    """Data and device, opened when first needed and once.

    Args:
        space: The resolved space.
        data_root: Folder of the data set; None for a generated one.
        device: The user's word for a device.
    """

    space: SearchSpace
    data_root: Path | None = None
    device: str = "auto"

    @cached_property
    def fabric(self) -> Fabric:
        """Device and precision."""
        return open_fabric(self.device, self.space.train.precision)

    @cached_property
    def data(self) -> DataSets:
        """The data set, checked."""
        return open_data(self.space.data, root=self.data_root)

    @property
    def device_name(self) -> str:
        """The device in words, for the record."""
        device = self.fabric.device
        if device.type == "cuda":
            return torch.cuda.get_device_name(device)
        return device.type


@dataclass
class Workbench:
    """One run's folder and inputs.

    Args:
        folder: The run folder.
        resources: Space, data and device.
        seed: Seeds weights, data order and augmentation; never the validation set.
        reporter: Where progress is shown.
    """

    folder: RunFolder
    resources: Resources
    seed: int
    reporter: Reporter = field(default_factory=Reporter)

    @property
    def space(self) -> SearchSpace:
        """The resolved space."""
        return self.resources.space

    @property
    def fabric(self) -> Fabric:
        """Device and precision."""
        return self.resources.fabric

    @property
    def data(self) -> DataSets:
        """The data set, which must be the one that the run began with.

        Raises:
            RunError: If it is another.
        """
        data = self.resources.data
        self.folder.require_hash("data", data.content_hash)
        return data

    def open(self) -> None:
        """Open data and device now.

        Raises:
            DilsearchError: If there is anything wrong with either.
        """
        _ = self.fabric, self.data

    @property
    def num_classes(self) -> int:
        """Classes of the data set."""
        return len(self.space.data.class_names)

    def relaxed_network(self) -> nn.Module:
        """The space's network with fresh weights and searchable rates at their initial values.

        The same seed gives the same weights, so that search, retraining and control all start
        from one network.
        """
        return copy.deepcopy(self._fresh)

    @cached_property
    def _fresh(self) -> nn.Module:
        return build_relaxed(self.space, self.seed)

    def integer_network(self, plan: DilationPlan) -> nn.Module:
        """The same fresh network as plain layers with the plan's rates."""
        return discretize(self.relaxed_network(), plan, inplace=True)

    def schedule(self, steps: int) -> PolySchedule:
        """The learning-rate schedule of a training of that length."""
        train = self.space.train
        return PolySchedule(
            steps,
            power=train.poly_power,
            warmup_steps=min(train.warmup_steps, steps),
            warmup_factor=train.warmup_factor,
        )

    def batches(self, purpose: str, steps: int) -> Batches:
        """Training batches for one purpose; retraining and control share one order.

        Args:
            purpose: ``"search"`` or ``"retrain"``.
            steps: Length of the whole training.
        """
        size = self.space.train.batch_size
        with_seed = self.seed * 2 + (purpose == "search")
        stream = self.data.train_stream(seed=with_seed, samples=steps * size)
        workers = getattr(self.space.data, "workers", 0)
        return lambda start: batches(
            stream, batch_size=size, steps=steps, start_step=start, workers=workers
        )

    def checkpoint(self, stage: str, plan: DilationPlan | None = None) -> Checkpoint:
        """Where a stage keeps its state while it runs.

        Args:
            stage: Its name.
            plan: The plan it trains, so that a file left by another plan is not continued.
        """
        path = self.folder.path(f"checkpoints/{stage}.safetensors")
        return Checkpoint(path, plan.hash if plan is not None else "", every=CHECKPOINT_STEPS)


def build_relaxed(space: SearchSpace, seed: int) -> nn.Module:
    """A space's network with fresh weights, relaxed at the space's sites, its field traced.

    Raises:
        DilsearchError: If the space asks for what its network cannot have; the message names the
            space's section.
    """
    model = space.model
    with _blamed_on(space, "model"):
        blocks = searchable_blocks(model.name, **model.options)
        with seeded("weights", seed):
            network = build_model(
                model.name,
                num_classes=len(space.data.class_names),
                rates=((1,) * model.branches,) * blocks,
                **model.options,
            )
    height, width = (_rounded_up(size) for size in space.data.image_px)
    example = torch.empty(1, 3, height, width, device="meta")
    with _blamed_on(space, "sites"):
        granularities = site_limits(space, network, example)
        relaxed = relax(network, granularities, example=example, inplace=True)
        start_rates(space, relaxed, seed)
        clamp_rates(relaxed, gap="enforce" if space.gap.policy == "enforce" else "ignore")
    with _blamed_on(space, "control"):
        control_rates(space, read_plan(relaxed))
    return relaxed


@contextmanager
def _blamed_on(space: SearchSpace, section: str) -> Iterator[None]:
    """Say which section of which space asked for what turned out to be impossible."""
    try:
        yield
    except DilsearchError as error:
        raise SpaceError(f"space '{space.name}': [{section}]: {error}") from None


def _rounded_up(size: int) -> int:
    """A size that every stride divides, so that the tracer can follow upsampling exactly."""
    return -(-size // _STRIDE_MULTIPLE) * _STRIDE_MULTIPLE
