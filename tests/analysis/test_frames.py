"""Analyses as frames and as plain values: everything in them, in dtypes that never change."""

import json
from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import analyses
import pandas as pd
import pytest

from dilsearch.analysis.frames import (
    as_json,
    growth_frame,
    is_lower_bound,
    is_upper_bound,
    outputs_frame,
    sites_frame,
)
from dilsearch.analysis.reports import OutputReport, SiteReport
from dilsearch.analysis.result import Analysis

GAP_KEYS = {"holes", "largest_hole_px", "seen_share", "basis"}


def _stored(analysis: Analysis) -> dict[str, Any]:
    """The plain values after a way through strict JSON."""
    return dict(json.loads(json.dumps(as_json(analysis), allow_nan=False)))


@pytest.mark.parametrize("make", analyses.EVERY)
def test_plain_values_survive_strict_json(make: Callable[[], Analysis]) -> None:
    assert _stored(make()) == as_json(make())


@pytest.mark.parametrize("make", analyses.EVERY)
def test_nothing_of_a_report_is_left_out(make: Callable[[], Analysis]) -> None:
    analysis = make()
    values = as_json(analysis)
    assert len(values["sites"]) == len(analysis.sites)
    assert len(values["outputs"]) == len(analysis.outputs)
    named = {field.name for field in fields(SiteReport)} - {"gaps"}
    for site, report in zip(values["sites"], analysis.sites, strict=True):
        assert set(site) == named | GAP_KEYS | {"rate", "fix"}
        assert site["name"] == report.name
        assert site["fix"] == report.fix
    named = {field.name for field in fields(OutputReport)} - {"gaps"}
    for output in values["outputs"]:
        assert set(output) == named | GAP_KEYS | {"lower_bound", "upper_bound"}


def test_top_level_is_that_of_the_first_output() -> None:
    values = _stored(analyses.broken())
    names = (
        "model inputs input_px output field_px stride_px global_context needed_px holes bound_ok"
        " verdict parameters macs sites outputs global_nodes unfollowed remarks"
    )
    assert list(values) == names.split()
    assert values["inputs"] == [[1, 3, 512, 1024]]
    assert values["input_px"] == [512, 1024]
    assert values["output"] == "output"
    assert values["field_px"] == [67, 67]
    assert values["needed_px"] == [1023, 2047]
    assert values["holes"] == 384
    assert values["bound_ok"] is False
    assert values["verdict"] == analyses.broken().verdict
    assert values["macs"] == 1_814_073_344
    second = _stored(analyses.branches())
    assert second["output"] == "features[0]"
    assert second["global_context"] is True
    assert second["global_nodes"] == [
        {"node": "norm", "cause": "GroupNorm of norm", "field_px": None}
    ]
    assert _stored(analyses.unfollowed())["unfollowed"] == {"body": "fft_fft2 in encoder.mixer[0]"}


def test_sites_and_outputs_have_their_values() -> None:
    values = _stored(analyses.branches())
    aspp, up = values["sites"]
    assert aspp["rates"] == [[1, 1], [2, 4], [4, 4]]
    assert aspp["rate"] == [4, 4]
    assert (up["bound"], up["bound_ok"], up["fix"]) == (None, None, "")
    first = values["outputs"][0]
    assert (first["field_px"], first["field_min_px"]) == ([575, 575], [571, 571])
    assert (first["holes"], first["basis"], first["seen_share"]) == (12, "axes", 0.99)
    assert first["smallest_path"] == {"field_px": [3, 3], "nodes": ["stem"]}
    assert first["hdc"] is None
    hdc = _stored(analyses.broken())["outputs"][0]["hdc"]
    assert hdc == {"m2": 9, "taps": 3, "rates": [4, 2, 9], "ok": False}
    lost = _stored(analyses.classifier())
    assert lost["field_px"] is None
    assert lost["holes"] is None
    assert lost["outputs"][0]["largest_path"] is None
    assert lost["sites"][1]["holes"] is None


