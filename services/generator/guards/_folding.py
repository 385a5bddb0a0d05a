"""Folds a text so that look-alikes, marks and invisible letters hide no words, and keeps the way back."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

# Letters of other scripts that look like Latin ones (the confusables of Unicode Technical Standard 39 that
# are used for it), folded to lower case.
_PAIRS = (
    "аaвbсcԁdеeнhіiїiјjкkӏlмmоoрpтtѕsүyуyхxԝwгr"  # Cyrillic
    "αaβbεeηnιiκkνvοoρpτtυuχxγyϲcµu"  # Greek
    "ɑaɡgɩiıiɪiʀrꜱsʏyᴀaᴄcᴅdᴇeᴊjᴋkᴍmᴏoᴘpᴛtᴜuᴠvᴡwᴢzʙbɢgʜhʟlɴnꞵb"
)
_LOOKS_LIKE = str.maketrans({_PAIRS[at]: _PAIRS[at + 1] for at in range(0, len(_PAIRS), 2)})
# Nothing is to be seen of these. Joiners have a meaning in emoji and in many scripts, so only folding drops them.
_ODD = (
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164"
    "\ufe00-\ufe0f\ufeff\uffa0"
)
_UNSEEN = re.compile(f"[{_ODD}\U000e0000-\U000e0fff]")
_SPACED = re.compile(r"(?<![^\W_])(?:[^\W\d_][ .\-_*]{1,3}){4,}[^\W\d_](?![^\W_])")
_PARTED = re.compile(r"[ .\-_*]+")
_LEET = str.maketrans("0134578@$!|", "oieastbasil")


@dataclass(frozen=True)
class Folded:
    """``text[i]`` came from ``places[i]``; ``places`` None: each from its own place."""

    text: str
    places: list[int] | None

    def source(self, start: int, end: int) -> tuple[int, int]:
        """The span that ``text[start:end]`` came from."""
        if self.places is None:
            return start, end
        return self.places[start], self.places[end - 1] + 1


def fold(text: str) -> Folded:
    """Lower case, compatibility forms resolved, nothing unseen; in the script that it is in."""
    if text.isascii():
        return Folded(text.lower(), None)
    letters: list[str] = []
    places: list[int] = []
    for at, letter in enumerate(text):
        if letter > "\x7f" and _UNSEEN.match(letter):
            continue
        plain = letter.lower() if letter <= "\x7f" else unicodedata.normalize("NFKC", letter).casefold()
        letters.append(plain)
        places.extend([at] * len(plain))
    return Folded("".join(letters), places)


def latin(folded: Folded) -> Folded:
    """A folded text without marks on its letters, and with Latin letters for those that look like such."""
    if folded.text.isascii():
        return folded
    letters: list[str] = []
    places: list[int] = []
    for at, letter in enumerate(folded.text.translate(_LOOKS_LIKE)):
        plain = letter
        if letter > "\x7f":
            plain = "".join(
                each for each in unicodedata.normalize("NFKD", letter) if not unicodedata.combining(each)
            )
        letters.append(plain)
        places.extend([folded.places[at] if folded.places else at] * len(plain))
    return Folded("".join(letters), places)


def unleet(text: str) -> str:
    """Letters for the digits and signs that stand for them."""
    return text.translate(_LEET)


def closed(text: str) -> str:
    """Words for letters that were spaced out, ``i g n o r e``; two spaces or more part two words."""
    return _SPACED.sub(lambda match: _PARTED.sub(lambda gap: " " * (len(gap.group()) > 1), match.group()), text)
