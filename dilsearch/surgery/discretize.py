"""From a relaxed model and an integer plan to a model of plain layers."""

from torch import nn

from dilsearch.errors import PlanError
from dilsearch.layers import RelaxedConv
from dilsearch.layers.whole import whole_rate_faults
from dilsearch.plan import DilationPlan
from dilsearch.surgery.companion import Companion, attach, companion_of
from dilsearch.surgery.form_faults import form_faults
from dilsearch.surgery.rates import rates_as_read, relaxed_sites, site_granularities
from dilsearch.surgery.relax import copied
from dilsearch.tracing.shadow import replace_modules
from dilsearch.tracing.wrappers import unwrapped


def discretize(model: nn.Module, plan: DilationPlan, *, inplace: bool = False) -> nn.Module:
    """A model of plain layers with the plan's rates and the relaxed model's weights.

    Exact: at the rates a model was relaxed from, the result computes what the model computed, bit
    for bit. A site becomes the ``torch.nn`` convolution; with different rates by branch,
    ``BranchConv2d``; and what neither has a word for, rates by channel or padding that differs
    between the ends of an axis, ``MixedRateConv``. So does a site whose ``dilation`` or ``padding``
    a module around it reads, to pad by hand: there both have to stay what they were. Weights keep
    their names and their parametrisations, so that checkpoints of the network before relaxation
    load. A subclass of a
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
    # of the model that was given: graph modules of torch.fx lose it when they are copied
    companion, granularities = companion_of(model), site_granularities(model)
    target = model if inplace else copied(model)
    replacements: dict[int, nn.Module] = {
        id(layer): layer.to_conv(
            plan.sites[name].rows if layer.granularity.separate_axes else plan[name]
        )
        for name, layer in relaxed_sites(target).items()
    }
    result = replace_modules(target, replacements)
    attach(result, Companion(granularities, companion.graph if companion is not None else None))
    return result


def plan_faults(sites: dict[str, RelaxedConv], plan: DilationPlan) -> list[str]:
    """Why a plan cannot set the whole rates of these sites: none if it can.

    Args:
        sites: Relaxed sites by name.
        plan: The rates.
    """
    form = {
        site: rates_as_read(layer, (1.0,) * layer.rate.numel()) for site, layer in sites.items()
    }
    return [
        *(
            f"site '{site}' of the plan is not a relaxed site of the model; the model's are "
            f"{', '.join(map(repr, sites))}"
            for site in plan
            if site not in sites
        ),
        *form_faults(plan, DilationPlan(form)),
        *(
            f"site '{site}': {fault}"
            for site, rates in plan.items()
            if site in sites
            for fault in whole_rate_faults(rates)
        ),
    ]
