"""The chat as a WSGI application: its handlers and pages on a ``Farm``."""

from collections.abc import Callable

from flask import Flask

from chat.demo import Demo, create_demo
from chat.events import ChatNamespace
from chat.pages import create_blueprint
from webfarm import Farm, Settings


def create_app(
    settings: Settings, *, namespace: Callable[[Settings], ChatNamespace] = ChatNamespace, run_key: str | None = None
) -> Flask:
    """Return the chat as a Flask app, with the farm in front of it.

    Nothing is connected yet: the worker starts the server once the app is loaded.

    Args:
        settings: all of them.
        namespace: the chat's handlers, or a subclass with more of them.
        run_key: the key that ``webfarm run`` gave its workers; with it the demo can kill one.
    """
    app = Flask(__name__, static_folder=None)
    handlers = namespace(settings)
    farm = Farm(app, settings, handlers)
    if settings.secret is None:  # the demo has no tokens
        Demo(farm, has_cluster_of_run=run_key is not None).attach(handlers)
    app.register_blueprint(create_blueprint())
    app.register_blueprint(create_demo(run_key, farm.server.eio.sockets.__contains__))
    return app
