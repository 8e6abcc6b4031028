"""Links the first use of each term on a page to the glossary: ``python -m tests.kit.glossary``."""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
GLOSSARY = ROOT / "docs" / "glossary.md"
_MADE = {"api.md", "engine.md", "glossary.md"}  # from docstrings, and the glossary itself
PAGES = [ROOT / "README.md", *(page for page in sorted((ROOT / "docs").glob("*.md")) if page.name not in _MADE)]

# Where a term is no term: tables that a script writes, code, headings, the heads of tables, links, comments, files that a block shows.
_NO_PROSE = re.compile(
    r"^<!-- (?P<made>\w+) -->.*?^<!-- end of (?P=made) -->$|^```.*?^```$|^    .*?$|^#.*?$|^\*\*`.*?$|^\|[^\n]*\n(?=\|[-: |]+$)|<!--.*?-->|!?\[[^\]]*\]\([^)]*\)|(?P<ticks>`+).+?(?P=ticks)|<[^>]*>",
    re.MULTILINE | re.DOTALL,
)


def get_terms() -> list[str]:
    """Return the terms that the glossary defines."""
    return re.findall(r'<a id="[\w-]+"></a>([\w ]+?) \|', GLOSSARY.read_text())


def find_first_uses(text: str) -> dict[str, re.Match[str]]:
    """Return the first use of each term that has no link before it; a plural is a use, Node's name is none."""
    prose = _NO_PROSE.sub(lambda found: re.sub(r"[^\n]", " ", found[0]), text)
    found = {}
    for term in get_terms():
        use = re.search(rf"\b{term}(?:e?s)?\b(?!-)", prose)
        link = re.search(rf"glossary\.md#{term.replace(' ', '-')}\)", text)
        if use and (link is None or link.start() > use.start()):
            found[term] = use
    return found


def add_links(page: Path) -> None:
    """Write the missing links into a page."""
    text = page.read_text()
    target = GLOSSARY.relative_to(page.parent)
    for term, use in sorted(find_first_uses(text).items(), key=lambda item: -item[1].start()):
        text = f"{text[: use.start()]}[{use[0]}]({target}#{term.replace(' ', '-')}){text[use.end() :]}"
    page.write_text(text)


if __name__ == "__main__":
    for page in PAGES:
        add_links(page)
    sys.exit()
