"""Finds texts that give a model orders, and breaks what poses as part of a prompt.

Heuristics: they find what is known, in the words that are known. What an answer may say is held by the checking of
its sentences, not by this.
"""

from __future__ import annotations

import base64
import binascii
import codecs
import re
from collections.abc import Iterator, Sequence

from services.generator.guards import STAGES, Match, Parts, Stage
from services.generator.guards._folding import Folded, closed, fold, latin, unleet
from services.generator.guards._orders import ORDERS, Sign, read, spaced

# The words with which chat templates mark who speaks: llama.cpp reads them as such wherever they stand.
_TOKENS = re.compile(
    r"<\|[^|<>\n]{1,40}\|>|<\uff5c[^<>\n]{1,40}\uff5c>|\[/?INST\]|<</?SYS>>|</?s>(?=\s*(?:\[|<|$))"
    r"|<(?:start|end)_of_turn>|<(?:bos|eos|pad|unk)>|\[(?:BOS|EOS|AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS|SYSTEM_PROMPT)\]"
    r"|</?(?:system|assistant|user|instructions?|passages?|context|documents?|question|query)(?: [^<>\n]{0,60})?>"
    r"|^#{2,4}\s*(?:system|instructions?|human|assistant|user|response)\s*:",
    re.IGNORECASE | re.MULTILINE,
)
# What such words say is said by somebody who wants to be taken for the one that they name.
_SPOKEN = re.compile(
    r"(?:<\|(?:im_start|start_header_id|system|user|assistant)\|>|\[INST\]|<<SYS>>|<start_of_turn>"
    r"|^#{2,4}\s*(?:system|instructions?)\s*:).{0,500}?"
    r"(?:<\|(?:im_end|eot_id|end)\|>|\[/INST\]|<</SYS>>|<end_of_turn>|\n\n|\Z)",
    re.IGNORECASE | re.MULTILINE | re.DOTALL,
)
_BROKEN = str.maketrans("<>|[]#\uff5c", "\u2039\u203a\u00a6()\u266f\u00a6")
# Flags of three countries are written with tag letters; nothing else that people write is.
_FLAGS = "(?<![\U0001f3f4\U000e0000-\U000e007f])"
_HIDDEN = re.compile(
    f"(?:[\u200b\u202a-\u202e\u2060-\u2064\u2066-\u206f\ufeff\ufff9-\ufffb\x00-\x08\x0e-\x1f\x7f]"
    f"|{_FLAGS}[\U000e0000-\U000e007f]+"
    f"|\U0001f3f4[\U000e0020-\U000e007e]{{7,}}\U000e007f?"
    f"|[\ufe00-\ufe0f\U000e0100-\U000e01ef]{{2,}}"
    f"|(?<=[\x21-\x7e])[\u200c\u200d]+|[\u200c\u200d]{{2,}})+"
)
_BLOB = re.compile(r"(?<![\w+/=-])[A-Za-z0-9+/_-]{20,}={0,2}(?![\w+/=-])")
_HEX = re.compile(r"(?<![0-9a-fA-F])(?:[0-9a-fA-F]{2}[ :]?){16,}(?![0-9a-fA-F])")
_IMAGE = re.compile(
    r"!\[[^\]\n]{0,200}\]\(\s*<?(?:https?:)?//[^)\s]{1,2000}[^)\n]{0,200}\)|<img\b[^<>]{0,500}>", re.IGNORECASE
)
_CARRIES = re.compile(
    r"\[[^\]\n]{0,200}\]\(\s*<?https?://[^)\s]{1,500}(?:[?&/#]\w*=?(?:\{|%7b|\[|<|\$)|[?&](?:data|q|d|secret|leak|text|content|msg|context|key|exfil)=)[^)\n]{0,500}\)",
    re.IGNORECASE,
)
_SENTENCE = re.compile(
    r"[^.!?\n\u3002\uff01\uff1f\u061f]+(?:[.!?\u3002\uff01\uff1f\u061f]+(?=[\s\"')\]\u201d\u00bb]|$|[^\x00-\x7f])|[.!?]+|\n|$)[\"')\]\u201d\u00bb]*"
)
_WORDS = re.compile(r"[a-z]{2,}")
REMOVED = ""


def load(parts: Parts) -> Injection:
    """It has no options."""
    return Injection(read())


