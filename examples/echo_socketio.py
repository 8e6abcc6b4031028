"""A Socket.IO app without Redis: it sends back what it is sent."""

import os
from typing import Any

from webfarm import Server, WSGIApp
from webfarm.settings import Settings

settings = Settings.from_env(os.environ)
sio = Server(
    namespaces=["/", "/custom"],
    connect_timeout_s=settings.connect_timeout_s,
    cors_allowed_origins="*",
    **settings.engine_options,
)
app = WSGIApp(sio)


def connect(namespace: str, sid: str, environ: dict[str, Any], auth: Any) -> None:
    sio.emit("auth", auth or {}, to=sid, namespace=namespace)


def message(namespace: str, sid: str, *args: Any) -> None:
    sio.emit("message-back", args, to=sid, namespace=namespace)


def message_with_ack(namespace: str, sid: str, *args: Any) -> tuple[Any, ...]:
    return args


sio.on("connect", connect, namespace="*")
sio.on("message", message, namespace="*")
sio.on("message-with-ack", message_with_ack, namespace="*")
