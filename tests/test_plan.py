"""The dilation plan: a value, and its JSON in both directions."""

import copy
import pickle
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dilsearch.errors import PlanError
from dilsearch.plan import DilationPlan, SiteRates, shown_rates

PLAN = DilationPlan(
    {"body.0.conv2": SiteRates("branch", (1, 2.5)), "head.conv": SiteRates("site", (3,))}
)
APART = DilationPlan(
    {
        "a": SiteRates("site", (1, 2.5), axes=2),
        "b": SiteRates("channel", (1, 2, 3, 4.5), axes=2),
        "c": SiteRates("channel", (4, 8), causal=True),
    }
)
GOLDEN_APART = """{
  "schema_version": 2,
  "sites": {
    "a": {
      "kind": "site",
      "rates": [
        [
          1,
          2.5
        ]
      ]
    },
    "b": {
      "kind": "channel",
      "rates": [
        [
          1,
          2
        ],
        [
          3,
          4.5
        ]
      ]
    },
    "c": {
      "kind": "channel",
      "rates": [
        4,
        8
      ],
      "causal": true
    }
  }
}
"""
GOLDEN = """{
  "schema_version": 2,
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

GOLDEN_1 = GOLDEN.replace('"schema_version": 2', '"schema_version": 1')
"""Written before there were channels and separate axes, and byte for byte what it was then."""

rates = st.floats(min_value=1e-3, max_value=1e6)


@st.composite
def site_rates(draw: st.DrawFn) -> SiteRates:
    kind = draw(st.sampled_from(["site", "branch", "channel"]))
    axes = draw(st.integers(1, 3))
    count = axes * (1 if kind == "site" else draw(st.integers(1, 4)))
    values = draw(st.lists(rates, min_size=count, max_size=count))
    return SiteRates(kind, tuple(values), axes, draw(st.booleans()))


sites = site_rates()
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
            ("group", (1,), "kind 'group' is unknown; use one of site, branch, channel"),
            ("site", (1, 2), "a plan of kind 'site' has 2 rates; give one for 'site', at least"),
            ("branch", (), "a plan of kind 'branch' has 0 rates"),
            ("channel", (), "a plan of kind 'channel' has 0 rates"),
            ("site", (0,), "rate 0.0 is not a finite number above 0"),
            ("branch", (1, -2), "rate -2.0 is not"),
            ("site", (float("nan"),), "rate nan is not"),
            ("site", (float("inf"),), "rate inf is not"),
        ],
    )
    def test_impossible_rates(self, kind, values, text):
        with pytest.raises(PlanError, match=text):
            SiteRates(kind, values)

    def test_rates_without_a_kind_are_refused_by_name(self):
        with pytest.raises(PlanError) as refused:
            DilationPlan({"a": (2.5,), "b": SiteRates("site", (1,)), "c": 2})
        text = str(refused.value)
        assert "this is no plan, 2 faults" in text
        assert "site 'a': (2.5,) does not say what its rates stand for" in text
        assert "site 'c': 2 does not say" in text
        assert "'b'" not in text


class TestRows:
    def test_one_rate_for_all_axes(self):
        rates = SiteRates("branch", (1, 2, 3))
        assert (rates.rows, rates.count, rates.axes) == (((1,), (2,), (3,)), 3, 1)

    def test_a_rate_for_each_axis(self):
        rates = SiteRates("channel", (1, 2, 3, 4, 5, 6), axes=2)
        assert (rates.rows, rates.count) == (((1, 2), (3, 4), (5, 6)), 3)
        assert SiteRates("site", (1, 2, 3), axes=3).rows == ((1, 2, 3),)

    def test_replace_keeps_the_form(self):
        rates = SiteRates("branch", (1, 2, 3, 4), axes=2, causal=True)
        assert rates.replace([5, 6, 7, 8]) == SiteRates("branch", (5, 6, 7, 8), 2, causal=True)
        with pytest.raises(PlanError, match="has 3 rates; give one for each of 2 axes for 'site'"):
            rates.replace([5, 6, 7])

    def test_form_is_part_of_equality(self):
        forms = [
            SiteRates("branch", (1, 2)),
            SiteRates("channel", (1, 2)),
            SiteRates("branch", (1, 2), axes=2),
            SiteRates("branch", (1, 2), causal=True),
        ]
        plans = {DilationPlan({"a": form}) for form in forms}
        assert len(plans) == len({plan.hash for plan in plans}) == 4

    @pytest.mark.parametrize(
        ("kind", "count", "axes", "text"),
        [
            ("site", 1, 2, "'site' has 1 rates; give one for each of 2 axes"),
            ("channel", 3, 2, "'channel' has 3 rates"),
            ("site", 4, 4, "axes = 4 is not a number of axes; give 1, 2 or 3"),
            ("site", 1, 0, "axes = 0 is not a number of axes"),
        ],
    )
    def test_rates_that_do_not_fill_their_rows(self, kind, count, axes, text):
        with pytest.raises(PlanError, match=text):
            SiteRates(kind, (1,) * count, axes)

    def test_shown(self):
        assert shown_rates(SiteRates("branch", (1, 2.5, 3, 4), axes=2)) == "(1x2.5, 3x4)"
        many = SiteRates("channel", tuple(range(1, 101)))
        assert shown_rates(many) == "(100 from 1 to 100, mean 50.5)"
        assert len(repr(DilationPlan({"a": many}))) < 80


class TestJson:
    @pytest.mark.parametrize(("plan", "text"), [(PLAN, GOLDEN), (APART, GOLDEN_APART)])
    def test_golden_text_in_both_directions(self, plan: DilationPlan, text: str):
        assert plan.to_json() == text
        assert DilationPlan.from_json(text) == plan

    def test_version_1_is_still_read(self):
        assert DilationPlan.from_json(GOLDEN_1) == PLAN
        assert DilationPlan.from_json(GOLDEN_1).to_json() == GOLDEN

    def test_hash_is_the_same_everywhere(self):
        # SHA-256 of the canonical text, taken with sha256sum.
        assert PLAN.hash == "ec917de0b22fe4827e0bc88406ac22077cf9dc91b5861a4377ccdc95284015a6"

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
            ('"schema_version": 2,', "", "it has no 'schema_version'"),
            (": 2,", ": 3,", "schema version 3, and this .* reads versions 1 to 2. Upgrade"),
            (": 2,", ": 0,", "has schema version 0"),
            (": 2,", ": true,", "has schema version True"),
            (": 2,", ': "2",', "has schema version 2, and this"),
            ('"sites"', '"rates"', "here.json has no table 'sites'"),
            ('"kind": "site",', "", "here.json: site 'head.conv' needs 'kind' and 'rates', and 'c"),
            ('"kind": "site"', '"kind": "site", "axes": 2', "site 'head.conv' needs 'kind' and"),
            ('"kind": "site"', '"kind": "site", "causal": 1', "causal = 1 is neither true nor"),
            ('"kind": "site"', '"kind": "channels"', "kind 'channels' is unknown; use one of site"),
            ("2.5", "[2.5]", r"'body.0.conv2': rates \[1, \[2.5\]\] are not a list of numbers, or"),
            ("3\n", "[3, 4], [5]\n", r"rates \[\[3, 4\], \[5\]\] are not a list of numbers"),
            ("3\n", "[3, 4], [5, 6]\n", "'head.conv': a plan of kind 'site' has 4 rates"),
            ("3\n", "[]\n", "'head.conv': axes = 0 is not a number of axes"),
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
