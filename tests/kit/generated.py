"""Pages that a script makes from the source: ``python -m tests.kit.NAME [--check]`` writes one, or compares it."""

from pathlib import Path


def write_or_check(page: Path, text: str, arguments: list[str], module: str) -> int:
    """Write ``text`` to ``page``, or compare both with ``--check``; return the exit code."""
    if "--check" not in arguments:
        page.write_text(text)
        return 0
    if page.read_text() == text:
        return 0
    print(f"docs/{page.name} is not what the docstrings say: run python -m {module}.")
    return 1
