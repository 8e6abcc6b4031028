"""Where the browser's files of npm packages lie: in this package, in the current folder, or in the clone."""

from pathlib import Path

from flask import Response, abort, send_from_directory

_HERE = Path(__file__).parent
_PLACES = (
    _HERE / "packages",  # of a wheel
    Path("node_modules"),  # of the current folder
    _HERE.parent.parent / "node_modules",  # of a clone
)


def find_packages(name: str) -> Path | None:
    """Return the folder ``name`` of an npm package, if one of the places has it."""
    return next((folder for place in _PLACES if (folder := place / name).is_dir()), None)


def find_folder(name: str, package: str) -> Path:
    """Return the folder ``name`` of an npm package, or answer 404 with the command that installs the package.

    Args:
        name: the folder, beginning with the package's name.
        package: the package as npm takes it, with its version.
    """
    found = find_packages(name)
    if found is None:
        abort(404, f"The browser's files are not installed: run npm install {package}.")
    return found.absolute()


def send_file(folder: Path, name: str) -> Response:
    """Return the answer with a file, which only the browser itself may keep for an hour."""
    response = send_from_directory(folder, name, max_age=3600)
    response.headers["Cache-Control"] = "private, max-age=3600"
    return response
