"""gunicorn's configuration: that of ``chat/gunicorn.py``, for the chat."""

from chat.gunicorn import *  # noqa: F403

wsgi_app = "wsgi:app"