class Injection:
    """What poses as part of a prompt, and what is not to be seen, is broken by any policy."""

    stages: tuple[Stage, ...] = STAGES
    reach = 0

    def __init__(self, signs: Sequence[Sign]) -> None:
        self.signs = signs
        self.strong = [sign for sign in signs if sign.strong]

    def find(self, text: str, stage: Stage) -> list[Match]:
        """Sentences that order, broken tokens, hidden letters, and links that carry data out."""
        found = [*broken(text)]
        if stage == "answer":
            return [*found, *carriers(text, stage)]
        found += carriers(text, stage)
        found += [Match(*match.span(), "order in a template", REMOVED) for match in _SPOKEN.finditer(text)]
        folded = fold(text)
        found += orders(text, folded, self.signs)
        if stage == "question":
            found += disguised(text, folded, self.strong)
        return found + list(encoded(text))


def broken(text: str) -> Iterator[Match]:
    """Tokens of chat templates, with look-alikes for their brackets, and letters that cannot be seen."""
    for match in _TOKENS.finditer(text):
        yield Match(*match.span(), "model token", match.group().translate(_BROKEN), always=True, verbatim=True)
    if not text.isascii() or not text.isprintable():
        for match in _HIDDEN.finditer(text):
            yield Match(*match.span(), "hidden text", REMOVED, always=True, verbatim=True)


def carriers(text: str, stage: Stage) -> Iterator[Match]:
    """Images, which are fetched as soon as they are shown, and links with a place for data."""
    if "](" not in text and "<" not in text:
        return
    for match in _IMAGE.finditer(text):
        if stage == "answer" or "?" in match.group() or "{" in match.group():
            yield Match(*match.span(), "image elsewhere", "[image]", always=stage == "answer")
    for match in _CARRIES.finditer(text):
        yield Match(*match.span(), "link that carries data", "[link]", always=stage == "answer")


def orders(text: str, folded: Folded, signs: Sequence[Sign]) -> list[Match]:
    """The sentences that order a model."""
    plain = latin(folded)
    views = [(view, spaced(view.text)) for view in ([plain] if plain is folded else [plain, folded])]
    spans: list[tuple[int, int]] = []
    weights: dict[tuple[int, int], float] = {}
    kinds: dict[tuple[int, int], str] = {}
    for sign in signs:
        places = {view.source(*at.span()) for view, hay in views for at in sign.places(view.text, hay)}
        if places and not spans:
            spans = [match.span() for match in _SENTENCE.finditer(text) if match.group().strip()]
        for span in {each for each in spans for start, end in places if each[0] < end and start < each[1]}:
            weights[span] = weights.get(span, 0.0) + sign.weight
            kinds.setdefault(span, sign.kind)
    return [Match(*span, kinds[span], REMOVED) for span, weight in weights.items() if weight >= ORDERS]


def disguised(text: str, folded: Folded, strong: Sequence[Sign]) -> list[Match]:
    """Orders in digits for letters, spaced out, backwards or turned by thirteen places; the text as a whole."""
    plain = latin(folded).text
    if ordering(plain, strong):
        return []
    views = (unleet(plain), closed(plain), plain[::-1], codecs.encode(plain, "rot13"))
    if any(ordering(view, strong) for view in views if view != plain):
        return [Match(0, len(text), "disguised order", REMOVED)]
    return []


def ordering(text: str, strong: Sequence[Sign]) -> bool:
    """Whether one of the signs is in a folded text."""
    haystack = spaced(text)
    return any(True for sign in strong for _ in sign.places(text, haystack))


def encoded(text: str) -> Iterator[Match]:
    """Runs that decode to words: what is meant for people needs no decoding."""
    for match in _BLOB.finditer(text):
        if reads(decoded(match.group())):
            yield Match(*match.span(), "encoded text", REMOVED)
    for match in _HEX.finditer(text):
        if reads(bytes.fromhex(re.sub("[ :]", "", match.group()))):
            yield Match(*match.span(), "encoded text", REMOVED)


def decoded(blob: str) -> bytes:
    """What a blob holds as base64, nothing if it is none."""
    bare = blob.rstrip("=").translate(str.maketrans("-_", "+/"))
    try:
        return base64.b64decode(bare + "=" * (-len(bare) % 4), validate=True)
    except (binascii.Error, ValueError):
        return b""


def reads(held: bytes) -> bool:
    """Whether bytes are words: printable, and three or more of them."""
    try:
        said = held.decode()
    except UnicodeDecodeError:
        return False
    return len(said) >= 12 and said.isprintable() and len(_WORDS.findall(said.lower())) >= 3 and " " in said
