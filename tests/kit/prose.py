"""The prose check of ``make lint``: short sentences and plain words in pages, docstrings, comments and help texts.

``python -m tests.kit.prose [PATH ...]`` prints one line for each fault and exits with 1 if there is one. A sentence has at
most 25 words; a code span, an address and a number are one word each. Each list item and each table cell is a text of its
own. Code is not prose: blocks, spans, and the names under ``Args:`` are skipped.
"""

import ast
import io
import re
import sys
import tokenize
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

MAX_WORDS = 25
DEFAULT_PATHS = (
    *("README.md", "*.md", "docs", "examples", "webfarm", "chat", "systemd"),
    *("wsgi.py", "gunicorn.conf.py", "benchmarks", "faults"),
)
# Two pages are made by scripts: of docstrings, and of measurements.
_SKIPPED = {"node_modules", ".venv", "__pycache__", "build", "packages", "api.md", "RESULTS.md"}

# A pattern, and what to write instead. Each has one plain replacement; a word that is good English elsewhere isn't here.
_BANNED = [
    (r"anew", "again"),
    (r"mend(?:s|ed|ing)?", "fix"),
    (r"(?:stands?|stood|standing) still", "stall"),
    (r"(?:has|have|had) gone(?! (?:through|to|into|out|on|over|back|up|down|by)\b)", "crashed, ended or closed"),
    (r"(?:is|are|was|were|be|been|being) away(?! from\b)", "unreachable or disconnected"),
    (r"kin", "the others, by their name"),
    (r"(?:who(?:so)?|whom)ever", "the actor's name"),
    (r"one's own|(?:of|to|from|in|for|with|by) one's(?! complement)", "your, its or the noun's"),
    (r"be had", "be possible or exist"),
    (r"upon", "on"),
    (r"(?:there|where|here)(?:of|in|by|upon|from|with)", "of it, in it or by it"),
    (r"what of", "the part of"),
    (r"hence(?:forth)?", "so or from now on"),
    (r"whilst", "while"),
]
_BANNED_WORDS = [
    (re.compile(rf"\b{pattern}\b".replace(" ", r"\s+"), re.IGNORECASE), advice) for pattern, advice in _BANNED
]
_ANY_BANNED = re.compile("|".join(pattern.pattern for pattern, _ in _BANNED_WORDS), re.IGNORECASE)
_HEADLESS = re.compile(
    r"Who (?![^?]*(?::|\bwhich\b))[^?]*\.\W*\Z", re.DOTALL
)  # not a title: "Who may join which room."

_NOT_PROSE = re.compile(
    r"(?P<ticks>`+)(?s:.+?)(?P=ticks)"  # a code span
    r"|<?\b\w+(?:\+\w+)*://[^\s)>\"`]+>?"  # an address
    r"|(?<=\])\([^)\s]*\)"  # the target of a link
    r"|</?\w[^<>]*>"  # a tag
)
_SENTENCE_END = re.compile(r"[.!?][)\"'\]*_”]*(?=\s|\Z)")
_ABBREVIATION = re.compile(r"(?:\b(?:e\.g|i\.e|cf|vs|approx|Dr)|\.\.)\.\Z|\betc\.(?=\s+[a-z])")
_ITEM = re.compile(r"\s*(?:[-*+]|\d+[.)])\s+(?=\S)")
_SECTION = re.compile(r"(Args|Arguments|Attributes|Raises|Returns|Yields):\s*\Z")
_ARGUMENT = re.compile(r"\s+[*`\w., ]+(?:\([^)]*\))?:\s")
_SCRIPT_ARGUMENTS = re.compile(r"(KEYS|ARGV|Returns):")
_DIRECTIVE = re.compile(r"#?\s*(?:noqa|type: ignore|fmt:|pragma:|ruff:|mypy:|isort:)[^#]*")


class Text(NamedTuple):
    """A paragraph, a list item, a cell or a comment: no sentence goes beyond it."""

    line: int
    text: str


def read_prose(lines: Iterable[tuple[int, str]], *, is_page: bool = False) -> Iterator[Text]:
    """Split numbered lines into texts.

    Args:
        lines: the number and the text of each line of a page, a docstring or a comment.
        is_page: Markdown, where tables and headings count as well.
    """
    reader = _PageReader() if is_page else _Reader()
    for number, line in lines:
        yield from reader.read(number, line)
    yield from reader.end_text()


