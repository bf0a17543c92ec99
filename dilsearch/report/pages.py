"""What the pages share: their templates, key figures, and pictures as data."""

import base64
from dataclasses import dataclass

import jinja2


@dataclass(frozen=True, slots=True)
class Card:
    """A key figure: what it is, its value, and what to hold it against."""

    label: str
    value: str
    note: str = ""
    good: bool | None = None


def page_template(name: str) -> jinja2.Template:
    """A template of this package; it escapes what it is given, and refuses what is missing."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("dilsearch.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name)


def data_uri(content: bytes, kind: str) -> str:
    """A picture as an address that holds it; ``kind`` is ``png``, ``jpeg`` or ``svg+xml``."""
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"
