"""The types of python-socketio's own methods of a ``Server``, for type checkers.

python-socketio has no types: without these, a strictly checked app could not use its decorators.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar, overload

_Handler = TypeVar("_Handler", bound=Callable[..., Any])


class StockServer:
    """Of ``socketio.Server`` (5.18)."""

    if TYPE_CHECKING:

        @overload
        def on(
            self, event: str, handler: None = None, namespace: str | None = None
        ) -> Callable[[_Handler], _Handler]: ...

        @overload
        def on(self, event: str, handler: _Handler, namespace: str | None = None) -> None: ...

        def on(self, event: str, handler: Any = None, namespace: str | None = None) -> Any: ...

        @overload
        def event(self, handler: _Handler) -> _Handler: ...

        @overload
        def event(self, *, namespace: str | None = None) -> Callable[[_Handler], _Handler]: ...

        def event(self, handler: Any = None, *, namespace: str | None = None) -> Any: ...
        def leave_room(self, sid: str, room: str, namespace: str | None = None) -> None: ...
        def rooms(self, sid: str, namespace: str | None = None) -> list[str]: ...
        def get_session(self, sid: str, namespace: str | None = None) -> Any: ...
