"""Packs passages and turns into a token budget: what matters most, whole sentences, nothing twice.

Passages that follow or overlap each other in their document become one, in its order; one that says nothing new is
left out. Where not all fit, the sentences that answer best stay, each with its neighbours while there is room.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from ragline.sentences import sentences
from ragline.spans import to_source
from ragline.v1.passage_pb2 import Passage
from services.generator.checks.evidence import Sentence, heading, words
from services.generator.prompt import Said
from services.generator.prompts._files import Order
from services.generator.prompts.values import Shown

Size = Callable[[str], int]

# What a passage costs beside its text: its fence, its number, line ends.
FENCE_TOKENS = 16
# What is between two sentences, and the mark for what was left out.
MARK_TOKENS = 2
TURN_TOKENS = 12
# A passage says nothing new where this share of its runs of words stood in better ones.
REPEATED = 0.9
RUN = 5
# Passages with no more than so many characters between them, which cleaning took out, follow each other.
GAP_CHARS = 4
HEADING_CHARS = 200
LEFT_OUT = " \u2026 "


@dataclass(frozen=True)
class Unit:
    """A sentence of a passage; ``begin`` and ``stop`` are where it stands in the document's source."""

    passage: int
    start: int
    end: int
    begin: int
    stop: int
    text: str


@dataclass
class Block:
    """What is shown as one passage. ``units`` are in the document's order, ``kept`` those that are shown."""

    heading: str
    units: list[Unit]
    kept: set[int] = field(default_factory=set)

    @property
    def begin(self) -> int:
        """Where it begins in the document's source."""
        return self.units[0].begin

    def shown(self, number: int, passages: Sequence[Passage]) -> Shown:
        """What a template is given; a mark stands where sentences were left out."""
        chosen = sorted(self.kept)
        text = self.units[chosen[0]].text
        for one, other in pairwise(chosen):
            between = self.between(self.units[one], self.units[other], passages)
            text += (between if other == one + 1 else LEFT_OUT) + self.units[other].text
        if chosen[0]:
            text = LEFT_OUT.lstrip() + text
        if chosen[-1] < len(self.units) - 1:
            text += LEFT_OUT.rstrip()
        return Shown(number, self.heading, text)

    @staticmethod
    def between(one: Unit, other: Unit, passages: Sequence[Passage]) -> str:
        """What stands between two sentences that follow each other."""
        if one.passage == other.passage and one.end <= other.start:
            return passages[one.passage].text[one.end : other.start]
        return " " if other.begin <= one.stop + GAP_CHARS else LEFT_OUT


def packed(
    given: Sequence[Passage], found: Iterable[Sentence], budget: int, size: Size, order: Order
) -> list[Shown]:
    """The passages, best first in ``given``, as they are shown; ``found`` are their sentences, best first."""
    blocks = merged(given)
    if sum(cost(block, size) + sum(size(unit.text) for unit in block.units) for block in blocks) <= budget:
        for block in blocks:
            block.kept.update(range(len(block.units)))
    else:
        choose(blocks, found, budget, size)
    shown = [block for block in blocks if block.kept]
    return [block.shown(number, given) for number, block in enumerate(placed(shown, order, given), 1)]


def texts(given: Sequence[Passage]) -> list[str]:
    """All that is measured for these passages, for who measures ahead."""
    blocks = merged(given)
    return [text for block in blocks for text in (block.heading, *(unit.text for unit in block.units)) if text]


def cost(block: Block, size: Size) -> int:
    """What a block takes before its first sentence."""
    return FENCE_TOKENS + (size(block.heading) if block.heading else 0)


def placed(blocks: Sequence[Block], order: Order, given: Sequence[Passage]) -> list[Block]:
    """The blocks, best first as they come, in the order in which they are shown.

    "ends" has the best at both ends, as what stands in the middle is read least (Liu et al., 2023); "document" has
    those of one document as they stand there (Yu et al., 2024), the document of the best one first.
    """
    if order == "best_last":
        return list(reversed(blocks))
    if order == "ends":
        return [*blocks[::2], *reversed(blocks[1::2])]
    if order == "document":
        documents = [given[block.units[0].passage].document_id for block in blocks]
        places = sorted(range(len(blocks)), key=lambda at: (documents.index(documents[at]), blocks[at].begin))
        return [blocks[at] for at in places]
    return list(blocks)


