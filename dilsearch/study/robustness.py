"""The studies that ship: how surely the search finds a field that is wide enough."""

from collections.abc import Mapping
from typing import Final

from dilsearch.study.cases import Part, Study, Variant

DEFAULT: Final = Variant("default", "the defaults")

SEARCH_ROBUSTNESS: Final = Study(
    name="search-robustness",
    title="How surely the search finds the field that a task needs, over seeds and settings",
    parts=(
        Part(
            name="toy-96",
            title="Thin bars at 96 px: the control has every rate 1",
            space="toy",
            variants=(DEFAULT,),
            seeds=tuple(range(10)),
        ),
        Part(
            name="toy-256",
            title="Thin bars at 256 px: the control is a schedule made by hand",
            space="toy",
            variants=(DEFAULT,),
            seeds=tuple(range(10)),
            overrides=("data.size_px=256", "control.rate=[1, 3, 9, 24, 27]"),
        ),
        Part(
            name="options-160",
            title="Thin bars at 160 px: what the settings of the search are worth",
            space="toy",
            variants=(
                DEFAULT,
                Variant("plain", "rates trained without smoothing", ("search.smoothing=0",)),
                Variant("sgd", "rates trained by plain SGD", ('search.rate_optimizer="sgd"',)),
                Variant(
                    "slow", "half the rates' learning rate", ("search.rate_learning_rate=0.3",)
                ),
            ),
            seeds=tuple(range(5)),
            overrides=("data.size_px=160",),
            stages=("search", "convert", "evaluate"),
        ),
        Part(
            name="camvid",
            title="RegSeg on CamVid, quick profile: the control has every rate 1",
            space="regseg_camvid",
            variants=(DEFAULT,),
            seeds=(0, 1, 2),
            profile="quick",
            needs_data=True,
        ),
    ),
)

STUDIES: Final[Mapping[str, Study]] = {SEARCH_ROBUSTNESS.name: SEARCH_ROBUSTNESS}
"""The studies by name."""
