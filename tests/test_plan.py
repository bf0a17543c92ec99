"""The dilation plan: a value, and its JSON in both directions."""

import copy
import pickle
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dilsearch.errors import PlanError
from dilsearch.plan import DilationPlan, SiteRates

PLAN = DilationPlan(
    {"body.0.conv2": SiteRates("branch", (1, 2.5)), "head.conv": SiteRates("site", (3,))}
)
GOLDEN = """{
  "schema_version": 1,
  "sites": {
    "body.0.conv2": {
      "kind": "branch",
      "rates": [
        1,
        2.5
      ]
    },
    "head.conv": {
      "kind": "site",
      "rates": [
        3
      ]
    }
  }
}
"""

rates = st.floats(min_value=1e-3, max_value=1e6)
sites = st.one_of(
    st.builds(SiteRates, st.just("site"), st.tuples(rates)),
    st.builds(SiteRates, st.just("branch"), st.lists(rates, min_size=1, max_size=4).map(tuple)),
)
plans = st.dictionaries(st.text(min_size=1, max_size=12), sites, max_size=4).map(DilationPlan)


class TestValue:
    def test_is_a_mapping_in_the_order_given(self):
        assert list(PLAN) == ["body.0.conv2", "head.conv"]
        assert PLAN["body.0.conv2"] == (1.0, 2.5)
        assert PLAN.kind("head.conv") == "site"
        assert "stem" not in PLAN
        assert repr(PLAN) == "DilationPlan(body.0.conv2: (1, 2.5), head.conv: (3))"

    def test_equality_asks_for_kinds_and_rates_but_not_order(self):
        turned = DilationPlan(
            {"head.conv": SiteRates("site", (3,)), "body.0.conv2": SiteRates("branch", (1, 2.5))}
        )
        assert turned == PLAN
        assert (hash(turned), turned.hash) == (hash(PLAN), PLAN.hash)
        other = DilationPlan.per_branch({"body.0.conv2": (1, 2.5), "head.conv": (3,)})
        assert other != PLAN
        assert other.hash != PLAN.hash
        assert dict(PLAN) != PLAN

    def test_the_given_mapping_can_change_without_it(self):
        given_sites = {"a": SiteRates("site", (1,))}
        plan = DilationPlan(given_sites)
        given_sites["b"] = SiteRates("site", (2,))
        assert list(plan) == ["a"]

    def test_copies_are_equal(self):
        assert copy.deepcopy(PLAN) == PLAN == pickle.loads(pickle.dumps(PLAN))

    def test_is_integer(self):
        assert not PLAN.is_integer
        assert PLAN.replace({"body.0.conv2": (1, 2)}).is_integer

    def test_replace_keeps_the_rest(self):
        replaced = PLAN.replace({"head.conv": (4.5,)})
        assert replaced["head.conv"] == (4.5,)
        assert replaced.kind("head.conv") == "site"
        assert replaced["body.0.conv2"] == PLAN["body.0.conv2"]
        assert PLAN["head.conv"] == (3.0,)

    def test_replace_refuses_other_sites_and_counts(self):
        with pytest.raises(
            PlanError, match=r"'stem' is not in the plan; it has body.0.conv2, head"
        ):
            PLAN.replace({"stem": (1,)})
        with pytest.raises(PlanError, match=r"'head.conv': 2 rates given where it has 1"):
            PLAN.replace({"head.conv": (1, 2)})

    @pytest.mark.parametrize(
        ("kind", "values", "text"),
        [
            ("channel", (1,), "kind 'channel' is unknown; use one of site, branch"),
            ("site", (1, 2), "a plan of kind 'site' has 2 rates"),
            ("branch", (), "a plan of kind 'branch' has 0 rates"),
            ("site", (0,), "rate 0.0 is not a finite number above 0"),
            ("branch", (1, -2), "rate -2.0 is not"),
            ("site", (float("nan"),), "rate nan is not"),
            ("site", (float("inf"),), "rate inf is not"),
        ],
    )
    def test_impossible_rates(self, kind, values, text):
        with pytest.raises(PlanError, match=text):
            SiteRates(kind, values)


class TestJson:
    def test_golden_text_in_both_directions(self):
        assert PLAN.to_json() == GOLDEN
        assert DilationPlan.from_json(GOLDEN) == PLAN

    def test_hash_is_the_same_everywhere(self):
        # SHA-256 of the canonical text, taken with sha256sum.
        assert PLAN.hash == "10818e07680bfd4ee9308065e32c8f53bfe2c3f3227796f6b5df724a3d6bdad1"

    @settings(deadline=None, max_examples=50)
    @given(plans)
    def test_round_trip_is_exact(self, plan: DilationPlan):
        again = DilationPlan.from_json(plan.to_json())
        assert again == plan
        assert list(again) == list(plan)
        assert again.hash == plan.hash

    def test_file_round_trip(self, tmp_path: Path):
        PLAN.save(tmp_path / "plan.json")
        assert DilationPlan.load(tmp_path / "plan.json") == PLAN

    @pytest.mark.parametrize(
        ("before", "after", "text"),
        [
            (GOLDEN, "{", "here.json is not JSON"),
            (GOLDEN, "[1]", "here.json is not a dilation plan: it has no 'schema_version'"),
            ('"schema_version": 1,', "", "it has no 'schema_version'"),
            ('"schema_version": 1', '"schema_version": 2', "schema version 2, and this .* reads 1"),
            ('"sites"', '"rates"', "here.json has no table 'sites'"),
            ('"kind": "site",', "", "here.json: site 'head.conv' needs exactly 'kind' and 'rates'"),
            ('"kind": "site"', '"kind": "all"', "here.json: site 'head.conv': kind 'all' is unkn"),
            ("2.5", '"2.5"', r"here.json: site 'body.0.conv2': rates \[1, '2.5'\] are not a list"),
            ("2.5", "true", "are not a list of numbers"),
            ("2.5", "NaN", "here.json: site 'body.0.conv2': rate nan is not a finite number"),
            ("2.5", "1" + "0" * 400, "here.json: site 'body.0.conv2': int too large"),
        ],
    )
    def test_faults_name_the_source_and_the_site(self, before: str, after: str, text: str):
        with pytest.raises(PlanError, match=text):
            DilationPlan.from_json(GOLDEN.replace(before, after), source="here.json")

    def test_unreadable_files(self, tmp_path: Path):
        with pytest.raises(PlanError, match=r"cannot read plan .*none.json: No such file"):
            DilationPlan.load(tmp_path / "none.json")
        (tmp_path / "weights").write_bytes(b"\xff\xfe\x00")
        with pytest.raises(PlanError, match="weights is not a text file"):
            DilationPlan.load(tmp_path / "weights")
