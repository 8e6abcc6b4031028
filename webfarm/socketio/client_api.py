"""Questions to a client.

Overridden of ``socketio.Server`` (5.18): ``call``, which waits there for its whole timeout if the client is gone, and
keeps what waited for as long as the client stays.
"""

from contextlib import nullcontext
from typing import Any

import gevent
import socketio
from gevent.event import AsyncResult


class Calls(socketio.Server):
    """``call``, to be mixed into a server, in front of python-socketio's own."""

    def call(
        self,
        event: str,
        data: Any = None,
        to: str | None = None,
        sid: str | None = None,
        namespace: str | None = None,
        timeout: float = 60,
        ignore_queue: bool = False,
    ) -> Any:
        """Emit to a client and return its acknowledgement: ``None``, its argument, or a tuple of several.

        Raises:
            TimeoutError: (python-socketio's) it did not come within ``timeout`` seconds.
            DisconnectedError: (python-socketio's) the client, one of this worker, is gone.
        """
        sid, namespace = to or sid, namespace or "/"
        if sid is None:
            raise ValueError("Cannot use call() to broadcast.")
        connection = self.eio.sockets.get(self.manager.eio_sid_from_sid(sid, namespace))  # one of this worker
        answer: AsyncResult[Any] = AsyncResult()

        def callback(*args: Any) -> None:
            answer.set(args)

        with connection.failing(answer, namespace) if connection is not None else nullcontext():
            try:
                self.emit(event, data, to=sid, namespace=namespace, callback=callback, ignore_queue=ignore_queue)
                arguments: Any = answer.get(timeout=timeout)
            except gevent.Timeout:
                raise socketio.exceptions.TimeoutError from None
            finally:
                self.manager.forget_callback(sid, callback)
        return arguments if len(arguments) > 1 else arguments[0] if arguments else None
