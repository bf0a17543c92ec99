"""Rates of another form than a site has are refused in the words that files are compared in."""

from dilsearch.plan import DilationPlan, SiteRates
from dilsearch.surgery.form_faults import form_faults


def test_what_is_missing_and_what_is_of_another_form() -> None:
    model = DilationPlan(
        {
            "a": SiteRates("site", (1,)),
            "b": SiteRates("branch", (1, 2)),
            "c": SiteRates("site", (1,)),
        }
    )
    plan = DilationPlan(
        {
            "a": SiteRates("site", (7,)),
            "b": SiteRates("channel", (1, 2)),
            "d": SiteRates("site", (1,)),
        }
    )
    assert form_faults(plan, model) == [
        "site 'c' has no rates in the plan; give it 1 rate",
        "site 'b' has 2 rates of kind 'channel' in the plan, 2 rates of kind 'branch' in the "
        "model; give them so",
    ]
    assert not form_faults(model, model)
