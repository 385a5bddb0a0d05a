"""Makes real files of the kinds that people send, whole ones and broken ones."""

import io
import zipfile
from collections.abc import Sequence

import docx

LOCK = b"<< /Filter /Standard /V 1 /R 2 /O <%s> /U <%s> /P -4 >>" % (b"0f" * 32, b"f0" * 32)


def pdf(*pages: str, locked: bool = False) -> bytes:
    """A PDF with one line of text a page. A locked one has the hashes of a password that nobody knows."""
    first = 4
    kids = b" ".join(b"%d 0 R" % (first + 2 * n) for n in range(len(pages)))
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [%s] /Count %d >>" % (kids, len(pages)),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    for n, text in enumerate(pages):
        drawn = b"BT /F1 12 Tf 72 720 Td (%s) Tj ET" % text.encode("latin-1")
        objects.append(
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents %d 0 R"
            b" /Resources << /Font << /F1 3 0 R >> >> >>" % (first + 2 * n + 1)
        )
        objects.append(b"<< /Length %d >>\nstream\n%s\nendstream" % (len(drawn), drawn))
    return assembled([*objects, LOCK] if locked else objects, locked=locked)


def assembled(objects: Sequence[bytes], *, locked: bool) -> bytes:
    """The objects with the cross-reference table that a PDF ends with."""
    out = io.BytesIO()
    out.write(b"%PDF-1.4\n")
    places = []
    for number, body in enumerate(objects, 1):
        places.append(out.tell())
        out.write(b"%d 0 obj\n%s\nendobj\n" % (number, body))
    table = out.tell()
    out.write(b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1))
    out.writelines(b"%010d 00000 n \n" % place for place in places)
    lock = b" /Encrypt %d 0 R /ID [<00> <00>]" % len(objects) if locked else b""
    out.write(b"trailer\n<< /Size %d /Root 1 0 R%s >>\n" % (len(objects) + 1, lock))
    out.write(b"startxref\n%d\n%%%%EOF\n" % table)
    return out.getvalue()


def word(*paragraphs: str) -> bytes:
    """A DOCX."""
    document = docx.Document()
    for paragraph in paragraphs:
        document.add_paragraph(paragraph)
    out = io.BytesIO()
    document.save(out)
    return out.getvalue()


def word_bomb(unpacked_mb: int = 600) -> bytes:
    """A DOCX of less than a megabyte whose text unpacks to ``unpacked_mb``."""
    out = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(word("Hello."))) as source,
        zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as bomb,
    ):
        for entry in source.infolist():
            if entry.filename != "word/document.xml":
                bomb.writestr(entry, source.read(entry))
        with bomb.open("word/document.xml", "w") as text:
            text.write(b"<w:document><w:body><w:p><w:r><w:t>")
            for _ in range(unpacked_mb):
                text.write(b" " * (1 << 20))
    return out.getvalue()


def html_bomb(depth: int = 200_000) -> bytes:
    """A page whose elements are nested far deeper than any reader's stack."""
    return b"<!DOCTYPE html><title>Deep</title><body>" + b"<div>" * depth + b"bottom"


def program() -> bytes:
    """The begin of a Linux program: bytes that are no text in any encoding."""
    return b"\x7fELF\x02\x01\x01" + bytes(range(256)) * 64


def picture() -> bytes:
    """A PNG of one pixel."""
    header = (
        b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00\x01\x00\x00\x00\x01\x08\x06\x00\x00\x00\x1f\x15\xc4\x89"
    )
    return header + b"\x00\x00\x00\nIDATx\x9cc\x00\x01\x00\x00\x05\x00\x01\r\n-\xb4\x00\x00\x00\x00IEND\xaeB`\x82"
