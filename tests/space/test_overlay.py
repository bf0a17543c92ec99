"""Laying tables over a document, and knowing afterwards who wrote what."""

from dilsearch.space.overlay import Origin, Overlay, read_overrides

DOCUMENT = {"search": {"steps": 1, "rate": 2}, "sites": [{"upper": 3}], "data": {"name": "a"}}


def test_tables_merge_and_the_rest_is_replaced():
    overlay = Overlay(DOCUMENT)
    overlay.lay({"search": {"steps": 5}, "sites": [], "gap": {"policy": "x"}}, Origin("smoke"))
    assert overlay.document == {
        "search": {"steps": 5, "rate": 2},
        "sites": [],
        "gap": {"policy": "x"},
        "data": {"name": "a"},
    }
    assert overlay.origin(("search", "steps")) == Origin("smoke")
    assert overlay.origin(("search", "rate")) == Origin()
    assert overlay.origin(("search",)) == Origin()
    assert overlay.origin(("gap", "anything")) == Origin("smoke")
    assert overlay.origin(("sites", 0, "upper")) == Origin("smoke")


def test_what_lies_below_is_left_as_it_was():
    before = {
        key: dict(value) if isinstance(value, dict) else value for key, value in DOCUMENT.items()
    }
    overlay = Overlay(DOCUMENT)
    overlay.lay({"search": {"steps": 5}}, Origin("smoke"))
    (override,), _ = read_overrides(["sites.1.upper=9"])
    assert overlay.set(override) is None
    assert overlay.document["sites"] == [{"upper": 9}]
    assert before == DOCUMENT


def test_a_new_name_drops_the_keys_of_the_old_one():
    overlay = Overlay({"data": {"name": "a", "size": 1}})
    overlay.lay({"data": {"size": 2}}, Origin("smoke"))
    assert overlay.document == {"data": {"name": "a", "size": 2}}
    overlay.lay({"data": {"name": "a"}}, Origin("smoke"))
    assert overlay.document == {"data": {"name": "a", "size": 2}}
    overlay.lay({"data": {"name": "b"}}, Origin("smoke"))
    assert overlay.document == {"data": {"name": "b"}}


def test_bare_words_are_text_and_the_rest_is_toml():
    texts = ["a.b=1", "a.b=1.5", "a.b=true", "a.b=word", "a.b=[1, 2]", "a.b='1'", "a.b=32-true"]
    overrides, faults = read_overrides(texts)
    assert [override.value for override in overrides] == [
        1,
        1.5,
        True,
        "word",
        [1, 2],
        "1",
        "32-true",
    ]
    assert faults == []


def test_a_value_cannot_smuggle_in_other_keys():
    (override,), _ = read_overrides(["a.b=1\nc = 2"])
    assert override.value == "1\nc = 2"
