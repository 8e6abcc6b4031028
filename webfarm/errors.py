"""The errors that webfarm raises, and the codes under which a client sees them.

::

    Error
    ├── SettingsError      a bad value in the environment or on the command line: the start stops
    ├── Unavailable        Redis could not take it just now: never acknowledged, so that the client sends again
    ├── Flooding           a client goes on sending what is refused: its connection is closed
    └── ClientError        refused; the acknowledgement carries {code, message}
        ├── BadRequest     bad_request
        ├── Unauthorized   unauthorized
        ├── Forbidden      forbidden
        ├── NotInRoom      not_in_room
        ├── NoRecipient    no_recipient
        ├── TooLarge       too_large
        ├── TooManyRooms   too_many_rooms
        ├── TooManyConnections  too_many_connections
        ├── RateLimited    rate_limited
        └── Internal       internal (a handler failed)
"""

from typing import ClassVar


class Error(Exception):
    """Base of all errors of this package; its text is one sentence for people."""


class SettingsError(Error):
    """A setting has a value that it can't have."""


class Unavailable(Error):
    """Redis does not answer: the event was not handled and must not be acknowledged."""


class Flooding(Error):
    """A client goes on sending what is refused: its connection is to be closed."""


class ClientError(Error):
    """An event or a connection was refused; ``code`` is what a client branches on."""

    code: ClassVar[str]

    def to_dict(self) -> dict[str, str]:
        """Return the error as a client sees it: ``{"code", "message"}``."""
        return {"code": self.code, "message": str(self)}


class BadRequest(ClientError):
    code = "bad_request"


class Unauthorized(ClientError):
    code = "unauthorized"


class Forbidden(ClientError):
    code = "forbidden"


class NotInRoom(ClientError):
    code = "not_in_room"


class NoRecipient(ClientError):
    code = "no_recipient"


class TooLarge(ClientError):
    code = "too_large"


class TooManyRooms(ClientError):
    code = "too_many_rooms"


class TooManyConnections(ClientError):
    code = "too_many_connections"


class RateLimited(ClientError):
    code = "rate_limited"


class Internal(ClientError):
    code = "internal"
