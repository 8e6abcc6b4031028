"""The WSGI application around a server: one path is its own, the others are somebody else's."""

from collections.abc import Callable, Iterable
from typing import Any, Protocol


class _Server(Protocol):
    def handle_request(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]: ...


class WSGIApp:
    """``server`` (a ``Server`` or an ``EngineServer``) at ``path`` and nowhere else; other paths go to ``wsgi_app``.

    (``socketio.WSGIApp`` takes everything below the path, the browser client's files included.)
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
        if environ["PATH_INFO"] in self._paths:
            return self._server.handle_request(environ, start_response)
        return self._wsgi_app(environ, start_response)


def _not_found(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    start_response("404 Not Found", [("Content-Type", "text/plain")])
    return [b"Not found\n"]
