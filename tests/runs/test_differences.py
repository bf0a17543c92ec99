"""Two resolved spaces, told apart."""

from dilsearch.runs.differences import differences


def test_equal_documents_do_not_differ():
    document = {"a": 1, "b": {"c": [1, 2]}, "sites": [{"upper": 3}]}
    assert list(differences(document, document)) == []


def test_each_key_is_named_with_both_values():
    before = {"a": 1, "b": {"c": [1, 2], "d": "x"}, "sites": [{"upper": 3}, {"upper": 4}]}
    now = {"a": 1, "b": {"c": [1, 3], "e": True}, "sites": [{"upper": 3}, {"upper": 5}]}
    assert list(differences(before, now)) == [
        "b.c is [1, 2] there and [1, 3] now",
        'b.d is "x" there and absent now',
        "b.e is absent there and true now",
        "sites.2.upper is 4 there and 5 now",
    ]


def test_lists_of_other_lengths_are_told_whole():
    found = list(differences({"sites": [{"u": 1}]}, {"sites": []}))
    assert found == ['sites is [{"u": 1}] there and [] now']
