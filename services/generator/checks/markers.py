"""Takes out of a text what could be taken for a citation's marker, and what only lays a text out."""

from __future__ import annotations

import re

# A character that no text has once it is cleaned stands where a marker was, until what is around it is judged.
_GONE = "\x00"
_OPEN, _CLOSE = r"[\[\u3010\uff3b\u3014\u27e6]", r"[\]\u3011\uff3d\u3015\u27e7]"
_GAP = r"[\s\u200c\u200d]*"
_JOIN = r"(?:[,;&/\u00b7\u2010-\u2015-]|\.{2,3}|\u2026|and|or|to|bis|und|et|through)"
_WHAT = r"(?:(?:source|passage|document|doc|ref|reference|citation|cite|note|see)s?\.?\s*[:#]?\s*)?"
_NUMBER = r"[\^#]?(?:\d|[\u00b2\u00b3\u00b9\u2070-\u2079\u2080-\u2089\u2460-\u2473]){1,6}"
_MARKER = re.compile(
    rf"\s*{_OPEN}{_GAP}{_WHAT}{_NUMBER}(?:{_GAP}{_JOIN}{_GAP}{_WHAT}{_NUMBER})*{_GAP}{_CLOSE}", re.IGNORECASE
)
# Brackets around nothing but markers, and what joined them.
_HOLLOW = re.compile(rf"\s*{_OPEN}(?:\s|{_JOIN})*{_GONE}(?:\s|{_JOIN}|{_GONE})*{_CLOSE}")
_UNSEEN = re.compile("[\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff]")
_NUMBERING = re.compile(r"^\s*(?:[-*•]\s+|\(?\d{1,3}[.)]\s+)")
_LABEL = re.compile(
    r"^(?:(?:the )?(?:correct |best |short )?answer(?: to (?:the|your|this) question)?(?: is)?"
    r"|sentence(?: \d+)?)\s*:\s*",
    re.IGNORECASE,
)
_SOURCE_MARKER = re.compile(r"\[(\s*\d+\s*)\]")
_CODE = re.compile(r"(`[^`]*`)")
_BOLD = re.compile(r"\*\*(?=\S)((?:(?!\*\*).)*?\S)\*\*(?!\w)")
# Half of a pair whose other half stands in another sentence.
_STRAY = re.compile(r"(?:^|(?<=\s))\*\*(?=\w)|(?<=[\w.,:;!?)\"'])\*\*(?=$|[\s.,:;!?)])|^\s*\*\*\s+|\s+\*\*\s*$")
_BULLET = re.compile(r"^\s*[-*•]\s+(?=\S)")


def unmarked(claim: str) -> str:
    """A claim without the markers, numbering and labels that an LLM put there itself, on one line."""
    before, text = "", _UNSEEN.sub("", claim.replace(_GONE, ""))
    while before != text:
        before, text = text, _HOLLOW.sub(_GONE, _MARKER.sub(_GONE, text))
    text = text.replace(_GONE, "")
    if _MARKER.search(text):  # what stood around a marker may have become one
        return unmarked(text)
    return " ".join(_LABEL.sub("", _NUMBERING.sub("", text.strip())).split())


def shown(source: str) -> str:
    """Source text as it stands in an answer: on one line, bare of layout, and nothing looks like a marker."""
    plain = "".join(
        part if part.startswith("`") else _STRAY.sub("", _BOLD.sub(r"\1", part)) for part in _CODE.split(source)
    )
    return _SOURCE_MARKER.sub(r"[ \1 ]", " ".join(_BULLET.sub("", plain).split()))
