"""What anybody may ask of a worker: whether it works, its metrics, and the browser's client."""

from flask import Blueprint, Response, abort, send_from_directory
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from webfarm.web.packages import find_folder

#: The release of the browser's client that the farm was tested with.
CLIENT_VERSION = "4.8.4"

_CLIENT_FILES = ("socket.io.js", "socket.io.min.js", "socket.io.esm.min.js")


def create_public(path: str) -> Blueprint:
    """Return ``/healthz``, ``/metrics``, and the client's script below ``path``, which is Socket.IO's."""
    public = Blueprint("public", __name__)

    @public.get("/healthz")
    def healthz() -> Response:
        return Response("ok\n", mimetype="text/plain", headers={"Cache-Control": "no-store"})

    @public.get("/metrics")
    def metrics() -> Response:
        return Response(generate_latest(), content_type=CONTENT_TYPE_LATEST)

    @public.get(f"{path.rstrip('/')}/<name>")
    def client(name: str) -> Response:
        if name not in _CLIENT_FILES:
            abort(404)
        folder = find_folder("socket.io-client/dist", f"socket.io-client@{CLIENT_VERSION}")
        return send_from_directory(folder, name, max_age=3600)

    return public
