"""Field sizes as Tensors that follow the rates: what the differentiable terms are made of."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from dilsearch.errors import SearchError
from dilsearch.geometry import FieldGraph
from dilsearch.geometry.real_field import RealField
from dilsearch.surgery import field_graph
from dilsearch.surgery.rates import relaxed_sites

Rows = Mapping[str, Tensor]
"""Rates by site: branches or channels down, axes across (a single column where one rate stands
for all)."""


def graph_of(model: nn.Module, term: str, *, otherwise: str) -> FieldGraph:
    """The field graph of a relaxed model, which a term needs; what to do otherwise.

    Raises:
        SearchError: If it has none.
    """
    graph = field_graph(model)
    if graph is None:
        raise SearchError(
            f"{term} needs the model's field graph; give relax an example input, or {otherwise}"
        )
    return graph


def real_rates(model: nn.Module) -> dict[str, Tensor]:
    """The rates of a relaxed model by site, in rows; a gradient through them reaches the model.

    All are on the device of the first site's.
    """
    layers = relaxed_sites(model)
    device = next(iter(layers.values())).rate.device
    return {
        site: (layer.rate if layer.rate.ndim == 2 else layer.rate.reshape(-1, 1)).to(device)
        for site, layer in layers.items()
    }


def sizes_px(fields: Sequence[tuple[RealField, int]], rates: Rows) -> Tensor:
    """The sizes of real fields, with slopes that lead to the rates.

    Args:
        fields: Each field with the axis it is along.
        rates: What the fields were computed for.

    Returns:
        One size for each field, float32, on the device of the rates.
    """
    slopes = [
        {(site, row, _column(rates[site], axis)): slope for (site, row), slope in slopes_px.items()}
        for slopes_px, axis in ((field.slopes_px, axis) for field, axis in fields)
    ]
    places = list(dict.fromkeys(place for one in slopes for place in one))
    device = next(iter(rates.values())).device
    sizes = torch.tensor([field.size_px for field, _ in fields], device=device)
    if not places:
        return sizes
    moving = torch.stack([rates[site][row, column] for site, row, column in places])
    table = torch.tensor([[one.get(place, 0.0) for place in places] for one in slopes])
    # what is added is 0, whatever the rates, and carries the slopes; no matrix product, which
    # autocast would round
    return sizes + (table.to(device) * (moving - moving.detach())).sum(1)


def _column(rates: Tensor, axis: int) -> int:
    return axis if rates.shape[1] > 1 else 0
