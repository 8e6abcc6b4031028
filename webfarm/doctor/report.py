"""All checks, one after the other, and their findings for people."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import click

from webfarm.doctor import farm, machine, store
from webfarm.doctor.finding import Finding, Level, fault, ok, warning
from webfarm.errors import SettingsError
from webfarm.haproxy import Server
from webfarm.settings import Settings

_MARKS = {Level.OK: ("✓", "green"), Level.WARNING: ("!", "yellow"), Level.FAULT: ("✗", "red")}


def examine(
    environ: Mapping[str, str], servers: Sequence[Server], url: str | None, root: Path = Path("/")
) -> Iterator[Finding]:
    """Run all checks, and yield each finding at once.

    Args:
        environ: the settings, usually ``os.environ``.
        servers: the workers; if empty, the workers that the settings name.
        url: of HAProxy; ``None`` leaves it unchecked.
        root: of the files that are checked: ``/etc`` and ``/opt`` lie there.
    """
    try:
        settings = Settings.from_env(environ)
    except SettingsError as error:
        yield fault("settings", str(error), "Fix it; nothing starts with it.")
        return
    yield ok("settings", "All values are good.")
    for text in settings.warnings:
        yield warning("settings", text, "Set or unset it, unless you want this.")
    yield from machine.examine(environ, root, has_haproxy=url is not None)
    yield from store.examine(settings)
    yield from farm.examine(settings, servers, url)


def render(finding: Finding) -> str:
    """Return it for a terminal: a line, and another one with what to do."""
    mark, colour = _MARKS[finding.level]
    line = f"{click.style(mark, fg=colour)} {finding.subject}: {finding.text}"
    return f"{line}\n    {finding.remedy}" if finding.remedy else line


def summarize(findings: Sequence[Finding]) -> str:
    """Return how many there are of each level."""
    counts = Counter(finding.level for finding in findings)
    parts = [f"{counts[level]} {level}{'' if counts[level] == 1 else 's'}" for level in (Level.FAULT, Level.WARNING)]
    return f"{', '.join(parts)}, {counts[Level.OK]} good"
