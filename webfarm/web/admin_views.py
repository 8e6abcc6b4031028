"""The pages for the admin, behind HTTP Basic: ``/status`` and the official Admin UI, as its package has it."""

import re

from flask import Blueprint, Response, jsonify, make_response, redirect, render_template, request, url_for
from markupsafe import Markup
from werkzeug.wrappers import Response as BaseResponse

from webfarm.errors import RateLimited, Unauthorized, Unavailable
from webfarm.web.admin_auth import AdminAuth
from webfarm.web.figures import Figures
from webfarm.web.packages import find_folder, send_file

# The folder of a package, and the package as npm takes it.
_UI = ("@socket.io/admin-ui/ui/dist", "@socket.io/admin-ui@0.5.1")
_ICONS = ("@mdi/font", "@mdi/font@7.4.47")
_PLOTS = ("uplot/dist", "uplot@1.6.32")

_CHALLENGE = {"WWW-Authenticate": 'Basic realm="webfarm", charset="UTF-8"'}
_FOREIGN = re.compile(r'<link [^>]*href="https?:[^>]*>')  # fonts and icons from elsewhere
_OURS = Markup('<link rel="stylesheet" href="{}"><script src="{}" data-session="{}"></script></head>')
# The Admin UI writes its theme into a style element.
_UI_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self'; font-src 'self';"
    " connect-src 'self' ws: wss:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)


def create_admin(auth: AdminAuth, figures: Figures) -> Blueprint:
    """Return what is shown to who has the password that ``auth`` knows."""
    admin = Blueprint(
        "admin", __name__, template_folder="templates", static_folder="static", static_url_path="/status/static"
    )

    @admin.before_request
    def check() -> None:
        """Let nobody else through; who has not tried yet is only asked."""
        try:
            given = request.authorization
        except ValueError:  # as of what is not ASCII
            given = None
        if given is None or given.type != "basic":
            raise Unauthorized("The admin's password is needed.")
        auth.check(given.username, given.password, request.remote_addr or "")

    @admin.get("/status")
    def status() -> str:
        return render_template("status.html")

    @admin.get("/status.json")
    def status_json() -> Response:
        return jsonify(nodes=figures.fetch())

    @admin.get("/status/<any('uPlot.esm.js', 'uPlot.min.css'):name>")
    def plots(name: str) -> Response:
        return send_file(find_folder(*_PLOTS), name)

    @admin.get("/admin-ui")
    def admin_ui_without_slash() -> BaseResponse:
        return redirect(url_for(".admin_ui"))

    @admin.get("/admin-ui/")
    def admin_ui() -> Response:
        response = make_response(_render_ui(auth.create_session()))
        response.headers["Content-Security-Policy"] = _UI_POLICY
        return response

    @admin.get("/admin-ui/icons/<path:name>")
    def icons(name: str) -> Response:
        return send_file(find_folder(*_ICONS), name)

    @admin.get("/admin-ui/<path:name>")
    def admin_ui_file(name: str) -> Response:
        return send_file(find_folder(*_UI), name)

    @admin.after_request
    def keep_private(response: Response) -> Response:
        if "max-age" not in response.headers.get("Cache-Control", ""):
            response.headers["Cache-Control"] = "no-store"
        return response

    @admin.errorhandler(Unauthorized)
    def refuse(error: Unauthorized) -> tuple[str, int, dict[str, str]]:
        return f"{error}\n", 401, _CHALLENGE

    @admin.errorhandler(RateLimited)
    def refuse_for_now(error: RateLimited) -> tuple[str, int]:
        return f"{error}\n", 429

    @admin.errorhandler(Unavailable)
    def fail(error: Unavailable) -> tuple[Response, int]:
        return jsonify(error={"code": "unavailable", "message": "Redis does not answer."}), 503

    return admin


def _render_ui(session: str) -> str:
    """Return the Admin UI's page: with icons from here, and logged in."""
    icons = url_for(".icons", name="css/materialdesignicons.min.css")
    ours = _OURS.format(icons, url_for(".static", filename="admin.js"), session)
    return _FOREIGN.sub("", (find_folder(*_UI) / "index.html").read_text()).replace("</head>", ours)