def test_strides_are_integers_where_whole() -> None:
    values = as_json(analyses.upsampled())
    assert values["stride_px"] == [0.5, 1 / 3]
    whole, third = values["sites"][0]["stride_in_px"]
    assert isinstance(whole, int)
    assert third == 1 / 3


def test_fields_in_front_of_what_is_lost_are_exact() -> None:
    behind = analyses.unfollowed()
    assert is_lower_bound(behind, behind.outputs[0])
    beside = replace(behind, unfollowed={"side": "fft"})  # leads to no output
    assert not is_lower_bound(beside, beside.outputs[0])
    assert as_json(behind)["outputs"][0]["lower_bound"] is True
    assert as_json(beside)["outputs"][0]["lower_bound"] is False


def test_what_is_counted_in_full_makes_an_upper_bound() -> None:
    values = as_json(analyses.remarked())
    assert values["remarks"] == {"stem": "grid_sample in warp: the whole map is counted"}
    assert values["outputs"][0]["upper_bound"] is True
    beside = replace(analyses.remarked(), remarks={"side": "warp"})
    assert not is_upper_bound(beside, beside.outputs[0])


def test_growth_frame_follows_the_path() -> None:
    frame = growth_frame(analyses.square())
    assert list(frame) == ["depth", "node", "height_px", "width_px"]
    assert frame.to_numpy().tolist() == [[1, "stem", 3, 3], [2, "body", 5, 5]]
    assert list(growth_frame(analyses.series())) == ["depth", "node", "length_px"]


def test_sites_frame_has_a_column_for_each_axis() -> None:
    frame = sites_frame(analyses.oblong())
    row = frame.iloc[0]
    expected = {
        "name": "body",
        "kernel_height": 3,
        "kernel_width": 1,
        "rate_height": 8,
        "rates": "8,1",
        "field_in_height_px": 1023,
        "field_in_width_px": 31,
        "stride_in_height_px": 2,
        "field_out_height_px": 1055,
        "bound_height": 511,
        "bound_width": 7,
        "bound_ok": True,
        "holes": 0,
        "largest_hole_px": 0,
        "seen_share": 1,
        "basis": "plane",
        "kind": "Conv2d",
        "groups": 1,
        "parameters": 36_864,
        "macs": 150_994_944,
        "global_context": False,
        "fix": "",
    }
    assert {name: row[name] for name in expected} == expected
    assert sites_frame(analyses.branches())["rates"][0] == "1,1;2,4;4,4"
    assert sites_frame(analyses.broken())["fix"].tolist() == ["", "", "rate 9 -> 6", "rate 4 -> 3"]
    assert "kernel_length" in sites_frame(analyses.series())
    assert "field_in_depth_px" in sites_frame(analyses.volume())


def test_outputs_frame_has_fields_needs_and_paths() -> None:
    row = outputs_frame(analyses.broken()).iloc[0]
    assert row["field_height_px"] == 67
    assert row["needed_width_px"] == 2047
    assert row["smallest_path_width_px"] == 3
    assert (row["hdc_m2"], row["hdc_ok"]) == (9, False)
    assert outputs_frame(analyses.branches())["name"].tolist() == ["features[0]", "aux"]
    assert outputs_frame(analyses.upsampled())["stride_width_px"][0] == 1 / 3


def test_dtypes_do_not_depend_on_what_is_missing() -> None:
    for frame in (sites_frame, outputs_frame):
        whole, lost = frame(analyses.square()), frame(analyses.classifier())
        assert whole.dtypes.equals(lost.dtypes)
        assert lost.isna().to_numpy().any()
        assert not {"object", "float64"} & set(map(str, lost.dtypes))
    lost = sites_frame(analyses.classifier()).iloc[1]
    assert lost["bound_ok"] is pd.NA
    assert lost["field_in_height_px"] is pd.NA
    assert sites_frame(analyses.classifier()).iloc[0]["field_in_height_px"] == 1


def test_a_network_without_sites_has_a_frame_with_all_columns() -> None:
    empty = sites_frame(replace(analyses.square(), sites=()))
    assert len(empty) == 0
    assert empty.dtypes.equals(sites_frame(analyses.square()).dtypes)
