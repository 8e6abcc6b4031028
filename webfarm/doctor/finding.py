"""What the doctor finds."""

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """How bad it is."""

    OK = "ok"
    WARNING = "warning"  # it works, and may fail its users some day
    FAULT = "fault"


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at: what was seen, and, unless it is good, what to do."""

    level: Level
    subject: str
    text: str
    remedy: str = ""

    def to_dict(self) -> dict[str, str]:
        """Return ``{level, subject, text, remedy}``."""
        return {"level": self.level.value, "subject": self.subject, "text": self.text, "remedy": self.remedy}


def ok(subject: str, text: str) -> Finding:
    """Return that all is well."""
    return Finding(Level.OK, subject, text)


def warning(subject: str, text: str, remedy: str) -> Finding:
    """Return that it works, and may fail its users some day."""
    return Finding(Level.WARNING, subject, text, remedy)


def fault(subject: str, text: str, remedy: str) -> Finding:
    """Return that something is broken, or that messages can be lost."""
    return Finding(Level.FAULT, subject, text, remedy)
