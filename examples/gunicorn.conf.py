"""gunicorn's configuration for the examples: that of the project, but for the app."""

from pathlib import Path

exec((Path(__file__).parent.parent / "gunicorn.conf.py").read_text())

del wsgi_app  # noqa: F821 - the command line names it
