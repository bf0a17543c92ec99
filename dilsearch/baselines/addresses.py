"""Addresses of storages as they may be shown: without what is secret in them."""

import re
from collections.abc import Iterator
from typing import Final
from urllib.parse import unquote, unquote_plus

_MASK: Final = "***"
_SECRET_OPTION: Final = re.compile(
    r"(?P<key>(?:^|[?&;\s])(?:[\w.-]*(?:pass|pwd|secret|token)[\w.-]*|odbc_connect)=)"
    r"(?P<secret>.*?)(?=[&;][\w.-]+=|\s|$)",
    re.IGNORECASE,
)
"""An option of a URL's query, or of a database's own form, that lets one in."""

_PASSWORD: Final = re.compile(r"(?P<key>://[^:/]*:)(?P<secret>.*)(?=@)", re.DOTALL)
"""What stands between the user's name and the last @, whatever a password holds unescaped."""

_FORMS: Final = (_SECRET_OPTION, _PASSWORD)


def shown_url(text: str) -> str:
    """A storage's address with every password in it masked; any other text as it is.

    Masked are the password in front of the host and options that let one in, such as
    ``password=``, ``passfile=`` and ``sslpassword=``. Where a password holds an ``@``, everything
    up to the last one is masked: rather too much than half a password.
    """
    for form in _FORMS:
        text = form.sub(rf"\g<key>{_MASK}", text)
    return text


def without_secrets(said: str, address: str) -> str:
    """A message, such as a driver's, without the secrets of the address that it speaks of."""
    for secret in sorted(_secrets_of(address), key=len, reverse=True):
        said = said.replace(secret, _MASK)
    return said


def is_ambiguous(address: str) -> bool:
    """Whether an ``@`` stands where it may be a password's own, so that the host is in doubt."""
    _, _, rest = address.partition("://")
    if rest.startswith("/"):  # a file: there is neither user nor host
        return False
    authority = re.split(r"[/?]", rest, maxsplit=1)[0]
    return rest.count("@") > min(1, authority.count("@"))


def _secrets_of(address: str) -> Iterator[str]:
    for form in _FORMS:
        for found in form.finditer(address):
            secret = found["secret"]
            yield from filter(None, {secret, unquote(secret), unquote_plus(secret)})
