"""What does not fit the schema, in sentences: place, key, value, what is wrong, how to mend it.

pydantic finds the faults; its own wording speaks of Python types and of inputs, so nothing of it
reaches the user.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from dilsearch.space.data_sections import DATA_SECTIONS
from dilsearch.space.locate import closest, did_you_mean
from dilsearch.space.overlay import KeyPath, Origin, Overlay
from dilsearch.space.section import BROKEN_RULE
from dilsearch.space.sections import (
    ControlSection,
    FieldSection,
    GapSection,
    ModelSection,
    RetrainSection,
    SearchSection,
    TrainSection,
)
from dilsearch.space.sites_section import SitesSection
from dilsearch.space.sweep_section import SweepSection

SECTIONS: Mapping[str, type[BaseModel]] = {
    "model": ModelSection,
    "sites": SitesSection,
    "gap": GapSection,
    "train": TrainSection,
    "search": SearchSection,
    "retrain": RetrainSection,
    "control": ControlSection,
    "field": FieldSection,
    "sweep": SweepSection,
}
"""Section classes by name; ``data`` is missing, since its class depends on its ``name``."""

SECTION_NAMES = (*SECTIONS, "data")

_LONGEST_VALUE = 60
_PROBLEMS = {
    "int_type": "is not an integer",
    "float_type": "is not a number",
    "bool_type": "is not true or false",
    "string_type": "is not text",
    "tuple_type": "is not a list",
    "dict_type": "is not a table",
    "mapping_type": "is not a table",
    "finite_number": "is not a finite number",
    "literal_error": "is not one of the choices",
    "string_too_short": "is empty",
    "string_pattern_mismatch": "is not in the right form",
    "too_short": "has too few values",
    "too_long": "has too many values",
    "missing": "has too few values",
    "greater_than_equal": "is below {ge:g}",
    "greater_than": "is not above {gt:g}",
    "less_than_equal": "is above {le:g}",
    "less_than": "is not below {lt:g}",
}
_OF_THE_WHOLE = (BROKEN_RULE, "missing", "union_tag_not_found")
_NOT_A_TABLE = ("model_type", "model_attributes_type", "dict_type", "mapping_type")


def explain(
    error: ValidationError, overlay: Overlay, root: type[BaseModel], *, partial: bool = False
) -> list[str]:
    """Every fault as a sentence without the file's name, in the schema's order.

    Args:
        error: What pydantic found in ``overlay.document``.
        overlay: The document, which knows where its values were written.
        root: The model of the whole document, for the keys at its top.
        partial: Whether the document is meant to be completed by others, so that only values
            that are wrong by themselves are faults.
    """
    found = error.errors(include_url=False)
    if partial:
        found = [details for details in found if details["type"] not in _OF_THE_WHOLE]
    meant = [_meant(details, overlay, root) for details in found]
    sentences: list[str] = []
    for details in found:
        misspelt = details["type"] == "missing" and _document_path(details["loc"]) in meant
        if not misspelt and not _follows_from_another(details, found):
            sentences += _explain_one(details, overlay, root)
    return sentences


def place(tables: KeyPath, origin: Origin) -> str:
    """How the file writes a table: ``[train] ``, ``[[sites]] 2: ``, ``[profiles.smoke.search] ``.

    An override is named by its text instead; the top of the file has no name.
    """
    if origin.words:
        return origin.words
    profile = ("profiles", origin.profile) if origin.profile else ()
    names = ".".join(str(key) for key in (*profile, *tables) if isinstance(key, str))
    if not names:
        return ""
    if tables and isinstance(tables[-1], int):
        return f"[[{names}]] {tables[-1] + 1}: "
    return f"[{names}] "


def show(value: object) -> str:
    """A value as TOML writes it, shortened if it is long."""
    if isinstance(value, str):
        text = json.dumps(value, ensure_ascii=False)
    elif isinstance(value, bool):
        text = str(value).lower()
    elif isinstance(value, list | tuple):
        text = f"[{', '.join(show(item) for item in value)}]"
    elif isinstance(value, Mapping):
        text = "a table"
    else:
        text = str(value)
    return text if len(text) <= _LONGEST_VALUE else f"{text[: _LONGEST_VALUE - 3]}..."


def expectation(schema: Mapping[str, Any], plural: bool = False) -> str:
    """What a key takes, from its JSON schema: ``a whole number of at least 1``."""
    if "expects" in schema:
        return str(schema["expects"])
    if "anyOf" in schema:
        return expectation(schema["anyOf"][0], plural)
    if "const" in schema or "enum" in schema:
        *most, last = (show(choice) for choice in schema.get("enum", [schema.get("const")]))
        return f"{', '.join(most)} or {last}" if most else last
    kind = schema.get("type")
    if kind == "array" and "prefixItems" in schema:
        return f"a list of two {expectation(schema['prefixItems'][0], plural=True)}"
    if kind == "array":
        return f"a list of {expectation(schema.get('items', {}), plural=True)}"
    noun = {
        "integer": ("a whole number", "whole numbers"),
        "number": ("a number", "numbers"),
        "boolean": ("true or false", "true or false"),
        "string": ("text in quotes", "texts in quotes"),
    }.get(str(kind), ("a table", "tables"))[plural]
    return noun + _limits(schema)


def _limits(schema: Mapping[str, Any]) -> str:
    limits = {
        "minimum": "of at least",
        "exclusiveMinimum": "above",
        "maximum": "of at most",
        "exclusiveMaximum": "below",
    }
    found = [f"{words} {schema[key]:g}" for key, words in limits.items() if key in schema]
    return f" {' and '.join(found)}" if found else ""


def _explain_one(details: ErrorDetails, overlay: Overlay, root: type[BaseModel]) -> list[str]:
    path = _document_path(details["loc"])
    kind = details["type"]
    if kind == BROKEN_RULE:
        return [_rule(path, key, text, overlay) for key, text in details["ctx"]["broken"]]
    tables, rest = _split(path)
    if kind.startswith("union_tag"):
        return [_no_such_data(details, overlay)]
    if kind == "missing" and len(rest) <= 1:
        return [_missing(tables, rest, overlay, root)]
    if kind == "extra_forbidden":
        return [_unknown(path, details["input"], overlay, root)]
    if kind in _NOT_A_TABLE and not rest:
        return [_not_a_table(path, details["input"], overlay)]
    if kind == "tuple_type" and path == ("sites",):
        return [_not_a_list_of_tables(details["input"], overlay)]
    if any(isinstance(position, str) for position in rest[1:]):
        return [_no_alternative(tables, str(rest[0]), overlay, root)]
    return [_wrong_value(tables, rest, details, overlay, root)]


def _meant(details: ErrorDetails, overlay: Overlay, root: type[BaseModel]) -> KeyPath | None:
    """The path that an unknown key was probably meant to be."""
    if details["type"] != "extra_forbidden":
        return None
    path = _document_path(details["loc"])
    nearest = closest(str(path[-1]), _known_keys(path, overlay, root))
    return (*path[:-1], nearest) if nearest else None


def _known_keys(path: KeyPath, overlay: Overlay, root: type[BaseModel]) -> list[str]:
    """What may stand where an unknown key or section stands."""
    tables, _ = _split(path)
    return list(_model_of(tables, overlay, root).model_fields)


def _follows_from_another(details: ErrorDetails, found: Sequence[ErrorDetails]) -> bool:
    """Whether a list counts as too short only because items of it are at fault."""
    loc = details["loc"]
    return details["type"] == "too_short" and any(
        other["loc"][: len(loc)] == loc and other is not details for other in found
    )


def _document_path(loc: Sequence[str | int]) -> KeyPath:
    """Where the document has it: without the tag that pydantic puts below ``data``."""
    return (loc[0], *loc[2:]) if len(loc) > 1 and loc[0] == "data" else tuple(loc)


def _split(path: KeyPath) -> tuple[KeyPath, KeyPath]:
    """The tables on the way to a value, and the rest: the key, then positions in its list."""
    if not path or path[0] not in SECTION_NAMES:
        return (), path
    depth = 2 if path[0] == "sites" or path[:2] == ("model", "options") else 1
    return path[:depth], path[depth:]


def _rule(path: KeyPath, key: str, sentence: str, overlay: Overlay) -> str:
    full = (*path, *key.split("."))
    tables, _ = _split(full)
    return f"{place(tables, overlay.origin(full))}{sentence}"


def _no_such_data(details: ErrorDetails, overlay: Overlay) -> str:
    *most, last = (show(name) for name in DATA_SECTIONS)
    choices = f"{', '.join(most)} or {last}"
    if details["type"] == "union_tag_not_found":
        return f"{_owner(('data',), overlay.origin(('data',)))} has no 'name'; give {choices}"
    given = str(details["ctx"]["tag"])
    where = place(("data",), overlay.origin(("data", "name")))
    hint = did_you_mean(given, list(DATA_SECTIONS), '"')
    return f"{where}name = {show(given)} is not one of the choices{hint}; give {choices}"


def _missing(tables: KeyPath, rest: KeyPath, overlay: Overlay, root: type[BaseModel]) -> str:
    if not rest or (not tables and rest[0] in SECTION_NAMES):
        name = str((*tables, *rest)[0])
        header = f"[[{name}]]" if name == "sites" else f"[{name}]"
        return f"there is no section {header}; add it"
    model = _model_of(tables, overlay, root)
    key = str(rest[0])
    meaning = model.model_fields[key].description
    expected = expectation(_schema(tables, key, model))
    return f"{_owner(tables, overlay.origin(tables))} has no '{key}' ({meaning}); give {expected}"


def _unknown(path: KeyPath, value: object, overlay: Overlay, root: type[BaseModel]) -> str:
    tables, rest = _split(path)
    origin = overlay.origin(path)
    key, known = str(rest[0]), _known_keys(path, overlay, root)
    if not tables and isinstance(value, dict | list | tuple):
        known = list(SECTION_NAMES)
        name = f"profiles.{origin.profile}.{key}" if origin.profile else key
        hint = did_you_mean(key, known) or f"; there are {', '.join(known)}"
        return f"there is no section [{name}]{hint}"
    hint = did_you_mean(key, known) or f"; its keys are {', '.join(known)}"
    return f"{_owner(tables, origin)} has no key '{key}'{hint}"


def _owner(tables: KeyPath, origin: Origin) -> str:
    """A table as the subject of a sentence, after the override that is at fault."""
    return origin.words + (place(tables, Origin(profile=origin.profile)).rstrip(": ") or "the file")


def _not_a_table(path: KeyPath, value: object, overlay: Overlay) -> str:
    origin = overlay.origin(path)
    profile = ("profiles", origin.profile) if origin.profile else ()
    name = ".".join(str(key) for key in (*profile, *path) if isinstance(key, str))
    if origin.words:
        return f"{origin.words}{name} is a section; set a key of it, {name}.KEY=value"
    if path[0] == "sites":
        return f"{name} = {show(value)} is not a section; write [[{name}]], with double brackets"
    if isinstance(value, list | tuple):
        return f"[[{name}]] is a list; write [{name}], with single brackets"
    return f"{name} = {show(value)} is not a section; write [{name}] and its keys below it"


def _not_a_list_of_tables(value: object, overlay: Overlay) -> str:
    origin = overlay.origin(("sites",))
    name = f"profiles.{origin.profile}.sites" if origin.profile else "sites"
    given = f"[{name}]" if isinstance(value, Mapping) else f"{name} = {show(value)}"
    return f"{given} is not a list of tables; write [[{name}]], with double brackets"


def _wrong_value(
    tables: KeyPath,
    rest: KeyPath,
    details: ErrorDetails,
    overlay: Overlay,
    root: type[BaseModel],
) -> str:
    kind, context = details["type"], details.get("ctx", {})
    # A pair with one value misses its second; what is shown is then the pair itself.
    key, positions = rest[0], () if kind == "missing" else rest[1:]
    schema = _schema(tables, str(key), _model_of(tables, overlay, root))
    problem = str(context["error"]) if kind == "value_error" else _problem(kind, context, details)
    hint = ""
    if kind == "literal_error" and isinstance(details["input"], str):
        hint = did_you_mean(details["input"], schema.get("enum", []), '"')
    origin = overlay.origin((*tables, *rest))
    name = str(key) + "".join(f"[{position}]" for position in positions)
    fault = f"{name} = {show(details['input'])} {problem}{hint}; give {expectation(schema)}"
    return place(tables, origin) + fault


def _no_alternative(tables: KeyPath, key: str, overlay: Overlay, root: type[BaseModel]) -> str:
    """What a value is that fits none of several types, once for all that pydantic tried."""
    value: Any = overlay.document
    for step in (*tables, key):
        value = value[step]
    expected = expectation(_schema(tables, key, _model_of(tables, overlay, root)))
    where = place(tables, overlay.origin((*tables, key)))
    return f"{where}{key} = {show(value)} is not possible; give {expected}"


def _problem(kind: str, context: Mapping[str, Any], details: ErrorDetails) -> str:
    if kind not in _PROBLEMS:
        return f"does not fit ({details['msg']})"
    return _PROBLEMS[kind].format(**context)


def _model_of(tables: KeyPath, overlay: Overlay, root: type[BaseModel]) -> type[BaseModel]:
    if not tables:
        return root
    if tables[0] != "data":
        return SECTIONS[str(tables[0])]
    return DATA_SECTIONS[overlay.document["data"]["name"]]


def _schema(tables: KeyPath, key: str, model: type[BaseModel]) -> Mapping[str, Any]:
    properties = model.model_json_schema()["properties"]
    schema: Mapping[str, Any] = (
        properties["options"]["additionalProperties"]
        if len(tables) == 2 and tables[1] == "options"
        else properties[key]
    )
    return schema
