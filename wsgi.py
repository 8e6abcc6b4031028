"""The WSGI application that gunicorn serves."""

import os

from chat.app import create_app
from webfarm import Settings

app = create_app(Settings.from_env(os.environ), run_key=os.environ.get("WEBFARM_RUN_KEY"))
