"""What there is of a batch's results: whole files of finished chunks, journals of those in hand."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from itertools import takewhile

import orjson
from cachetools import LRUCache

from ragline.errors import NotFound
from services.generator.batches import journal
from services.generator.batches.ids import find
from services.generator.batches.inputs import requests
from services.generator.batches.lines import Result, read_result
from services.generator.batches.manifest import CHUNKS, IDS, Manifest, chunk_file, chunk_number
from services.generator.batches.storage import Storage

HEAD_BYTES = 64  # of a chunk's results: {"lines":32,"failed":3}
KNOWN = 64  # batches whose counts are remembered


class Results:
    """Reads results. Blocks: call it in a thread. What is remembered, counts of finished chunks, never changes."""

    def __init__(self, storage: Storage) -> None:
        self.storage = storage
        self.lock = threading.Lock()
        self.failures: LRUCache[str, dict[int, int]] = LRUCache(KNOWN)

    def finished(self, batch: Manifest) -> set[int]:
        """The chunks of which every line has a result."""
        return {chunk_number(name) for name in self.storage.names(f"{batch.folder}/{CHUNKS}")}

    def progress(self, batch: Manifest) -> tuple[int, int]:
        """Lines with a result, and those of them that failed."""
        # In this order: a chunk that is finished in between is counted, and only once.
        journals = journal.names(self.storage, batch.folder)
        chunks = self.finished(batch)
        done = sum(batch.chunks[chunk].lines for chunk in chunks)
        failed = self.failed(batch, chunks)
        for chunk in journals.keys() - chunks:
            for result in self.of_open(batch, chunk, journals[chunk]).values():
                done += 1
                failed += result.failed
        return done, failed

    def failed(self, batch: Manifest, chunks: set[int]) -> int:
        """Lines of finished chunks that failed."""
        with self.lock:
            known = self.failures.setdefault(batch.folder, {})
        for chunk in chunks - known.keys():
            head, _, _ = self.storage.read(self.name(batch, chunk), 0, HEAD_BYTES).partition(b"\n")
            known[chunk] = int(orjson.loads(head)["failed"])
        return sum(known[chunk] for chunk in chunks)

    def name(self, batch: Manifest, chunk: int) -> str:
        """The file of a finished chunk."""
        return f"{batch.folder}/{CHUNKS}/{chunk_file(chunk)}"

    def of_finished(self, batch: Manifest, chunk: int) -> list[Result] | None:
        """The results of a finished chunk in the order of the input; None while it is not."""
        try:
            _, *lines = self.storage.read(self.name(batch, chunk)).split(b"\n")
        except FileNotFoundError:
            return None
        return [result for raw in lines if (result := read_result(raw))]

    def of_open(self, batch: Manifest, chunk: int, journals: list[str]) -> dict[int, Result]:
        """The results of a chunk that was not finished a moment ago."""
        try:
            return journal.read(self.storage, journals)
        except FileNotFoundError:  # it was finished meanwhile
            return {result.number: result for result in self.of_finished(batch, chunk) or ()}

    def of_chunk(self, batch: Manifest, chunk: int) -> tuple[list[Result], bool]:
        """What there is of a chunk, in the order of the input, and whether that is all of it."""
        found = self.of_finished(batch, chunk)
        if found is None:
            journals = journal.names(self.storage, batch.folder).get(chunk, [])
            of_number = self.of_open(batch, chunk, journals)
            found = [of_number[number] for number in sorted(of_number)] or self.of_finished(batch, chunk) or []
        return found, len(found) == batch.chunks[chunk].lines

    def after(self, batch: Manifest, number: int, *, in_order: bool) -> Iterator[list[Result]]:
        """The results of lines behind number ``after``, a chunk at a time.

        ``in_order``: up to the first line that has none yet. Else all there are, which come in the order of
        the input, too, but with holes.
        """
        for chunk in range(batch.chunk_of(number + 1), len(batch.chunks)):
            found, whole = self.of_chunk(batch, chunk)
            if in_order and not whole:
                found = prefix(found, [number for number, _ in requests(self.storage, batch, chunk)])
            yield [result for result in found if result.number > number]
            if in_order and not whole:
                return

    def of_id(self, batch: Manifest, custom_id: str) -> Result:
        """The result of the line of this id."""
        number = find(self.storage.read(f"{batch.folder}/{IDS}"), custom_id)
        if number is None:
            raise NotFound("No line of this batch has this custom_id.")
        found, _ = self.of_chunk(batch, batch.chunk_of(number))
        for result in found:
            if result.number == number:
                return result
        raise NotFound("This line has no result yet; GET /batches/{id} tells how far the batch is.")


def prefix(found: Sequence[Result], numbers: Sequence[int]) -> list[Result]:
    """The results up to the first of ``numbers`` that has none."""
    pairs = zip(found, numbers, strict=False)
    return [result for result, _ in takewhile(lambda pair: pair[0].number == pair[1], pairs)]
