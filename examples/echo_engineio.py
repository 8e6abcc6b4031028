"""An Engine.IO app: it sends back each message, text or bytes."""

import os

from webfarm import EngineServer, WSGIApp
from webfarm.settings import Settings

eio = EngineServer(cors_allowed_origins="*", **Settings.from_env(os.environ).engine_options)
app = WSGIApp(eio, path="/engine.io/")


@eio.on("message")
def message(sid: str, data: str | bytes) -> None:
    eio.send(sid, data)
