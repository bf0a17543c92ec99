"""Why the rates of a plan are not of the form that a model's sites have."""

from dilsearch.plan import DilationPlan
from dilsearch.surgery.differences import form_of


def form_faults(plan: DilationPlan, present: DilationPlan) -> list[str]:
    """Sites without rates, and rates of another form than the sites have.

    Args:
        plan: The rates to be given.
        present: The rates that the model's sites have; only their form counts.
    """
    faults = [
        f"site '{site}' has no rates in the plan; give it {form_of(rates)}"
        for site, rates in present.sites.items()
        if site not in plan
    ]
    return faults + [
        f"site '{site}' has {form_of(rates)} in the plan, {form_of(present.sites[site])} in the "
        "model; give them so"
        for site, rates in plan.sites.items()
        if site in present and form_of(rates) != form_of(present.sites[site])
    ]