class _Reader:
    """Reads the lines of a docstring or of a comment."""

    def __init__(self) -> None:
        self._start = 0
        self._held: list[str] = []  # the lines of the text so far
        self._section = ""  # "Args", "Raises", ...: what the lines below it list
        self._is_fenced = self._is_by_hand = self._is_list = self._is_table = False
        self._code_indent = -1  # a deeper line is code
        self._is_after_blank = True

    def read(self, number: int, line: str) -> Iterator[Text]:
        """Take the next line; yield each text that ends with it."""
        stripped, indent = line.strip(), len(line) - len(line.lstrip())
        if stripped.startswith("```") or self._is_fenced:
            self._is_fenced ^= stripped.startswith("```")
        elif not stripped or stripped == "\b":
            yield from self._end_paragraph(is_by_hand=stripped == "\b")
        elif re.fullmatch(r"=+( +=+)+", stripped):  # a table's border
            self._is_table = not self._is_table
            yield from self.end_text()
        elif self._is_table:
            yield from (Text(number, cell) for cell in re.split(r"\s{2,}", stripped))
        elif not self._is_code(indent):
            self._is_after_blank = False
            yield from self._read_prose(number, line)

    def end_text(self) -> Iterator[Text]:
        """Yield the text that was being read."""
        if self._held:
            yield Text(self._start, "\n".join(self._held))
        self._held = []

    def _end_paragraph(self, *, is_by_hand: bool) -> Iterator[Text]:
        """A blank line, or click's mark: the paragraph below the mark is laid out by hand."""
        if self._held and self._held[-1].rstrip().endswith("::"):
            self._code_indent = len(self._held[-1]) - len(self._held[-1].lstrip())
        yield from self.end_text()
        self._is_by_hand = is_by_hand
        self._is_after_blank = True

    def _is_code(self, indent: int) -> bool:
        if self._is_by_hand or (self._code_indent >= 0 and indent > self._code_indent):
            return True
        self._code_indent = -1
        if indent == 0 and self._is_after_blank:
            self._is_list, self._section = False, ""
        if indent >= 4 and self._is_after_blank and not self._is_list and not self._section:
            self._code_indent = 3
        return self._code_indent >= 0

    def _read_prose(self, number: int, line: str) -> Iterator[Text]:
        if heading := _SECTION.match(line.strip()):
            self._section = heading[1]
        item = _ITEM.match(line)
        self._is_list = self._is_list or bool(item)
        if self._section in ("Args", "Arguments", "Attributes", "Raises"):
            item = item or _ARGUMENT.match(line)
        yield from self._add(number, line[item.end() :] if item else line, is_first=bool(item or heading))
        if heading:
            yield from self.end_text()

    def _add(self, number: int, line: str, *, is_first: bool) -> Iterator[Text]:
        if is_first:
            yield from self.end_text()
        if not self._held:
            self._start = number
        self._held.append(line)


class _PageReader(_Reader):
    """Reads the lines of a page in Markdown."""

    def _read_prose(self, number: int, line: str) -> Iterator[Text]:
        stripped, item = line.strip(), _ITEM.match(line)
        if stripped.startswith("|"):
            if not re.fullmatch(r"[|:\- ]+", stripped):
                yield from (Text(number, cell.strip()) for cell in re.split(r"(?<!\\)\|", _blank_pipes(stripped)))
            return
        self._is_list = self._is_list or bool(item)
        is_heading = stripped.startswith("#")
        yield from self._add(
            number, line[item.end() :] if item else line.lstrip("> "), is_first=bool(item) or is_heading
        )
        if is_heading:
            yield from self.end_text()


def _blank_pipes(row: str) -> str:
    """Return a table's row whose code spans have no ``|``."""
    return re.sub(r"(`+).+?\1", lambda span: span[0].replace("|", "/"), row)


def read_python(source: str) -> Iterator[Text]:
    """Return the docstrings, comments and help texts of a Python file."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            if ast.get_docstring(node, clean=False) is not None:
                yield from _read_docstring(node.body[0])
        elif isinstance(node, ast.keyword) and node.arg in ("help", "epilog", "description", "short_help"):
            parts = [part.value if isinstance(part, ast.Constant) else "x" for part in _get_parts(node.value)]
            if parts and all(isinstance(part, str) for part in parts):
                yield Text(node.value.lineno, "".join(map(str, parts)))
    yield from _read_comments(_find_comments(source))


def _read_docstring(statement: ast.stmt) -> Iterator[Text]:
    assert isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
    first, *rest = str(statement.value.value).split("\n")
    margin = min((len(line) - len(line.lstrip()) for line in rest if line.strip(" ")), default=0)
    lines = [first.lstrip(), *(line[margin:] for line in rest)]
    yield from read_prose(enumerate(lines, statement.lineno))


def _get_parts(node: ast.expr) -> list[ast.expr]:
    if isinstance(node, ast.JoinedStr):
        return node.values
    return [node] if isinstance(node, ast.Constant) else []


def _find_comments(source: str) -> Iterator[tuple[int, int, str]]:
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT and not token.string.startswith("#!"):
            yield token.start[0], token.start[1], token.string.removeprefix("#:").removeprefix("#")


def read_lua(source: str) -> Iterator[Text]:
    """Return the comments of a script; each of its KEYS and ARGV is a text of its own."""
    comments = []
    for number, line in enumerate(source.split("\n"), 1):
        found = re.search(r"(?:^|\s)--+(?=\s|$)", line)
        if found:
            comments.append((number, found.start(), line[found.end() :]))
    for text in _read_comments(iter(comments)):
        marks = [0, *(found.start() for found in re.finditer(r"^\s*(?:KEYS|ARGV|Returns):", text.text, re.MULTILINE))]
        for begin, end in zip(marks, [*marks[1:], len(text.text)], strict=True):
            piece = text.text[begin:end]
            if not piece.strip():
                continue
            line = text.line + text.text.count("\n", 0, begin)
            for part in re.split("(?<=;)", piece) if _SCRIPT_ARGUMENTS.match(piece.strip()) else [piece]:
                yield Text(line, part)
                line += part.count("\n")


def _read_comments(comments: Iterator[tuple[int, int, str]]) -> Iterator[Text]:
    """Join the comments of lines below each other; each block is read as prose."""
    block: list[tuple[int, str]] = []
    last = (-1, -1)
    for number, column, comment in comments:
        if block and (number, column) != (last[0] + 1, last[1]):
            yield from read_prose(block)
            block = []
        text = _DIRECTIVE.sub(lambda found: " " * len(found[0]), comment)
        block.append((number, text.removeprefix(" ")))
        last = (number, column)
    yield from read_prose(block)


def read_script(source: str) -> Iterator[Text]:
    """Return the comments of a browser's script."""
    comments = []
    for found in re.finditer(r"(?:^|(?<=\s))(?://(?P<line>.*)|/\*+(?P<block>(?s:.*?))\*+/)", source, re.MULTILINE):
        number, column = source.count("\n", 0, found.start()) + 1, found.start() - source.rfind("\n", 0, found.start())
        text = found["line"] if found["block"] is None else found["block"]
        comments += [(number + n, column, re.sub(r"^ *\* ?", " ", line)) for n, line in enumerate(text.split("\n"))]
    yield from _read_comments(iter(comments))


