"""Public methods of a ``Server`` that are implemented by one of its parts."""

from collections.abc import Callable
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")


def delegate(
    part: str, method: Callable[Concatenate[Any, _Arguments], _Result]
) -> Callable[Concatenate[Any, _Arguments], _Result]:
    """Return a method with the signature and docstring of ``method``, which it calls on the attribute ``part``."""

    @wraps(method)
    def call(self: Any, /, *args: _Arguments.args, **kwargs: _Arguments.kwargs) -> _Result:
        return method(getattr(self, part), *args, **kwargs)

    return call
