"""Tells which format a file is in by what it holds; its name and media type only decide between kinds of text."""

from __future__ import annotations

import csv
import io
import re
import struct
import zipfile
from pathlib import PurePath

import orjson
import puremagic

from ragline.errors import InvalidRequest, Unsupported
from services.preprocess.parsers._decoding import decode, has_mark, wide_encoding

READ = "Markdown, text, HTML, PDF, DOCX, JSONL and CSV"
HEAD = 65_536  # bytes of a text that are looked at
MAX_CONTROLS = 0.05  # share of control characters beyond which a file is no text

_CONTROLS = bytes(set(range(32)) - set(b"\t\n\r\f\x1b")) + b"\x7f"
_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_MAGIC = (
    (b"\x7fELF", "an ELF program"),
    (b"MZ", "a Windows program"),
    (b"\xca\xfe\xba\xbe", "a Java class or a macOS program"),
    (b"\x89PNG\r\n", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"GIF8", "a GIF image"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (b"Rar!\x1a\x07", "a RAR archive"),
    (b"BZh", "a bzip2 archive"),
    (b"\xfd7zXZ\x00", "an xz archive"),
    (b"\x28\xb5\x2f\xfd", "a Zstandard archive"),
    (b"SQLite format 3\x00", "an SQLite database"),
    (b"{\\rtf", "an RTF document"),
    (b"%!PS", "a PostScript document"),
    (b"OggS", "an Ogg file"),
    (b"ID3", "an MP3 file"),
    (b"\x00asm", "a WebAssembly module"),
)
_ZIP_KINDS = (
    ("xl/", "an Excel workbook"),
    ("ppt/", "a PowerPoint presentation"),
    ("META-INF/container.xml", "an EPUB book"),
    ("content.xml", "an OpenDocument file"),
)
_HTML = re.compile(
    r"\s*(?:<\?xml[^>]*>\s*)?(?:<!--.*?-->\s*)*"
    r"(?:<!doctype\s+html|<(?:html|head|body|title|meta)\b|<(?:div|p|h[1-6]|article|section|main|table|ul|ol|span|a)\b[^<>]*>)",
    re.IGNORECASE | re.DOTALL,
)
_CLOSING = re.compile(r"</(?:div|p|h[1-6]|article|section|main|table|ul|ol|span|a|body|html)\s*>", re.IGNORECASE)
_DECLARED = re.compile(
    r"\s*(?:<\?xml[^>]*>\s*)?(?:<!--.*?-->\s*)*<(?:!doctype\s+html|html)\b", re.IGNORECASE | re.DOTALL
)
_MARKDOWN = (
    re.compile(r"^#{1,6} \S[^\n]*\n\s*\n", re.MULTILINE),
    re.compile(r"\A\s*#{1,3} \S"),
    re.compile(r"^(?:```|~~~)", re.MULTILINE),
    re.compile(r"\[[^\]\n]{1,80}\]\((?:https?:|#|\.{0,2}/|[\w-]+\.)[^)\s]*\)"),
    re.compile(r"^\|(?:[ \t]*:?-{3,}:?[ \t]*\|)+[ \t]*$", re.MULTILINE),
    re.compile(r"\A---\r?\n[\w-]+:"),
    re.compile(r"^[^\n]{3,80}\n(?:={4,}|-{4,})[ \t]*$", re.MULTILINE),
    re.compile(r"\*\*\w[^*\n]{0,80}\*\*"),
)
_NAMES = {
    "md": "markdown", "markdown": "markdown", "mdx": "markdown", "txt": "text", "html": "html", "htm": "html",
    "xhtml": "html", "jsonl": "jsonl", "ndjson": "jsonl", "csv": "csv", "tsv": "csv",
}  # fmt: skip
_MEDIA_TYPES = {
    "text/markdown": "markdown", "text/html": "html", "application/xhtml+xml": "html", "text/csv": "csv",
    "text/tab-separated-values": "csv", "application/jsonl": "jsonl", "application/x-ndjson": "jsonl",
    "application/x-jsonlines": "jsonl",
}  # fmt: skip
_CODE = {
    "c", "cc", "cfg", "conf", "cpp", "css", "go", "h", "hpp", "ini", "java", "js", "json", "kt", "lock", "log",
    "php", "py", "r", "rb", "rs", "scala", "sh", "sql", "swift", "toml", "ts", "tsx", "xml", "yaml", "yml",
}  # fmt: skip


def sniff(data: bytes, name: str = "", media_type: str | None = None) -> str:
    """The parser's name for ``data``.

    Raises InvalidRequest for nothing at all, Unsupported for what none of the parsers reads, saying what it is.
    """
    if not data.strip(b"\x00 \t\r\n\f\v\xef\xbb\xbf\xff\xfe"):
        raise InvalidRequest("There is no text: the document is empty.")
    if b"%PDF-" in data[:1024]:
        return "pdf"
    if data.startswith(b"PK\x03\x04"):
        return _zip_kind(data)
    if data.startswith(_OLE):
        return _ole_kind(data)
    _refuse_binary(data)
    return text_kind(decode(data[:HEAD]), name, media_type, len(data) <= HEAD)


def text_kind(head: str, name: str, media_type: str | None, whole: bool) -> str:
    """Which kind of text it is; ``head`` is its begin, or, with ``whole``, all of it."""
    suffix = PurePath(name).suffix.lower().lstrip(".")
    stated = _MEDIA_TYPES.get((media_type or "").partition(";")[0].strip().lower()) or _NAMES.get(suffix)
    if _DECLARED.match(head) or (_HTML.match(head) and (stated == "html" or len(_CLOSING.findall(head)) >= 2)):
        return "html" if stated != "markdown" or _DECLARED.match(head) else "markdown"
    if _is_jsonl(head, stated == "jsonl", whole):
        return "jsonl"
    if stated in {"csv", None} and suffix not in _CODE and _is_csv(head, stated == "csv"):
        return "csv"
    if stated == "markdown" or (suffix not in _CODE and looks_like_markdown(head)):
        return "markdown"
    return "text"


def looks_like_markdown(text: str) -> bool:
    """Whether a text bears at least two signs of Markdown."""
    head = text[:HEAD]
    return sum(pattern.search(head) is not None for pattern in _MARKDOWN) >= 2


def _zip_kind(data: bytes) -> str:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            names = archive.namelist()[:10_000]
    except (zipfile.BadZipFile, ValueError, NotImplementedError, OSError, struct.error):
        if b"word/" in data:
            return "docx"  # whose parser says what is broken
        raise Unsupported(f"This looks like a broken zip archive; what is read here: {READ}.") from None
    if any(name.startswith("word/") for name in names):
        return "docx"
    for sign, what in _ZIP_KINDS:
        if any(name.startswith(sign) for name in names):
            raise Unsupported(f"This looks like {what}; what is read here: {READ}.")
    raise Unsupported(
        f"This looks like a zip archive: send the files in it one by one; what is read here: {READ}."
    )


def _ole_kind(data: bytes) -> str:
    if "EncryptedPackage".encode("utf-16-le") in data:
        raise InvalidRequest("The document is locked with a password: save it without one and send it again.")
    raise Unsupported(f"This looks like an old Office document (.doc, .xls, .ppt); what is read here: {READ}.")


def _refuse_binary(data: bytes) -> None:
    for magic, what in _MAGIC:
        if data.startswith(magic) and (b"\x00" in data[:4096] or magic[0] in b"{%"):
            raise Unsupported(f"This looks like {what}; what is read here: {READ}.")
    if has_mark(data) or wide_encoding(data):
        return
    head = data[:HEAD]
    if len(head) - len(head.translate(None, _CONTROLS)) > MAX_CONTROLS * len(head):
        raise Unsupported(f"This looks like {_binary_name(head)}, not text; what is read here: {READ}.")


def _binary_name(head: bytes) -> str:
    try:
        found = puremagic.magic_string(head)
    except (puremagic.PureError, ValueError):
        return "binary data"
    return f"binary data ({found[0].name})" if found and found[0].name else "binary data"


def _is_jsonl(head: str, stated: bool, whole: bool) -> bool:
    """Objects, one a line, or an array of them, of which most have a text."""
    start = head.lstrip()[:1]
    if start == "[":
        return '"text"' in head and re.match(r"\s*\[\s*\{", head) is not None
    lines = [line for line in head.splitlines() if line.strip()][:20]
    if not whole and len(lines) > 1:
        lines = lines[:-1]  # may be cut off
    found = [_parsed(line) for line in lines]
    objects = [value for value in found if isinstance(value, dict)]
    if len(objects) * 2 > len(lines) or (stated and objects):
        return stated or any("text" in value for value in objects)
    if start == "{" and whole:
        value = _parsed(head)
        return isinstance(value, dict) and "text" in value
    return bool(stated and start == "{")


def _parsed(line: str) -> object:
    try:
        return orjson.loads(line)
    except (orjson.JSONDecodeError, UnicodeEncodeError):
        return None


def _is_csv(head: str, stated: bool) -> bool:
    found = dialect(head)
    if found is None:
        return False
    if stated:
        return True
    rows = _rows(head, found)
    header = [cell.strip() for cell in rows[0]]
    plain = all(0 < len(cell) <= 40 and not cell.endswith((".", "!", "?")) for cell in header)
    return len(rows) >= 3 and plain and len(set(header)) == len(header) and len({len(row) for row in rows}) == 1


def dialect(head: str) -> str | None:
    """The delimiter with which the first rows have the same number of cells, more than one; None without such."""
    best: tuple[float, str] | None = None
    for delimiter in ",\t;|":
        rows = _rows(head, delimiter)
        widths = [len(row) for row in rows]
        if not widths or widths[0] < 2:
            continue
        agreed = sum(width == widths[0] for width in widths) / len(widths)
        if agreed >= 0.6 and (best is None or (agreed * widths[0], delimiter) > best):
            best = (agreed * widths[0], delimiter)
    return best[1] if best else None


def _rows(head: str, delimiter: str) -> list[list[str]]:
    """The first rows, less the last, which may be cut off, if there are several."""
    rows: list[list[str]] = []
    try:
        for row in csv.reader(io.StringIO(head.lstrip(), newline=""), delimiter=delimiter):
            if row:
                rows.append(row)
            if len(rows) == 20:
                return rows
    except csv.Error:
        return rows
    return rows[:-1] if len(rows) > 3 and len(head) >= HEAD // 2 else rows
