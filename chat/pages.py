"""The chat's page, the browser's client, health and metrics."""

from pathlib import Path

from flask import Blueprint, Response, abort, render_template, send_from_directory
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

_ROOT = Path(__file__).parent.parent
_CLIENT = _ROOT / "node_modules" / "socket.io-client" / "dist"
_CLIENT_FILES = ("socket.io.js", "socket.io.min.js", "socket.io.esm.min.js")

# All that a page needs are files from here; what is written into it is text, and never markup.
_POLICY = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "img-src": "'self'",
    "connect-src": "'self'",
    "base-uri": "'none'",
    "form-action": "'self'",
    "frame-ancestors": "'none'",
    "require-trusted-types-for": "'script'",
}
_SECURITY_HEADERS = {
    "Content-Security-Policy": "; ".join(map(" ".join, _POLICY.items())),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
}


def create_blueprint() -> Blueprint:
    """Return the HTTP side of the chat."""
    views = Blueprint("views", __name__, static_folder="static", static_url_path="/static")

    @views.get("/")
    @views.get("/index.html")
    def index() -> str:
        return render_template("index.html")

    @views.get("/socket.io/<name>")
    def client(name: str) -> Response:
        if name not in _CLIENT_FILES:
            abort(404)
        if not _CLIENT.is_dir():
            abort(404, "The browser client is not installed: run make setup.")
        return send_from_directory(_CLIENT, name, max_age=3600)

    @views.get("/healthz")
    def healthz() -> Response:
        return Response("ok\n", mimetype="text/plain", headers={"Cache-Control": "no-store"})

    @views.get("/metrics")
    def metrics() -> Response:
        return Response(generate_latest(), content_type=CONTENT_TYPE_LATEST)

    @views.after_app_request
    def add_security_headers(response: Response) -> Response:
        for name, value in _SECURITY_HEADERS.items():
            response.headers.setdefault(name, value)
        return response

    return views
