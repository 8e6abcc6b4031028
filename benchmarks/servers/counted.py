"""The chat, and at ``/counts`` what its process holds after a full collection: greenlets, and objects."""

import gc
import os

from greenlet import greenlet

from chat.app import create_app
from webfarm.settings import Settings

app = create_app(Settings.from_env(os.environ))


@app.get("/counts")
def counts() -> dict[str, int]:
    gc.collect()
    objects = gc.get_objects()
    return {"greenlets": sum(isinstance(one, greenlet) and not one.dead for one in objects), "objects": len(objects)}
