"""The type checker that pytest puts into ops, layers and models: shapes and number formats only.

The other annotations are left alone, since a test that gives a wrong type on purpose wants to see
the message a user would see.
"""

from collections.abc import Callable
from typing import Any, TypeVar, get_args

from jaxtyping import AbstractArray

Function = TypeVar("Function", bound=Callable[..., Any])


def check_shapes(function: Function) -> Function:
    """The function with its array annotations checked at every call."""
    try:
        from beartype import beartype
    except ImportError:  # a bare GPU machine; test_shape_checks says so
        return function
    shapes = {name: hint for name, hint in function.__annotations__.items() if _is_shape(hint)}
    function.__annotations__ = shapes
    checked: Function = beartype(function) if shapes else function
    return checked


def _is_shape(hint: Any) -> bool:
    if isinstance(hint, type) and issubclass(hint, AbstractArray):
        return True
    return any(_is_shape(part) for part in get_args(hint))
