"""The chat's page."""

from flask import Blueprint, Response, render_template, request

# A page needs files from here only; whatever is written into it is text, never markup.
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


def add_security_headers(response: Response) -> Response:
    """Add the chat's security headers to one of its own pages."""
    for name, value in _SECURITY_HEADERS.items():
        response.headers.setdefault(name, value)
    return response


def create_blueprint() -> Blueprint:
    """Return the chat's page and its files."""
    views = Blueprint("views", __name__, static_folder="static", static_url_path="/static")
    views.after_request(add_security_headers)

    @views.after_app_request
    def secure_unknown_pages(response: Response) -> Response:
        """A path without a page is the chat's, too; an app's own routes beside the chat stay as they are."""
        return add_security_headers(response) if request.endpoint is None else response

    @views.get("/")
    @views.get("/index.html")
    def index() -> str:
        return render_template("index.html")

    return views
