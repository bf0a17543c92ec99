"""Addresses as they are shown: no password in them, wherever it stands and whatever it holds."""

from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dilsearch.baselines.addresses import is_ambiguous, shown_url, without_secrets


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("postgresql://me:geheim@host/x", "postgresql://me:***@host/x"),
        ("redis://:geheim@host:6379/0", "redis://:***@host:6379/0"),
        ("mysql://me:geheim@host/x?charset=a", "mysql://me:***@host/x?charset=a"),
        ("x://h/d?user=me&password=geheim", "x://h/d?user=me&password=***"),
        ("x://h/d?PASSWD=geheim&user=me", "x://h/d?PASSWD=***&user=me"),
        ("x://h/d?passfile=/geheim&a=b", "x://h/d?passfile=***&a=b"),
        ("x://h/d?sslpassword=geheim", "x://h/d?sslpassword=***"),
        ("x://h/d?odbc_connect=PWD%3Dgeheim", "x://h/d?odbc_connect=***"),
        ("host=h password=geheim user=me", "host=h password=*** user=me"),
        # what is not escaped as it should be is masked all the same
        ("x://me:ge@heim@host/d", "x://me:***@host/d"),
        ("x://me:g/e?h@eim@host/d", "x://me:***@host/d"),
        ("x://me:geheim@host/d?password=ge@heim", "x://me:***@host/d?password=***"),
        ("x://h/d?password=ge&heim&user=me", "x://h/d?password=***&user=me"),
    ],
)
def test_masked(address: str, shown: str) -> None:
    assert shown_url(address) == shown
    assert shown_url(shown) == shown


@pytest.mark.parametrize(
    "address",
    [
        "postgresql://me@host:5432/x?connect_timeout=5",
        "sqlite:////data/a@b:c@d/study.db",
        "journal:/data/me@there.journal",
        "/data/password/study.journal",
    ],
)
def test_what_holds_no_password_stays_as_it_is(address: str) -> None:
    assert shown_url(address) == address


@settings(max_examples=25, deadline=None)
@given(st.text(st.characters(codec="ascii", categories=["L", "N", "P"]), min_size=1))
def test_no_password_is_shown(password: str) -> None:
    secret = f"<{password}>"  # found in an address by nothing but itself
    for address in (
        f"x://me:{quote(secret, safe='')}@host/d",
        f"x://me:{secret}@host/d",
        f"x://host/d?user=me&password={quote_plus(secret)}",
    ):
        shown = shown_url(address)
        assert shown.replace("***", "") in ("x://me:@host/d", "x://host/d?user=me&password=")


def test_what_a_driver_says_is_masked_too() -> None:
    address = "x://me:top%40secret@host/d?sslpassword=hush+now"
    said = "user me with 'top@secret' (top%40secret) and 'hush now' refused"
    assert without_secrets(said, address) == "user me with '***' (***) and '***' refused"
    assert without_secrets(said, "x://host/d") == said


@pytest.mark.parametrize(
    ("address", "ambiguous"),
    [
        ("x://me:a%40b@host/d", False),
        ("x://me@host/d?user=a%40b", False),
        ("sqlite:////data/a@b/c@d.db", False),
        ("x://me:a@b@host/d", True),
        ("x://me:a/b@host/d", True),
        ("x://me:a?b@host/d", True),
        ("x://host:5432/d?password=a@b", True),
    ],
)
def test_where_the_host_is_in_doubt(address: str, ambiguous: bool) -> None:
    assert is_ambiguous(address) == ambiguous
