"""An app written for Flask-SocketIO; only its import of ``flask_socketio`` became one of ``webfarm.flask``."""

import os

from flask import Flask, current_app, request, session
from werkzeug.local import LocalProxy

from webfarm.flask import (
    ConnectionRefusedError,
    Namespace,
    SocketIO,
    call,
    close_room,
    disconnect,
    emit,
    join_room,
    leave_room,
    rooms,
    send,
)

app = Flask(__name__)
app.config.update(SECRET_KEY="change me", GREETING="Welcome")
socketio = SocketIO(app, message_queue=os.environ["REDIS_URL"], async_mode="gevent", cors_allowed_origins="*")
current_user = LocalProxy(lambda: session.get("name", "nobody"))


@app.get("/login/<name>")
def login(name):
    session["name"] = name
    return f"{current_user}\n"


@socketio.on("connect")
def on_connect(auth):
    if auth and auth.get("ticket") == "used":
        raise ConnectionRefusedError("This ticket was used.")
    emit("welcome", {"text": current_app.config["GREETING"], "name": str(current_user)})


@socketio.on("disconnect")
def on_disconnect(reason):
    emit("left", {"name": str(current_user)}, broadcast=True, include_self=False)


@socketio.on("join")
def on_join(room):
    join_room(room)
    emit("joined", {"name": str(current_user)}, to=room, include_self=False)
    return get_joined()


@socketio.on("leave")
def on_leave(room):
    leave_room(room)
    return get_joined()


@socketio.on("close")
def on_close(room):
    emit("closed", room, to=room)
    close_room(room)
    return get_joined()


def get_joined():
    return sorted(room for room in rooms() if room != request.sid)


@socketio.on("say")
def on_say(data):
    session["said"] = session.get("said", 0) + 1
    emit("said", {"name": str(current_user), "text": data["text"]}, to=data["rooms"])
    return "ok", session["said"]


@socketio.on("message")
def on_message(data):
    send(data, broadcast=True, include_self=False)


@socketio.on("json")
def on_json(data):
    send(data, json=True)


@socketio.event
def context(*args):
    event = request.event
    return [request.namespace, event["message"], list(event["args"]), request.args.get("userId"), str(current_user)]


@socketio.event
def quiz():
    return call("question", "6 * 7?", timeout=5)


@socketio.event
def poll():
    emit("question", "Tea?", callback=lambda answer: emit("noted", {"name": str(current_user), "answer": answer}))


@socketio.event
def count(limit):
    socketio.start_background_task(count_up, request.sid, limit)


def count_up(sid, limit):
    for number in range(limit):
        socketio.sleep(0.01)
        socketio.emit("counted", number, to=sid)


@socketio.event
def fail(what):
    raise {"value": ValueError, "key": KeyError}[what]("on purpose")


@socketio.on_error()
def on_error(error):
    return {"failed": type(error).__name__, "event": request.event["message"]}


@socketio.event
def leave_for_good():
    disconnect()


@socketio.on("*")
def on_other(event, *args):
    return ["unknown", event, *args]


class Desk(Namespace):
    def on_connect(self, auth):
        if not auth:
            return False
        session["desk"] = auth["desk"]
        return None

    def on_disconnect(self, reason):
        self.emit("gone", session["desk"])

    def on_ring(self, times):
        self.emit("ring", [session["desk"], times], room=request.sid)
        return session["desk"]

    def on_break(self):
        raise RuntimeError("on purpose")


@socketio.on_error_default
def on_any_error(error):
    return {"desk": session["desk"], "failed": str(error)}


socketio.on_namespace(Desk("/desk"))
