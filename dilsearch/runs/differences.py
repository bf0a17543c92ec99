"""What differs between two resolved search spaces, in words."""

import json
from collections.abc import Iterator, Mapping
from typing import Any, TypeGuard


def differences(before: Mapping[str, Any], now: Mapping[str, Any], at: str = "") -> Iterator[str]:
    """What differs between two TOML documents: ``data.size_px is 96 there and 128 now``.

    Args:
        before: The one that is there.
        now: The one that is wanted.
        at: Dotted name of the table both stand in, with its dot.
    """
    for key in dict.fromkeys((*before, *now)):
        name = f"{at}{key}"
        old, new = before.get(key), now.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            yield from differences(old, new, f"{name}.")
        elif _is_tables(old) and _is_tables(new) and len(old) == len(new):
            for number, (one, other) in enumerate(zip(old, new, strict=True), start=1):
                yield from differences(one, other, f"{name}.{number}.")
        elif old != new:
            yield f"{name} is {_in_words(old)} there and {_in_words(new)} now"


def _is_tables(value: object) -> TypeGuard[list[dict[str, Any]]]:
    return isinstance(value, list) and all(isinstance(item, dict) for item in value)


def _in_words(value: object) -> str:
    return "absent" if value is None else json.dumps(value, ensure_ascii=False, default=str)
