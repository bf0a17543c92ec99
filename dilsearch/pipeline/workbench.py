"""What the stages of one run share: its folder, space, data, device and networks."""

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import torch
from lightning_fabric import Fabric
from torch import nn

from dilsearch.data import DataSets, batches, open_data
from dilsearch.pipeline.network import Network, build_relaxed
from dilsearch.plan import DilationPlan
from dilsearch.progress import Reporter
from dilsearch.runs import RunFolder
from dilsearch.space import SearchSpace
from dilsearch.surgery import discretize
from dilsearch.training import Checkpoint, Hooks, PolySchedule, open_fabric
from dilsearch.training.loop import Batches

CHECKPOINT_STEPS = 100


@dataclass
class Resources:
    """Data, device and network, made when first needed and once.

    Args:
        space: The resolved space.
        data_root: Folder of the data set; None for a generated one.
        device: The user's word for a device.
        network: Makes the network of a space that leaves it open.
    """

    space: SearchSpace
    data_root: Path | None = None
    device: str = "auto"
    network: Network | None = None
    _relaxed: dict[int, nn.Module] = field(default_factory=dict, init=False, repr=False)

    def relaxed_network(self, seed: int) -> nn.Module:
        """The network with its starting weights and rates, which is not to be changed."""
        if seed not in self._relaxed:
            self._relaxed[seed] = build_relaxed(self.space, seed, self.network)
        return self._relaxed[seed]

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
        retrain_hooks: From the network that is retrained to what happens around its steps.
    """

    folder: RunFolder
    resources: Resources
    seed: int
    reporter: Reporter = field(default_factory=Reporter)
    retrain_hooks: Callable[[nn.Module], Hooks] | None = None

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
        """The space's network with its starting weights, and rates at their initial values.

        Search, retraining and control all start from one network: the same seed gives the same
        weights, and those that a given network brings along are there each time.
        """
        return copy.deepcopy(self.resources.relaxed_network(self.seed))

    def integer_network(self, plan: DilationPlan) -> nn.Module:
        """The same starting network as plain layers with the plan's rates."""
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
