"""The rates that a model has now, whether they are learned or lie fixed in plain layers."""

from torch import nn

from dilsearch.errors import SurgeryError
from dilsearch.layers import RelaxedConv, rates_of
from dilsearch.layers.grid import moving
from dilsearch.layers.relaxable import Convolution, rate_rows
from dilsearch.plan import DilationPlan, SiteRates
from dilsearch.sites import Granularity
from dilsearch.surgery.companion import companion_of
from dilsearch.surgery.rates import rates_as_read, read_plan, relaxed_sites, site_granularities
from dilsearch.tracing.wrappers import plain_path, unwrapped


def modules_by_site(model: nn.Module) -> dict[str, nn.Module]:
    """Every module by the path it has without wrappers."""
    # of a wrapper and its inner module, which share a path, the inner one comes last
    return {plain_path(path): module for path, module in unwrapped(model).named_modules()}


def is_relaxed(model: nn.Module) -> bool:
    """Whether any site has rates to learn."""
    return any(isinstance(module, RelaxedConv) for module in model.modules())


def has_sites(model: nn.Module) -> bool:
    """Whether the model's sites are known: it was relaxed, discretised or given a plan."""
    return companion_of(model) is not None or is_relaxed(model)


def present_plan(model: nn.Module, *, read_learned: bool = True) -> DilationPlan:
    """The rates that a relaxed or discretised model has now, read off its modules.

    Args:
        model: The model.
        read_learned: Whether rates to learn are read; they stand as 1 otherwise, which tells their
            form even where training diverged or the device holds no values.

    Raises:
        SurgeryError: If its sites are unknown, or no convolution stands where one was.
    """
    if not has_sites(model):
        raise SurgeryError(
            f"{type(unwrapped(model)).__name__} was neither relaxed nor discretised, so that its "
            "sites are unknown; relax it, or give it a plan with apply_plan, first"
        )
    learned = _learned_rates(model, read=read_learned) if is_relaxed(model) else {}
    fixed = {site: limits for site, limits in known_sites(model).items() if site not in learned}
    modules = modules_by_site(model)
    faults = [
        f"site '{site}' has become a {type(modules[site]).__name__}"
        if site in modules
        else f"site '{site}' is gone"
        for site in fixed
        if not isinstance(modules.get(site), Convolution)
    ]
    if faults:
        raise SurgeryError.from_faults("convolutions were replaced; put them back", faults)
    return DilationPlan(
        {
            site: learned[site] if site in learned else _fixed_rates(modules[site], limits)
            for site, limits in known_sites(model).items()
        }
    )


def known_sites(model: nn.Module) -> dict[str, Granularity]:
    """What may vary at each site, or might before it was discretised."""
    companion = companion_of(model)
    sites = dict(companion.sites) if companion is not None else {}
    return sites | (site_granularities(model) if is_relaxed(model) else {})


def _learned_rates(model: nn.Module, *, read: bool) -> dict[str, SiteRates]:
    if read:
        return dict(read_plan(model).sites)
    return {
        site: rates_as_read(layer, (1.0,) * layer.rate.numel())
        for site, layer in relaxed_sites(model).items()
    }


def _fixed_rates(module: nn.Module, granularity: Granularity) -> SiteRates:
    assert isinstance(module, Convolution)
    rows, count = rates_of(module), rate_rows(module, granularity)
    rows = rows if len(rows) == count else rows[:1] * count
    if not granularity.separate_axes:
        rows = tuple(moving(row, module.kernel_size)[:1] for row in rows)
    flat = tuple(float(rate) for row in rows for rate in row)
    return SiteRates(granularity.kind, flat, len(rows[0]), granularity.causal)
