"""What the Python servers do for a client: the same events as ``node.mjs``, on any ``socketio.Server``."""

from typing import Any

COMMON = "common"
OK = {"ok": True}


def register(sio: Any) -> None:
    """Give ``sio`` the events that the load generator sends."""

    @sio.event
    def connect(sid: str, environ: dict[str, Any]) -> None:
        sio.enter_room(sid, COMMON)

    @sio.event
    def message(sid: str, data: Any) -> dict[str, bool]:
        sio.emit("message", data, room=COMMON)
        return OK

    @sio.event
    def leave(sid: str) -> dict[str, bool]:
        sio.leave_room(sid, COMMON)
        return OK

    @sio.on("privateMessage")
    def private_message(sid: str, data: Any) -> dict[str, bool]:
        sio.emit("privateMessage", data, room=data["to"])
        return OK

    @sio.event
    def echo(sid: str, data: Any) -> dict[str, bool]:
        return OK

    @sio.event
    def sink(sid: str, data: Any) -> dict[str, bool]:
        return OK
