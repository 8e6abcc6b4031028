"""``webfarm doctor``: looks at a machine, its Redis and its farm, and says what to do about each fault."""

from webfarm.doctor.finding import Finding
from webfarm.doctor.report import examine, render, summarize

__all__ = ["Finding", "examine", "render", "summarize"]
