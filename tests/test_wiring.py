"""``Farm`` before a worker starts it: the functions, routes and namespaces that it refuses or warns of."""

from functools import partial

import pytest
from flask import Flask

from webfarm import Farm, Namespace, Settings
from webfarm.errors import SettingsError
from webfarm.service import Service
from webfarm.web.pages import Pages


class Caller:
    def __call__(self):
        pass


def tell():
    pass


@pytest.mark.parametrize(
    "function",
    [lambda: None, partial(tell), Caller(), None, tell()],
    ids=["lambda", "partial", "object", "nothing", "result"],
)
def test_what_runs_once_has_a_name_that_all_workers_know(function):
    with pytest.raises(
        TypeError, match=r"^Farm.run_once: all workers know the function by its name: use def, not .*\.$"
    ):
        Farm(settings=Settings()).run_once(function)


def test_a_function_runs_once_under_its_name():
    farm = Farm(settings=Settings())
    assert farm.run_once(tell) is tell
    farm.run_once(Caller().__call__)
    with pytest.raises(ValueError, match=r"two functions are called tests\.test_wiring\.tell"):
        farm.run_once(tell)


PASSWORD = Settings(admin_password="the password", api_key="k" * 16)


def list_warnings(settings, *rules):
    """Return the warnings about an app that has these routes."""
    app, before = Flask(__name__), set(map(id, Service.get_all()))
    farm = Farm(app, settings)
    for number, rule in enumerate(rules):
        app.add_url_rule(rule, str(number), lambda **names: "mine", methods=["PUT"])
    assert farm.wsgi_app
    return [warning for one in Service.get_all() if id(one) not in before for warning in one.list_warnings()]


@pytest.mark.parametrize(
    ("rule", "path"),
    [
        ("/metrics", "/metrics"),
        ("/healthz", "/healthz"),
        ("/readyz", "/readyz"),
        ("/status", "/status"),
        ("/admin-ui", "/admin-ui"),
        ("/admin-ui/mine.js", "/admin-ui/mine.js"),
        ("/api/emit", "/api/emit"),
        ("/api/<name>", "/api/emit"),
        ("/socket.io/", "/socket.io/"),
        ("/socket.io/mine.js", "/socket.io/mine.js"),
    ],
)
def test_a_route_at_a_path_of_the_farm_is_a_warning(rule, path):
    [warning] = list_warnings(PASSWORD, rule)
    assert warning == (
        f"The app's route {rule} is never called at {path}, which webfarm serves: give the route another path."
    )


def test_other_routes_are_none():
    assert list_warnings(PASSWORD, "/", "/api/votes", "/status/of-my-own", "/<path:any>", "/<page>", "/metrics2") == []


def test_a_page_that_is_off_takes_no_path():
    assert list_warnings(Settings(), "/status", "/admin-ui/", "/api/emit") == []


def test_a_wsgi_application_has_no_routes_to_compare():
    farm = Farm(lambda environ, start_response: [], PASSWORD)
    assert farm.wsgi_app


ADMIN = r"^The app has a namespace /admin of its own, which is the Admin UI's: rename it, or unset WEBFARM_ADMIN_PASSWORD\.$"


def start_all(before):
    for one in Service.get_all():
        if id(one) not in before and isinstance(one, Pages):
            one.start("node")


def test_a_namespace_of_the_admin_uis_name_is_refused():
    with pytest.raises(SettingsError, match=ADMIN):
        Farm(settings=PASSWORD, namespace=Namespace("/admin"))


@pytest.mark.parametrize(
    "add",
    [
        lambda server: server.register_namespace(Namespace("/admin")),
        lambda server: server.on("connect", lambda sid, environ: None, namespace="/admin"),
    ],
    ids=["class", "handler"],
)
def test_a_namespace_of_the_admin_uis_name_is_refused_at_the_start(add):
    before = set(map(id, Service.get_all()))
    farm = Farm(settings=PASSWORD)
    start_all(before)
    add(farm.server)
    with pytest.raises(SettingsError, match=ADMIN):
        start_all(before)


def test_without_the_admin_ui_its_namespace_is_the_apps():
    before = set(map(id, Service.get_all()))
    farm = Farm(settings=Settings(), namespace=Namespace("/admin"))
    start_all(before)
    assert "/admin" in farm.server.namespace_handlers
