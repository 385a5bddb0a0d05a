"""Reads Markdown: the source text is the file itself; headings, front matter, code and tables are found in it."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.token import Token

from services.preprocess.parsers import Heading, Parsed, Parts, Span
from services.preprocess.parsers._decoding import decode
from services.preprocess.parsers._lines import short

MAX_HEADING_CHARS = 300
MAX_FRONT_MATTER_CHARS = 20_000

_LINE_END = re.compile(r"\r\n?|\n")
_FRONT_MATTER = re.compile(
    r"\s*---[ \t]*\r?\n(?=[\w-]+[ \t]*:)(.*?)\r?\n(?:---|\.\.\.)[ \t]*(?:\r?\n|\Z)", re.DOTALL
)
_FIELD = re.compile(r"^([\w-]+)[ \t]*:[ \t]*(.*?)[ \t\r]*$", re.MULTILINE)
_TABLE = re.compile(r"(?:^[ \t]*\|[^\n]*(?:\n|\Z))+", re.MULTILINE)
_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
_MARKUP = (
    (re.compile(r"!?\[([^\]]*)\](?:\([^)]*\)|\[[^\]]*\])"), r"\1"),  # links and images
    (re.compile(r"\s*\{#[\w-]+\}\s*\Z"), ""),
    (re.compile(r"</?[a-zA-Z][^<>]*>"), ""),
    (re.compile(r"(`+)(.+?)\1"), r"\2"),
    (re.compile(r"(\*\*|__|\*|(?<!\w)_)(?=\S)(.+?)(?<=\S)\1(?!\w)"), r"\2"),
    (re.compile(r"\\([^\w\s])"), r"\1"),
)
_NO_HEADING = re.compile(r"[-*+|]\s|\d+[.)]\s|.*\|")  # a list or a table above a line of dashes


def load(parts: Parts) -> Markdown:
    """The Markdown parser."""
    return Markdown()


class Markdown:
    """Reads CommonMark. Only the block structure is looked at, which takes little time on any input."""

    def parse(self, data: bytes, name: str) -> list[Parsed]:
        """One document; ``text`` is the decoded file, letter by letter."""
        return [read_markdown(decode(data))]


def read_markdown(text: str) -> Parsed:
    """The document that a Markdown text is. Its title is the front matter's, or else its first level-1 heading."""
    front, metadata = _front_matter(text)
    headings, keep, comments = _blocks(text, front)
    keep += [match.span() for match in _TABLE.finditer(text)]
    title = str(metadata.pop("title", "")) or next((found.text for found in headings if found.level == 1), "")
    skip = ([(0, front)] if front else []) + comments
    return Parsed(
        text,
        "text/markdown",
        title=short(title),
        headings=tuple(headings),
        skip=tuple(skip),
        keep=tuple(keep),
        metadata=metadata,
    )


def _front_matter(text: str) -> tuple[int, dict[str, Any]]:
    """Where the front matter ends (0: there is none), and its plain fields."""
    match = _FRONT_MATTER.match(text, 0, MAX_FRONT_MATTER_CHARS)
    if not match:
        return 0, {}
    fields = {key: value.strip("\"'") for key, value in _FIELD.findall(match[1])}
    return match.end(), {key: value for key, value in fields.items() if value and value[0] not in "[{|>&*!"}


def _blocks(text: str, start: int) -> tuple[list[Heading], list[Span], list[Span]]:
    """Headings, the spans of code, and those of comments."""
    lines = [start, *(match.end() for match in _LINE_END.finditer(text, start)), len(text)]
    headings: list[Heading] = []
    keep: list[Span] = []
    comments: list[Span] = []
    tokens = _block_parser().parse(text[start:])
    for token, after in zip(tokens, [*tokens[1:], None], strict=True):
        if token.map is None:
            continue
        first, last = (lines[min(line, len(lines) - 1)] for line in token.map)
        if token.type == "heading_open" and after is not None:
            headings += _heading(token, after, first)
        elif token.type in {"fence", "code_block"}:
            keep.append((first, last))
        elif token.type == "html_block":
            comments += [match.span() for match in _COMMENT.finditer(text, first, last)]
    return headings, keep, comments


def _heading(token: Token, content: Token, start: int) -> list[Heading]:
    words = content.content
    setext = token.markup in {"=", "-"}
    if (
        not words.strip()
        or len(words) > MAX_HEADING_CHARS
        or (setext and ("\n" in words or _NO_HEADING.match(words)))
    ):
        return []
    for pattern, plain in _MARKUP:
        words = pattern.sub(plain, words)
    return [Heading(start, int(token.tag[1]), " ".join(words.split()))]


@lru_cache(maxsize=1)
def _block_parser() -> MarkdownIt:
    """A parser of blocks alone. Lists, quotations and tables are left out: nothing in them is a section."""
    parser = MarkdownIt("commonmark", {"maxNesting": 8})
    parser.core.ruler.disable(["inline", "text_join"])
    parser.block.ruler.disable(["list", "blockquote", "reference"])
    return parser
