"""Questions that stand in the passages themselves: in a list of frequent ones with their answers; in examples."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace

from services.generator.checks.evidence import CLOSING, Sentence, words

# A question of the text, and none of somebody in it or in a line of code.
_OWN = re.compile(r"""[^"\\{}\[\]()<>=|$`\u201c\u201d\u201e\u00ab\u00bb]+""")
# Shorter questions may stand in a sentence that answers them.
LEAST_REPEATED = 4
ASKING = frozenset(("how", "what", "when", "where", "which", "who", "whom", "whose", "why"))


def following(found: Iterable[Sentence]) -> Iterator[Sentence]:
    """The sentences in their order; the first after a question that can be an answer knows where that begins."""
    asked: Sentence | None = None
    for each in found:
        if asked and asked.passage != each.passage:
            asked = None
        if each.asks:
            asked = each if _OWN.fullmatch(each.text) else None
        elif each.text.startswith("#"):
            asked = None
        elif asked and each.answers:
            yield replace(each, question=asked.start)
            asked = None
            continue
        yield each


def repeats(query: str, text: str) -> bool:
    """Whether a text has a question in it, word for word: as an example has it, and no answer."""
    asked = words(query)
    if len(asked) < LEAST_REPEATED or not (query.rstrip(CLOSING).endswith("?") or asked[0] in ASKING):
        return False
    said = words(text)
    return any(said[at : at + len(asked)] == asked for at in range(len(said) - len(asked) + 1))
