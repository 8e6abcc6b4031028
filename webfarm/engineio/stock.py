"""The types of python-engineio's own methods of an ``EngineServer``, for type checkers.

python-engineio has no types: without these, a strictly checked app could not use its decorators.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar, overload

_Handler = TypeVar("_Handler", bound=Callable[..., Any])


class StockEngineServer:
    """Of ``engineio.Server`` (4.15)."""

    if TYPE_CHECKING:

        @overload
        def on(self, event: str, handler: None = None) -> Callable[[_Handler], _Handler]: ...

        @overload
        def on(self, event: str, handler: _Handler) -> None: ...

        def on(self, event: str, handler: Any = None) -> Any: ...
