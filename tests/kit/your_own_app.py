"""The files and commands that ``docs/your-own-app.md`` shows."""

import re
from pathlib import Path

PAGE = Path(__file__).parent.parent.parent / "docs" / "your-own-app.md"


def get_files() -> dict[str, str]:
    """Return the text of each file, by its path."""
    shown = re.findall(r"^\*\*`([\w./]+)`\*\*\n\n```\w+\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    return dict(shown)


def write_files(folder: Path) -> None:
    """Write all files into ``folder``."""
    for name, text in get_files().items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def get_commands() -> list[str]:
    """Return each block of shell commands, in order."""
    return re.findall(r"^```sh\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)


def find_command(text: str) -> str:
    """Return the one block with ``text`` in it."""
    [found] = [block for block in get_commands() if text in block]
    return found.rstrip()
