"""How many arguments a handler takes."""

import inspect
from collections.abc import Callable
from functools import cache
from typing import Any


def takes(handler: Callable[..., object], count: int) -> bool:
    """Return whether ``handler`` can be called with ``count`` arguments; looked up once for a function."""
    function = getattr(handler, "__func__", None)
    return _takes(handler, count) if function is None else _takes(function, count + 1)


def fit(handler: Callable[..., object], arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return the arguments that a connect or disconnect handler takes: all, or all but the last."""
    return arguments if takes(handler, len(arguments)) else arguments[:-1]


@cache
def _takes(function: Callable[..., object], count: int) -> bool:
    try:
        inspect.signature(function).bind(*range(count))
    except TypeError:
        return False
    except ValueError:  # it has no signature
        pass
    return True
