"""Reads HTML: the text of a page's content, without its navigation, banners and footers."""

from __future__ import annotations

import re
from typing import Any

import lxml.etree
import lxml.html

from ragline.errors import InvalidRequest
from services.preprocess.parsers import Heading, Parsed, Parts
from services.preprocess.parsers._decoding import decode, has_mark
from services.preprocess.parsers._html_boilerplate import drop_boilerplate, drop_hidden, main_part
from services.preprocess.parsers._html_writer import Writer
from services.preprocess.parsers._lines import check_length, short

Element = Any  # lxml has no types

# Only encodings of text; Python knows others under such names.
_CODECS = rb"(?:iso|windows|cp|x-sjis|shift|euc|gb|big5|koi8|mac|latin|tis|ks_c)[\w.:-]{0,30}"
_CHARSET = re.compile(rb"<meta[^>]{0,200}?charset\s*=\s*[\"']?\s*(%s)" % _CODECS, re.IGNORECASE)
_SEPARATOR = re.compile(r"\s+[|\u2013\u2014\u00b7-]\s+")
# Of a page that holds text, at least this share is content; less means that the wrong parts were left out.
_MIN_SHARE = 0.1


def load(parts: Parts) -> Html:
    """The HTML parser."""
    return Html(parts.max_text_chars)


class Html:
    """Reads any HTML, well formed or not, that nests no deeper than libxml2 allows (2048)."""

    def __init__(self, max_text_chars: int) -> None:
        self._max_text_chars = max_text_chars

    def parse(self, data: bytes, name: str) -> list[Parsed]:
        """One document. Raises InvalidRequest for a page that nests too deeply or has no text."""
        page = _decoded(data).replace("\x00", "")
        check_length(len(page) // 20, self._max_text_chars)  # markup, too, takes memory
        root = _tree(page)
        page_title = _page_title(root)
        language = root.get("lang", "")[:20]
        drop_hidden(root)
        whole = Writer(self._max_text_chars)
        whole.write(root)
        drop_boilerplate(root)
        content = Writer(self._max_text_chars)
        content.write(main_part(root))
        if len(content.text) < _MIN_SHARE * len(whole.text):
            content = whole
        text = content.text
        if not text.strip():
            raise InvalidRequest("There is no text in this HTML: if scripts draw the page, save it as shown.")
        return [
            Parsed(
                text,
                "text/html",
                title=_title(page_title, content.headings),
                headings=tuple(content.headings),
                keep=tuple(content.keep),
                metadata={"language": language} if language else {},
            )
        ]


def _decoded(data: bytes) -> str:
    """The page's characters: by its mark or as UTF-8 if it is that, else by what it declares, else by a guess."""
    declared = _CHARSET.search(data[:4096])
    if declared and not has_mark(data):
        try:
            return data.decode("utf-8")
        except UnicodeDecodeError:
            try:
                return data.decode(declared[1].decode("ascii"), errors="replace")
            except (LookupError, ValueError):
                return decode(data)
    return decode(data)


def _tree(page: str) -> Element:
    parser = lxml.html.HTMLParser(encoding="utf-8", huge_tree=True, remove_comments=True, remove_pis=True)
    try:
        root = lxml.html.document_fromstring(page.encode("utf-8", errors="replace"), parser=parser)
    except (lxml.etree.ParserError, lxml.etree.XMLSyntaxError) as error:
        raise InvalidRequest(f"The HTML cannot be read: {error}.") from None
    limits = [entry for entry in parser.error_log if entry.type_name == "ERR_RESOURCE_LIMIT"]
    if limits:
        raise InvalidRequest(f"The HTML is over a limit of its parser: {limits[0].message}.")
    return root


def _page_title(root: Element) -> str:
    found = root.find(".//title")
    return short("".join(found.itertext())) if found is not None else ""


def _title(page_title: str, headings: list[Heading]) -> str:
    """The page's title without the site's name, which the only level-1 heading of the content tells apart."""
    first = [heading.text.rstrip(" \u00b6#") for heading in headings if heading.level == 1]
    if len(first) == 1 and (not page_title or first[0].casefold() in page_title.casefold()):
        return short(first[0])
    parts = _SEPARATOR.split(page_title)
    return parts[0] if len(parts[0]) > 2 else page_title or next(iter(first), "")
