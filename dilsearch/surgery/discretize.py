"""From a relaxed model and an integer plan to a model of plain layers."""

import copy

from torch import nn

from dilsearch.errors import PlanError
from dilsearch.plan import DilationPlan
from dilsearch.surgery.companion import Companion, attach, companion_of
from dilsearch.surgery.rates import relaxed_sites
from dilsearch.tracing.shadow import replace_modules


def discretize(model: nn.Module, plan: DilationPlan, *, inplace: bool = False) -> nn.Module:
    """A model of plain layers with the plan's rates and the relaxed model's weights.

    Exact: at the rates a model was relaxed from, the result computes what the model computed, bit
    for bit. A site becomes ``nn.Conv2d`` or, with different rates by branch, ``BranchConv2d``.

    Args:
        model: A relaxed model.
        plan: Whole rates for exactly the sites of the model.
        inplace: Change the model that was given, sharing its Parameters, instead of a copy.

    Raises:
        PlanError: With every fault, by site, if the plan does not fit the model.
        SurgeryError: If the model has no relaxed site.
    """
    _check(model, plan)
    target = model if inplace else copy.deepcopy(model)
    companion = companion_of(target)
    replacements: dict[int, nn.Module] = {
        id(layer): layer.to_conv(plan[name]) for name, layer in relaxed_sites(target).items()
    }
    sites = {name: layer.granularity for name, layer in relaxed_sites(target).items()}
    result = replace_modules(target, replacements)
    attach(result, Companion(sites, companion.graph if companion is not None else None))
    return result


def _check(model: nn.Module, plan: DilationPlan) -> None:
    sites = relaxed_sites(model)
    faults = [
        f"site '{name}' of the plan is not a relaxed site of the model; the model's are "
        f"{', '.join(repr(site) for site in sites)}"
        for name in plan
        if name not in sites
    ]
    for name, layer in sites.items():
        branches = len(layer.initial_rates)
        if name not in plan:
            faults.append(f"site '{name}' has no rates in the plan; give it {branches}")
        elif len(plan[name]) != branches:
            faults.append(
                f"site '{name}': the plan gives {len(plan[name])} rates where the model has "
                f"{branches}; give one for each"
            )
        else:
            faults += [
                f"site '{name}': rate {rate:g} is not a whole number of at least 1; "
                "project the plan first"
                for rate in plan[name]
                if not rate.is_integer() or rate < 1
            ]
    if faults:
        raise PlanError.from_faults("the plan does not fit the model", faults)
