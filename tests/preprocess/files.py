"""Makes real PDF and DOCX files for the tests."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence

import docx
from reportlab.lib.pagesizes import A4
from reportlab.lib.pdfencrypt import StandardEncryption
from reportlab.pdfgen.canvas import Canvas

Line = tuple[str, int]  # a line's words and the size they are set in


def pdf(
    pages: Sequence[Sequence[Line]],
    *,
    title: str = "",
    header: str = "",
    numbers: bool = False,
    outline: Sequence[tuple[str, int, int]] = (),
    password: str = "",
) -> bytes:
    """A PDF with the lines of each page; ``outline`` holds (title, level from 0, page from 0)."""
    out = io.BytesIO()
    canvas = Canvas(out, pagesize=A4, encrypt=StandardEncryption(password) if password else None)
    canvas.setTitle(title)
    for number, lines in enumerate(pages):
        y = 800.0
        if header:
            canvas.setFont("Helvetica", 8)
            canvas.drawString(72, y, header)
            y -= 30
        for words, size in lines:
            y -= size * 1.3
            canvas.setFont("Helvetica", size)
            canvas.drawString(72, y, words)
        if numbers:
            canvas.setFont("Helvetica", 8)
            canvas.drawString(300, 30, f"Page {number + 1} of {len(pages)}")
        for words, level, page in outline:
            if page == number:
                canvas.bookmarkPage(words)
                canvas.addOutlineEntry(words, words, level)
        canvas.showPage()
    canvas.save()
    return out.getvalue()


def scanned_pdf() -> bytes:
    """A PDF of two pages with a drawing on each, and no text."""
    out = io.BytesIO()
    canvas = Canvas(out, pagesize=A4)
    for _ in range(2):
        canvas.rect(100, 100, 300, 500, fill=1)
        canvas.showPage()
    canvas.save()
    return out.getvalue()


def handbook_docx() -> bytes:
    """A DOCX with a title, headings, lists, a table, a link and a line break."""
    document = docx.Document()
    document.add_heading("The Handbook", 0)
    document.add_heading("Leave", 1)
    document.add_paragraph("You get 25 days.  Two\u00a0more after a year.")
    document.add_paragraph("Ask early", style="List Bullet")
    document.add_paragraph("Ask in writing", style="List Number")
    document.add_heading("Sick leave", 2)
    table = document.add_table(2, 2)
    for row, cells in enumerate([("Illness", "Days"), ("Flu\nor cold", "3")]):
        for column, words in enumerate(cells):
            table.cell(row, column).text = words
    paragraph = document.add_paragraph("After the ")
    paragraph.add_run("table").bold = True
    paragraph.add_run().add_break()
    paragraph.add_run("a new line.")
    return saved(document)


def saved(document: docx.document.Document) -> bytes:
    """The bytes of a DOCX."""
    out = io.BytesIO()
    document.save(out)
    return out.getvalue()


def archive(entries: dict[str, bytes]) -> bytes:
    """A zip archive."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as made:
        for name, content in entries.items():
            made.writestr(name, content)
    return out.getvalue()
