"""``webfarm systemd-units``: hardened units for an app, all from one template. ``make install`` uses them too."""

import re
import sys
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from webfarm.errors import SettingsError
from webfarm.run.app import has_config

UNITS = ("webfarm@.service", "webfarm.service", "webfarm.target")
FOLDER = Path("/etc/systemd/system")

_PATH = re.compile(r"/[A-Za-z0-9._+@/-]*")  # no sign that systemd reads as more than itself
_APP = re.compile(r"[\w.]+:[\w.]+(?:\(\))?")
_HOMES = ("/home", "/root")


def render_units(app: str, directory: Path) -> dict[str, str]:
    """Return the text of each unit, by its name.

    Args:
        app: ``MODULE:APP``, which gunicorn serves unless the settings file has ``WEBFARM_APP``.
        directory: of the app. The units use its ``.venv``; if it has none, the environment of this command.

    Raises:
        SettingsError: a unit can't name the app, or can't reach the directory.
        Error: the directory has a configuration of gunicorn that isn't webfarm's.
    """
    if not _APP.fullmatch(app):
        raise SettingsError(f"{app!r} is no MODULE:APP, like poll:app.")
    if not _PATH.fullmatch(str(directory)):
        raise SettingsError(f"{str(directory)!r} is no absolute path of letters, digits and the signs . _ + @ -.")
    environment = Path(sys.prefix) if directory.is_dir() and not (directory / ".venv").is_dir() else directory / ".venv"
    for folder in (directory, environment):
        if any(folder.is_relative_to(home) for home in _HOMES):
            raise SettingsError(f"the units can't reach {folder} in a home directory: choose another, like /opt/poll.")
    gunicorn = f"{environment}/bin/gunicorn" + ("" if has_config(directory) else " -c python:webfarm.gunicorn")
    loader = FileSystemLoader(Path(__file__).parent)
    jinja = Environment(
        loader=loader, undefined=StrictUndefined, autoescape=False, trim_blocks=True, lstrip_blocks=True
    )
    template = jinja.get_template("systemd.conf.j2")
    values = {"app": app, "directory": directory, "gunicorn": gunicorn}
    return {unit: template.render(values, unit=unit) + "\n" for unit in UNITS}


def join_units(units: dict[str, str]) -> str:
    """Return all units as one text, each under a line with its path."""
    return "\n".join(f"# {FOLDER / name}\n{text}" for name, text in units.items())


def write_units(units: dict[str, str], folder: Path) -> None:
    """Write each unit into ``folder``. Raises ``SettingsError`` if that fails."""
    try:
        for name, text in units.items():
            (folder / name).write_text(text)
    except OSError as error:
        raise SettingsError(f"the units can't be written to {folder}: {error.strerror}.") from None
