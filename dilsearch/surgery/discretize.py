"""From a relaxed model and an integer plan to a model of plain layers."""

from torch import nn

from dilsearch.errors import PlanError
from dilsearch.layers import RelaxedConv
from dilsearch.plan import DilationPlan, SiteRates
from dilsearch.surgery.companion import Companion, attach, companion_of
from dilsearch.surgery.rates import rates_as_read, relaxed_sites, site_granularities
from dilsearch.surgery.relax import copied
from dilsearch.tracing.shadow import replace_modules
from dilsearch.tracing.wrappers import unwrapped


def discretize(model: nn.Module, plan: DilationPlan, *, inplace: bool = False) -> nn.Module:
    """A model of plain layers with the plan's rates and the relaxed model's weights.

    Exact: at the rates a model was relaxed from, the result computes what the model computed, bit
    for bit. A site becomes the ``torch.nn`` convolution; with different rates by branch,
    ``BranchConv2d``; and what neither has a word for, rates by channel or padding that differs
    between the ends of an axis, ``MixedRateConv``. Weights keep their names and their
    parametrisations, so that checkpoints of the network before relaxation load. A subclass of a
    ``torch.nn`` convolution comes back as that convolution, and a model that training has wrapped
    comes back unwrapped.

    Args:
        model: A relaxed model.
        plan: Whole rates for exactly the sites of the model.
        inplace: Change the model that was given, sharing its Parameters, instead of a copy.

    Raises:
        PlanError: With every fault, by site, if the plan does not fit the model.
        SurgeryError: If the model has no relaxed site.
    """
    faults = plan_faults(relaxed_sites(model), plan)
    if faults:
        raise PlanError.from_faults("the plan does not fit the model", faults)
    model = unwrapped(model)
    target = model if inplace else copied(model)
    companion, granularities = companion_of(target), site_granularities(target)
    replacements: dict[int, nn.Module] = {
        id(layer): layer.to_conv(
            plan.sites[name].rows if layer.granularity.separate_axes else plan[name]
        )
        for name, layer in relaxed_sites(target).items()
    }
    result = replace_modules(target, replacements)
    attach(result, Companion(granularities, companion.graph if companion is not None else None))
    return result


def plan_faults(
    sites: dict[str, RelaxedConv], plan: DilationPlan, *, whole: bool = True
) -> list[str]:
    """Why a plan cannot set the rates of these sites: none if it can.

    Args:
        sites: Relaxed sites by name.
        plan: The rates.
        whole: Whether rates must be whole numbers.
    """
    faults = [
        f"site '{name}' of the plan is not a relaxed site of the model; the model's are "
        f"{', '.join(repr(site) for site in sites)}"
        for name in plan
        if name not in sites
    ]
    for name, layer in sites.items():
        if name not in plan:
            faults.append(f"site '{name}' has no rates in the plan; give it {layer.rate.numel()}")
        else:
            faults += (f"site '{name}': {fault}" for fault in _rate_faults(layer, plan.sites[name]))
            if whole:
                faults += [
                    f"site '{name}': rate {rate:g} is not a whole number of at least 1; "
                    "project the plan first"
                    for rate in dict.fromkeys(plan[name])
                    if not rate.is_integer() or rate < 1
                ]
    return faults


def _rate_faults(layer: RelaxedConv, rates: SiteRates) -> list[str]:
    count = layer.rate.numel()
    own = rates_as_read(layer, (1.0,) * count)
    if len(rates.rates) != count:
        return [
            f"the plan gives {len(rates.rates)} rates where the model has {count}; give one for "
            "each"
        ]
    if rates.axes != own.axes:
        form = {1: "one for all axes"}
        return [
            f"the plan's rates are {form.get(rates.axes, f'{rates.axes} for each row')}, the "
            f"model's {form.get(own.axes, f'{own.axes} for each row')}; give them so"
        ]
    faults = []
    if count > own.axes and rates.kind != own.kind:
        faults.append(
            f"the plan's rates are of kind '{rates.kind}', the model's of kind '{own.kind}'; "
            "give them so"
        )
    if rates.causal != own.causal:
        is_so = "is" if own.causal else "is not"
        faults.append(f"the site {is_so} causal; give its rates causal = {own.causal}")
    return faults
