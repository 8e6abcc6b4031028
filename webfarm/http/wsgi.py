"""The WSGI application around a server: it answers two paths, another application the others."""

from collections.abc import Callable, Iterable
from typing import Any, Protocol

#: The path at which HAProxy asks whether a worker takes new clients.
READY = "/readyz"


class _Server(Protocol):
    def handle_request(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]: ...

    def get_unready_reason(self) -> str | None: ...


class WSGIApp:
    """``server`` (a ``Server`` or an ``EngineServer``) at ``path`` and nowhere else; other paths go to ``wsgi_app``.

    (``socketio.WSGIApp`` takes everything below the path, the browser client's files included.) ``/readyz`` says
    whether this worker takes new clients.
    """

    def __init__(
        self,
        server: _Server,
        wsgi_app: Callable[..., Iterable[bytes]] | None = None,
        path: str = "/socket.io/",
    ) -> None:
        self._server = server
        self._wsgi_app = wsgi_app or _not_found
        self._paths = {path, path.rstrip("/")}

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        path = environ["PATH_INFO"]
        if path in self._paths:
            return self._server.handle_request(environ, start_response)
        if path == READY:
            return self._say_whether_ready(environ, start_response)
        return self._wsgi_app(environ, start_response)

    def _say_whether_ready(self, environ: dict[str, Any], start_response: Any) -> list[bytes]:
        reason = self._server.get_unready_reason()
        text = b"ready\n" if reason is None else f"not ready: {reason}\n".encode()
        start_response(
            "200 OK" if reason is None else "503 Service Unavailable",
            [
                ("Content-Type", "text/plain; charset=utf-8"),
                ("Content-Length", str(len(text))),
                ("Cache-Control", "no-store"),
                ("X-Content-Type-Options", "nosniff"),
            ],
        )
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [text]


def _not_found(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    start_response("404 Not Found", [("Content-Type", "text/plain")])
    return [b"Not found\n"]
