"""gunicorn's configuration for the chat: that of ``webfarm/gunicorn.py``."""

from webfarm.gunicorn import *  # noqa: F403