def merged(given: Sequence[Passage]) -> list[Block]:
    """The passages as blocks, each at the place of its best passage."""
    blocks: list[tuple[Block, list[int]]] = []
    for index in news(given):
        passage = given[index]
        near = [at for at, (_, inside) in enumerate(blocks) if any(touches(passage, given[i]) for i in inside)]
        inside = sorted({index, *(i for at in near for i in blocks[at][1])})
        block = Block(heading(passage, "").strip()[:HEADING_CHARS], units([(i, given[i]) for i in inside]))
        if not block.units:
            continue
        if near:
            block.heading = blocks[near[0]][0].heading
            blocks[near[0]] = block, inside
            for at in reversed(near[1:]):
                del blocks[at]
        else:
            blocks.append((block, inside))
    return [block for block, _ in blocks]


def news(given: Sequence[Passage]) -> Iterator[int]:
    """Those that say something that no better one says."""
    seen: set[tuple[str, ...]] = set()
    for index, passage in enumerate(given):
        said = words(passage.text)
        runs = {tuple(said[at : at + RUN]) for at in range(max(1, len(said) - RUN + 1))}
        if index == 0 or len(runs & seen) < REPEATED * len(runs):
            yield index
        seen |= runs


def touches(one: Passage, other: Passage) -> bool:
    """Whether two passages overlap in their document, or one follows the other."""
    if one.document_id != other.document_id or not one.document_id or one.section != other.section:
        return False
    return one.start <= other.end + GAP_CHARS and other.start <= one.end + GAP_CHARS


def units(inside: Sequence[tuple[int, Passage]]) -> list[Unit]:
    """The sentences of the passages in the document's order, each place of the source once."""
    found = []
    for index, passage in inside:
        for start, end in sentences(passage.text):
            begin = to_source(passage.offsets, passage.start, start)
            stop = to_source(passage.offsets, passage.start, end - 1) + 1
            found.append(Unit(index, start, end, begin, stop, passage.text[start:end]))
    if len(inside) == 1:
        return found
    result: list[Unit] = []
    for unit in sorted(found, key=lambda each: (each.begin, -each.stop)):
        if not result or unit.stop > max(each.stop for each in result[-3:]):
            result.append(unit)
    return result


def choose(blocks: Sequence[Block], found: Iterable[Sentence], budget: int, size: Size) -> None:
    """Keep the best sentences that fit, with their neighbours; of the very best at least the beginning."""
    places = {(unit.passage, unit.start): (block, at) for block in blocks for at, unit in enumerate(block.units)}
    wanted = [places[key] for each in found if (key := (each.passage, each.start)) in places]
    if not wanted:
        wanted = [(block, at) for block in blocks for at in range(len(block.units))]
    left = budget
    for block, at in wanted:
        for place in (at, at - 1, at + 1):
            if not 0 <= place < len(block.units) or place in block.kept:
                continue
            price = size(block.units[place].text) + MARK_TOKENS + (0 if block.kept else cost(block, size))
            if price <= left:
                block.kept.add(place)
                left -= price
            elif place == at:
                break  # its neighbours are of no use without it
    if wanted and not any(block.kept for block in blocks):
        block, at = wanted[0]
        block.units[at] = headed(block.units[at], budget - cost(block, size) - MARK_TOKENS, size)
        if block.units[at].text:
            block.kept.add(at)


def headed(unit: Unit, budget: int, size: Size) -> Unit:
    """The beginning of a sentence that is too long, cut between words where it has any."""
    text = unit.text
    while text and size(text) > budget:
        shorter = text[: len(text) * 3 // 4]
        text = shorter.rsplit(None, 1)[0] if " " in shorter else shorter
    return Unit(unit.passage, unit.start, unit.start + len(text), unit.begin, unit.begin + len(text), text)


def spoken(turns: Sequence[Said], budget: int, size: Size) -> tuple[Said, ...]:
    """The latest turns that fit, oldest first; of the first that does not fit nothing, nor of those before it."""
    kept: list[Said] = []
    for question, answer in reversed(turns):
        budget -= size(question) + size(answer) + TURN_TOKENS
        if budget < 0:
            break
        kept.append((question, answer))
    return tuple(reversed(kept))
