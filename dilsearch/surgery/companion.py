"""What travels beside a model, outside its state_dict: its sites and its field graph."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import nn
from torch.fx import GraphModule

from dilsearch.geometry import FieldGraph
from dilsearch.sites import Granularity
from dilsearch.tracing.wrappers import unwrapped

_ATTRIBUTE = "_dilsearch_companion"


@dataclass(frozen=True)
class Companion:
    """Kept by ``relax`` and ``discretize`` on the model they return.

    Args:
        sites: Site name to what may vary there, in the order of the graph or of the modules.
        graph: The field graph at the dilations before relaxation; None if no example was given.
    """

    sites: Mapping[str, Granularity]
    graph: FieldGraph | None

    def __deepcopy__(self, memo: dict[int, object]) -> "Companion":
        return self  # immutable: copies of a model share it


def attach(model: nn.Module, companion: Companion) -> None:
    """Keep a companion beside a model; deepcopy takes it along."""
    object.__setattr__(model, _ATTRIBUTE, companion)
    if isinstance(model, GraphModule):  # whose copies lose attributes, and when pickled its meta
        model.meta = {**getattr(model, "meta", {}), _ATTRIBUTE: companion}


def companion_of(model: nn.Module) -> Companion | None:
    """The companion of a model, also behind DistributedDataParallel, compile and Fabric."""
    inner = unwrapped(model)
    # torchvision's graph modules are without meta at first
    meta = getattr(inner, "meta", {}) if isinstance(inner, GraphModule) else {}
    companion = getattr(inner, _ATTRIBUTE, meta.get(_ATTRIBUTE))
    assert companion is None or isinstance(companion, Companion)
    return companion
