"""What an app decides about its clients: by arguments of ``Server``, or by methods of a ``Namespace``."""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, Protocol, runtime_checkable

from webfarm.socketio.identity import Identified

Identify = Callable[[dict[str, Any], Any], Identified]
GetUser = Callable[[str], str | None]
SelectRooms = Callable[[str, dict[str, Any], list[str]], Iterable[str]]
OnPresence = Callable[[str, str, str, bool, list[str]], None]


class Hooks(NamedTuple):
    """The hooks that a ``Server`` was given."""

    identify: Identify
    get_user: GetUser
    select_rooms: SelectRooms
    on_presence: OnPresence
    has_user_rooms: bool


@runtime_checkable
class NamespaceHooks(Protocol):
    """The hooks of one namespace's clients, which come before those of the server (``webfarm.Namespace``)."""

    #: Whether clients are put into their user's room; ``None``: as the server was told.
    has_user_rooms: bool | None

    def identify(self, environ: dict[str, Any], auth: Any) -> Identified: ...

    def get_user(self, sid: str) -> str | None: ...

    def select_rooms(self, sid: str, environ: dict[str, Any], rooms: list[str]) -> Iterable[str]: ...

    def on_presence(self, room: str, user: str, is_online: bool, watchers: list[str]) -> None: ...