def read_template(source: str) -> Iterator[Text]:
    """Return the comments of a configuration, and those of its template."""
    comments = []
    for number, line in enumerate(source.split("\n"), 1):
        if found := re.match(r"\s*(?:\{#-?|#(?!\w))(.*?)(?:-?#\})?$", line):
            comments.append((number, found.start(1), found[1]))
    yield from _read_comments(iter(comments))


_READERS = {
    ".md": lambda source: read_prose(enumerate(source.split("\n"), 1), is_page=True),
    ".py": read_python,
    ".lua": read_lua,
    ".js": read_script,
    ".j2": read_template,
    ".env": read_template,
}


def find_faults(text: Text) -> Iterator[tuple[int, str]]:
    """Return the line and the description of each fault of a text."""
    prose = _NOT_PROSE.sub(_mask, text.text)
    begin = 0
    ends = [
        found.end() for found in _SENTENCE_END.finditer(prose) if not _ABBREVIATION.search(prose[: found.end() + 2])
    ]
    for end in [*ends, len(prose)]:
        sentence = prose[begin:end]
        line = text.line + text.text.count("\n", 0, begin + len(sentence) - len(sentence.lstrip()))
        words = sum(bool(re.search(r"\w", word)) for word in sentence.split())
        if words > MAX_WORDS:
            yield line, f'sentence has {words} words: "{_shorten(text.text[begin:end])}"'
        if _HEADLESS.match(sentence.lstrip()):
            yield line, f'"Who" without a question: name the actor: "{_shorten(text.text[begin:end])}"'
        begin = end
    if not _ANY_BANNED.search(prose):
        return
    for pattern, advice in _BANNED_WORDS:
        for found in pattern.finditer(prose):
            yield text.line + prose.count("\n", 0, found.start()), f'"{" ".join(found[0].split())}": write {advice}'


def _mask(found: re.Match[str]) -> str:
    """Return one word of the same length, or spaces for a link's target; newlines stay."""
    return re.sub(r"[^\n]", " ", found[0]) if found[0][0] in "(" or found[0][:2] == "</" else "x" * len(found[0])


def _shorten(sentence: str) -> str:
    text = " ".join(sentence.split())
    return text if len(text) <= 90 else f"{text[:89]}\N{HORIZONTAL ELLIPSIS}"


def check(path: Path) -> list[str]:
    """Return the faults of a file, each as ``path:line: description``."""
    faults = {fault for text in _READERS[path.suffix](path.read_text()) for fault in find_faults(text)}
    return [f"{path}:{line}: {description}" for line, description in sorted(faults)]


def find_files(paths: Iterable[str], root: Path = Path()) -> list[Path]:
    """Return the files below the given paths that the check can read; a path may be a pattern."""
    found = []
    for path in (match for pattern in paths for match in sorted(root.glob(pattern))):
        files = [path] if path.is_file() else sorted(path.rglob("*"))
        found += [file for file in files if file.suffix in _READERS and not _SKIPPED & set(file.parts)]
    return list(dict.fromkeys(found))


def main(arguments: list[str]) -> int:
    """Print the faults of the given paths, or of the whole tree; return the exit code."""
    files = list(map(Path, arguments))
    files = (
        find_files(DEFAULT_PATHS)
        if not files
        else [file for path in files for file in ([path] if path.is_file() else find_files(["*"], path))]
    )
    faults = [fault for file in files for fault in check(file)]
    print(*faults, sep="\n", end="\n" if faults else "")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
