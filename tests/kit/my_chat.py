"""The chat with one event more, and a route of its own beside it."""

import os
from typing import Any

from chat.app import create_app
from chat.events import ChatNamespace
from chat.messages import COMMON_ROOM
from webfarm import BadRequest, Settings


class MyChat(ChatNamespace):
    """The chat, where one can shout."""

    def on_shout(self, sid: str, text: Any) -> dict[str, Any]:
        if not isinstance(text, str):
            raise BadRequest("Shout a text.")
        stored = self._store("message", sid, text.upper(), COMMON_ROOM)
        return {"ok": True, "id": str(stored.id)}


app = create_app(Settings.from_env(os.environ), namespace=MyChat)


@app.get("/mine")
def mine() -> str:
    return "<script>document.title = 'mine'</script>"
