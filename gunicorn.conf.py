"""gunicorn's configuration: that of ``webfarm/gunicorn.py``, for the chat."""

from webfarm.gunicorn import *  # noqa: F403

wsgi_app = "wsgi:app"
