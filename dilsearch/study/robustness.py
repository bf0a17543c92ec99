"""The studies that ship: how surely the search finds a field that is wide enough."""

from collections.abc import Mapping
from typing import Final

from dilsearch.study.cases import Part, Study, Variant

DEFAULT: Final = Variant("default", "the defaults")

WIDE: Final = "[1, [1, 3], [3, 9], [9, 27], [15, 40]]"
EXACT: Final = "[1, [1, 3], [1, 9], [1, 24], [1, 27]]"

NO_TARGET: Final = ("search.field_target=0",)
NO_SMOOTHING: Final = ("search.smoothing=0",)
PLAIN: Final = NO_SMOOTHING + NO_TARGET
RATE: Final = "search.rate_learning_rate={}"  # 0.88 follows from limits and steps at 128 px
SHARE: Final = "search.smoothing_share={}"
SGD: Final = ("search.rate_optimizer=sgd", RATE.format(8.8))  # slopes are far below 1 px
FROM_8: Final = ("sites.1.initial=8.0",)
FROM_UNIFORM: Final = ("sites.1.initial=uniform",)
FROM_BOUND: Final = ("sites.1.initial=bound",)

SEARCH_ROBUSTNESS: Final = Study(
    name="search-robustness",
    title="How surely the search finds the field that a task needs, over seeds and settings",
    parts=(
        Part(
            name="toy-96",
            title="Thin bars at 96 px, from rates 1, with no setting changed",
            space="toy",
            variants=(DEFAULT,),
            seeds=tuple(range(10)),
            stages=("search", "convert", "retrain", "evaluate"),
        ),
        Part(
            name="toy-256",
            title="Thin bars at 256 px, from rates 1, with no other setting changed",
            space="toy",
            variants=(DEFAULT,),
            seeds=tuple(range(10)),
            overrides=("data.size_px=256",),
            stages=("search", "convert", "retrain", "evaluate"),
        ),
        Part(
            name="sizes",
            title="Thin bars at other sizes, from rates 1, with no other setting changed",
            space="toy",
            variants=tuple(
                Variant(f"{size}-px", f"{2 * size - 1} px needed", (f"data.size_px={size}",))
                for size in (64, 128, 192)
            ),
            seeds=(0, 1, 2),
            stages=("search", "convert", "retrain", "evaluate"),
        ),
        Part(
            name="toy-512",
            title="Thin bars at 512 px: a sixth block, since five reach 975 px under the bounds",
            space="toy",
            variants=(DEFAULT,),
            seeds=(0,),
            overrides=("data.size_px=512", "model.options.blocks=6"),
            stages=("search", "convert", "retrain", "evaluate"),
        ),
        Part(
            name="regseg-1024",
            title="Thicker bars at 1024 px, RegSeg: at its stride of 16 px thin ones are unseen",
            space="toy",
            variants=(DEFAULT,),
            seeds=(0,),
            overrides=(
                "model.name=regseg",
                "model.branches=2",
                'sites.1.select=["body.[5-9].conv2", "body.1[0-7].conv2"]',
                "data.size_px=1024",
                "data.bar_width_px=[24, 52]",
                "data.gap_px=[16, 36]",
                "data.patch_px=24",
                "train.batch_size=1",
                "search.steps=200",
                "retrain.steps=150",
            ),
            stages=("search", "convert", "retrain", "evaluate"),
        ),
        Part(
            name="hand-256",
            title="Thin bars at 256 px (511 px needed): schedules made by hand, on the same budget",
            space="toy",
            variants=(
                Variant("wide", f"rates {WIDE}, a field of 647 px", (f"control.rate={WIDE}",)),
                Variant("exact", f"rates {EXACT}, a field of 519 px", (f"control.rate={EXACT}",)),
            ),
            seeds=tuple(range(10)),
            overrides=("data.size_px=256",),
            stages=("control", "evaluate"),
        ),
        Part(
            name="options-256",
            title="Thin bars at 256 px, the search alone: without the pull, the draws, or both",
            space="toy",
            variants=(
                Variant("no-target", "no field target", NO_TARGET),
                Variant("no-smoothing", "no smoothing", NO_SMOOTHING),
                Variant("plain", "the plain gradient: neither", PLAIN),
            ),
            seeds=(0, 1, 2),
            overrides=("data.size_px=256",),
            stages=("search", "convert", "evaluate"),
        ),
        Part(
            name="options-128",
            title="Thin bars at 128 px, the search alone: what each setting is worth",
            space="toy",
            variants=(
                DEFAULT,
                Variant("no-target", "no field target", NO_TARGET),
                Variant("no-smoothing", "no smoothing", NO_SMOOTHING),
                Variant("plain", "the plain gradient: neither", PLAIN),
                Variant("narrow", "smoothing of half the width", ("search.smoothing=0.58",)),
                Variant("broad", "smoothing of twice the width", ("search.smoothing=2.31",)),
                Variant("weak-target", "a quarter of the pull", ("search.field_target=0.5",)),
                Variant("strong-target", "four times the pull", ("search.field_target=8",)),
                Variant("short", "nothing drawn after 40 % of the steps", (SHARE.format(0.4),)),
                Variant("long", "draws up to the last step", (SHARE.format(1.0),)),
                Variant("half-rate", "half the rate learning rate", (RATE.format(0.44),)),
                Variant("double-rate", "twice the rate learning rate", (RATE.format(1.76),)),
                Variant("sgd-rates", "rates by SGD, ten times the learning rate", SGD),
                Variant("from-8", "defaults from rates 8, held to the bounds", FROM_8),
                Variant("from-uniform", "defaults from rates drawn between limits", FROM_UNIFORM),
                Variant("from-bound", "defaults from the largest rates allowed", FROM_BOUND),
                Variant("plain-from-8", "the plain gradient from rates 8", PLAIN + FROM_8),
                Variant(
                    "plain-from-uniform",
                    "the plain gradient from drawn rates",
                    PLAIN + FROM_UNIFORM,
                ),
                Variant(
                    "plain-from-bound", "the plain gradient from the bounds", PLAIN + FROM_BOUND
                ),
            ),
            seeds=(0, 1, 2),
            # An early end would compare endings, not settings.
            overrides=("data.size_px=128", "search.patience_share=0"),
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
