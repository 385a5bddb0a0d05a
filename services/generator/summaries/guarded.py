"""Shows texts of any length to the guards before they are summarised."""

from __future__ import annotations

import asyncio
import re
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import replace

from ragline.sentences import window_end
from ragline.v1.passage_pb2 import Passage
from ragline.v1.retriever_pb2 import Hit
from services.generator.events import Finding
from services.generator.guarding import Chain, Watch, added, refusal
from services.generator.guards import Match, Stage
from services.generator.guards._masking import masked, merged, rewritten
from services.generator.summaries.source import Source

# Guards see so many characters at once, because the time of some grows with the square of them.
WINDOW = 8000
# What may be cut in two by a window's end is seen again with the next one, at least so much of it.
OVERLAP = 1000
_PARAGRAPH = re.compile(r"\n[^\S\n]*\n\s*")


async def shown(chain: Chain, found: Sequence[Source]) -> tuple[list[Source], tuple[Finding, ...]]:
    """The texts as they may be shown to an LLM, and quoted; raises Refused for one that came with the request."""
    kept: list[Source] = []
    findings: tuple[Finding, ...] = ()
    for each in found:
        source, told = await asyncio.to_thread(looked_at, chain, each)
        kept.append(source)
        findings += told
    return kept, added(findings)


def looked_at(chain: Chain, source: Source) -> tuple[Source, tuple[Finding, ...]]:
    """A text with its finds masked; of a document, the paragraphs that a guard refuses are left out."""
    head = chain.look(source.title, "passages")
    text = source.text
    finds = {each.name: finds_in(each, text, "passages") for each in chain.watches if "passages" in each.policies}
    body = chain.look(text, "passages", lambda watch: finds[watch.name])
    refused = [match for each in chain.watches if refuses(each) for match in finds[each.name]]
    if head.refused:
        refused = [Match(0, len(text), "", "")]
    masks = merged([*body.masks, *paragraphs(text, refused)])
    hit = rewritten(Hit(passage=Passage(text=text, end=len(text))), masks, unquoted(chain, text)).passage
    if not source.id and (body.refused or (text.strip() and not hit.text.strip())):
        raise refusal(body, "text")
    title = "" if head.refused else masked(source.title, head.masks)
    runs = tuple(zip(hit.offsets[::2], hit.offsets[1::2], strict=True))
    return Source(source.id, title, hit.text, hit.source, runs), (*head.findings, *body.findings)


def refuses(watch: Watch) -> bool:
    """Whether a guard leaves out what it finds."""
    return watch.policies.get("passages") == "refuse"


def unquoted(chain: Chain, text: str) -> list[Match]:
    """What an answer may not say and an LLM may see: a quotation hides it."""
    return merged(
        match
        for watch in chain.watches
        if watch.policies.get("answer") == "mask" and watch.policies.get("passages") != "mask"
        for match in finds_in(watch, text, "answer")
    )


def finds_in(watch: Watch, text: str, stage: Stage) -> list[Match]:
    """What a guard finds, window by window, each with what stands before it as far as the guard reaches."""
    result: dict[tuple[int, str], Match] = {}
    at = 0
    while at < len(text):
        end = window_end(text, at, WINDOW)
        first = max(0, at - min(WINDOW, max(OVERLAP, watch.guard.reach)))
        # Not through the guard's memory of passages: long texts would fill it.
        for match in watch.guard.find(text[first:end], stage):
            if first + match.end > at:
                placed = replace(match, start=first + match.start, end=first + match.end)
                known = result.get((placed.start, placed.kind), placed)
                result[placed.start, placed.kind] = max(known, placed, key=lambda each: each.end)
        at = end
    return list(result.values())


def paragraphs(text: str, found: Sequence[Match]) -> list[Match]:
    """The whole paragraphs in which the finds are, to be left out."""
    if not found:
        return []
    breaks = list(_PARAGRAPH.finditer(text))
    begins = [0, *(each.end() for each in breaks)]
    ends = [*(each.start() for each in breaks), len(text)]
    first = (bisect_right(begins, each.start) - 1 for each in found)
    last = (bisect_right(begins, max(each.start, each.end - 1)) - 1 for each in found)
    spans = dict.fromkeys(
        (begins[a], max(ends[b], each.end)) for a, b, each in zip(first, last, found, strict=True)
    )
    return [Match(start, end, "", "") for start, end in spans]
