"""Handlers for what is another thing on the engine than on Flask-SocketIO; made as an application factory does."""

import os
from collections import defaultdict
from datetime import UTC, datetime

from flask import Flask, g, request, session

from webfarm.errors import Forbidden, Unavailable
from webfarm.flask import Namespace, SocketIO, emit

socketio = SocketIO()
log = defaultdict(list)


@socketio.event
def connect():
    log[request.sid].append("connected" if not socketio.server.is_recovered(request.sid) else "recovered")


@socketio.event
def disconnect():
    log[request.sid].append("gone")


@socketio.event
def get_log():
    return log[request.sid]


@socketio.event
def remember():
    session.update(at=datetime(2026, 1, 2, tzinfo=UTC), pair=(1, b"two"), nested={"list": []})
    session["nested"]["list"].append(3)


@socketio.event
def recall():
    return repr({name: session[name] for name in ("at", "pair", "nested")})


@socketio.event
def forget():
    session.clear()


@socketio.event
def remember_object():
    session["object"] = object()


@socketio.event
def count():
    session["count"] = session.get("count", 0) + 1
    return session["count"]


@socketio.event
def wait(seconds):
    socketio.sleep(seconds)
    emit("waited", seconds)


@socketio.event
def refuse(kind):
    raise {"client": Forbidden, "redis": Unavailable, "other": ValueError}[kind]("on purpose")


@socketio.event
def shout(text):
    socketio.emit("shouted", text, volatile=True)


@socketio.on_error()
def on_error(error):
    return f"on_error: {error}"


class Guarded(Namespace):
    def on_refuse(self, kind):
        refuse(kind)

    def error(self, error):
        return f"error: {error}"


socketio.on_namespace(Guarded("/guarded"))


@socketio.on("fail", namespace="/unguarded")
def fail():
    raise ValueError("on purpose")


app = Flask(__name__)
app.secret_key = "secret"


@app.before_request
def mark():
    g.is_marked = True


@socketio.event
def is_marked():
    return g.get("is_marked", False)


app.add_url_rule("/marked", view_func=lambda: str(is_marked()))


@app.get("/count")
def count_up():
    return str(count())


socketio.init_app(
    app,
    path="/ws/socket.io",
    message_queue=os.environ["REDIS_URL"],
    channel=os.environ["WEBFARM_PREFIX"],
    manage_session=os.environ.get("MANAGE_SESSION") != "0",
)
