"""What is known of batches, from their files alone: any replica answers for any batch, and none has a state."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from itertools import takewhile
from typing import Any

import orjson
from cachetools import LRUCache

from ragline.errors import NotFound
from services.generator.batches import journal, manifest
from services.generator.batches.ids import find
from services.generator.batches.inputs import requests
from services.generator.batches.lines import Result, read_result
from services.generator.batches.manifest import (
    CANCELLED,
    CHUNKS,
    FINISHED,
    IDS,
    MANIFEST,
    QUEUED,
    REMOVED,
    Manifest,
    chunk_file,
    chunk_number,
    unpacked,
)
from services.generator.batches.storage import Storage

HEAD_BYTES = 64  # of a chunk's results: {"lines":32,"failed":3}
KNOWN = 64  # batches whose manifests and counts are remembered
ENDED = ("done", "failed", "cancelled")


class Batches:
    """All batches of one storage. Blocks: call it in a thread. Raises NotFound for what is not there.

    What is remembered never changes: a manifest, and the counts of a chunk that is finished.
    """

    def __init__(self, storage: Storage, ttl_s: float) -> None:
        self.storage = storage
        self.ttl_s = ttl_s
        self.lock = threading.Lock()
        self.manifests: LRUCache[str, Manifest] = LRUCache(KNOWN)
        self.failures: LRUCache[str, dict[int, int]] = LRUCache(KNOWN)
        self.finished_up_to: LRUCache[str, int] = LRUCache(KNOWN)

    def get(self, tenant: str, batch_id: str) -> Manifest:
        """A batch that was acknowledged."""
        if manifest.ID.fullmatch(batch_id) and self.storage.exists(
            f"{manifest.folder(tenant, batch_id)}/{QUEUED}"
        ):
            return self.load(tenant, batch_id)
        raise NotFound("There is no batch of this id; it may have been removed since.")

    def load(self, tenant: str, batch_id: str) -> Manifest:
        """The manifest of a batch, acknowledged or not yet; raises NotFound."""
        folder = manifest.folder(tenant, batch_id)
        with self.lock:
            known = self.manifests.get(folder)
        if known is None:
            try:
                known = unpacked(self.storage.read(f"{folder}/{MANIFEST}"))
            except FileNotFoundError:
                raise NotFound("There is no batch of this id; it may have been removed since.") from None
            with self.lock:
                self.manifests[folder] = known
        return known

    def page(self, tenant: str, limit: int, after: str) -> list[dict[str, Any]]:
        """Views of the newest batches, or of those older than ``after``."""
        found: list[dict[str, Any]] = []
        for name in reversed(self.storage.names(manifest.tenant_folder(tenant))):
            if len(found) == limit:
                break
            if not after or name < after:
                try:
                    found.append(self.view(self.get(tenant, name)))
                except NotFound:
                    continue
        return found

    def view(self, batch: Manifest) -> dict[str, Any]:
        """A batch as clients see it. ``failed`` counts the lines of ``done`` that ended in an error."""
        told = self.ended(batch)
        if told is None:
            # In this order: a chunk that is finished in between is counted, and only once.
            journals, chunks = journal.names(self.storage, batch.folder), self.finished_chunks(batch)
            done, failed = self.counts(batch, chunks, journals)
            told = {"state": "running" if chunks or journals else "queued", "done": done, "failed": failed}
            told |= self.cancelled(batch)
        return {
            "id": batch.id,
            "state": told["state"],
            "total": batch.lines,
            "done": told["done"],
            "failed": told["failed"],
            "created_at": batch.created_at,
            "finished_at": told.get("finished_at"),
            "expires_at": batch.created_at + self.ttl_s,
            "urls": {
                "self": f"/batches/{batch.id}",
                "results": f"/batches/{batch.id}/results",
                "events": f"/batches/{batch.id}/events",
            },
        }

    def ended(self, batch: Manifest) -> dict[str, Any] | None:
        """How a batch ended of which every line has a result; None while some have not."""
        try:
            told: dict[str, Any] = orjson.loads(self.storage.read(f"{batch.folder}/{FINISHED}"))
        except FileNotFoundError:
            return None
        return told

    def cancelled(self, batch: Manifest) -> dict[str, Any]:
        """State and end of a batch that was cancelled; nothing for others."""
        try:
            told: dict[str, Any] = orjson.loads(self.storage.read(f"{batch.folder}/{CANCELLED}"))
        except FileNotFoundError:
            return {}
        return told

    def cancel(self, batch: Manifest) -> None:
        """Let no further line begin. A batch that has ended stays as it is."""
        if self.ended(batch) is None:
            mark = orjson.dumps({"state": "cancelled", "finished_at": round(time.time(), 3)})
            self.storage.create(f"{batch.folder}/{CANCELLED}", mark)

    def is_cancelled(self, batch: Manifest) -> bool:
        """Whether no further line is to begin."""
        return self.storage.exists(f"{batch.folder}/{CANCELLED}")

    def finished_chunks(self, batch: Manifest) -> set[int]:
        """The chunks of which every line has a result."""
        return {chunk_number(name) for name in self.storage.names(f"{batch.folder}/{CHUNKS}")}

    def counts(self, batch: Manifest, chunks: set[int], journals: dict[int, list[str]]) -> tuple[int, int]:
        """Lines with a result, and those of them that failed."""
        done = sum(batch.chunks[chunk].lines for chunk in chunks)
        failed = self.failed(batch, chunks)
        for chunk in journals.keys() - chunks:
            for result in self.open_results(batch, chunk, journals[chunk]).values():
                done += 1
                failed += result.failed
        return done, failed

    def failed(self, batch: Manifest, chunks: set[int]) -> int:
        """Lines of finished chunks that failed."""
        with self.lock:
            known = self.failures.setdefault(batch.folder, {})
        for chunk in chunks - known.keys():
            head, _, _ = self.storage.read(self.results_name(batch, chunk), 0, HEAD_BYTES).partition(b"\n")
            known[chunk] = int(orjson.loads(head)["failed"])
        return sum(known[chunk] for chunk in chunks)

    def results_name(self, batch: Manifest, chunk: int) -> str:
        """The file of a finished chunk."""
        return f"{batch.folder}/{CHUNKS}/{chunk_file(chunk)}"

    def chunk_results(self, batch: Manifest, chunk: int) -> list[Result] | None:
        """The results of a finished chunk in the order of the input; None while it is not."""
        try:
            _, *lines = self.storage.read(self.results_name(batch, chunk)).split(b"\n")
        except FileNotFoundError:
            return None
        return [result for raw in lines if (result := read_result(raw))]

    def open_results(self, batch: Manifest, chunk: int, journals: list[str]) -> dict[int, Result]:
        """The results of a chunk that was not finished a moment ago."""
        try:
            return journal.read(self.storage, journals)
        except FileNotFoundError:  # it was finished meanwhile
            return {result.number: result for result in self.chunk_results(batch, chunk) or ()}

    def results_of(self, batch: Manifest, chunk: int) -> tuple[list[Result], bool]:
        """What there is of a chunk, in the order of the input, and whether that is all of it."""
        found = self.chunk_results(batch, chunk)
        if found is None:
            journals = journal.names(self.storage, batch.folder).get(chunk, [])
            of_number = self.open_results(batch, chunk, journals)
            found = [of_number[number] for number in sorted(of_number)] or self.chunk_results(batch, chunk) or []
        return found, len(found) == batch.chunks[chunk].lines

    def results(self, batch: Manifest, after: int, *, in_order: bool) -> Iterator[list[Result]]:
        """The results of lines behind number ``after``, a chunk at a time.

        ``in_order``: up to the first line that has none yet. Else all there are, which come in the order of
        the input, too, but with holes.
        """
        for chunk in range(batch.chunk_of(after + 1), len(batch.chunks)):
            found, whole = self.results_of(batch, chunk)
            if in_order and not whole:
                found = prefix(found, [number for number, _ in requests(self.storage, batch, chunk)])
            yield [result for result in found if result.number > after]
            if in_order and not whole:
                return

    def result(self, batch: Manifest, custom_id: str) -> Result:
        """The result of the line of this id."""
        number = find(self.storage.read(f"{batch.folder}/{IDS}"), custom_id)
        if number is None:
            raise NotFound("No line of this batch has this custom_id.")
        found, _ = self.results_of(batch, batch.chunk_of(number))
        for result in found:
            if result.number == number:
                return result
        raise NotFound("This line has no result yet; GET /batches/{id} tells how far the batch is.")

    def finish(self, batch: Manifest) -> None:
        """Note that every line has a result, if that is so."""
        with self.lock:
            at = self.finished_up_to.get(batch.folder, 0)
        while at < len(batch.chunks) and self.storage.exists(self.results_name(batch, at)):
            at += 1
        with self.lock:
            self.finished_up_to[batch.folder] = at
        if at < len(batch.chunks):
            return
        failed = self.failed(batch, set(range(at)))
        told = {
            "state": "failed" if failed == batch.lines else "done",
            "done": batch.lines,
            "failed": failed,
            "finished_at": round(time.time(), 3),
        }
        self.storage.create(f"{batch.folder}/{FINISHED}", orjson.dumps(told))

    def remove(self, tenant: str, batch_id: str) -> None:
        """Remove the files of a batch; what is left tells workers that its messages are void."""
        folder = manifest.folder(tenant, batch_id)
        self.storage.write(f"{folder}/{REMOVED}", b"")
        self.storage.remove(f"{folder}/{QUEUED}")
        for name in self.storage.names(folder):
            if name != REMOVED:
                self.storage.remove(f"{folder}/{name}")
        with self.lock:
            self.manifests.pop(folder, None)
            self.failures.pop(folder, None)
            self.finished_up_to.pop(folder, None)

    def is_removed(self, tenant: str, batch_id: str) -> bool:
        """Whether a batch was removed."""
        return self.storage.exists(f"{manifest.folder(tenant, batch_id)}/{REMOVED}")


def prefix(found: Sequence[Result], numbers: Sequence[int]) -> list[Result]:
    """The results up to the first of ``numbers`` that has none."""
    pairs = zip(found, numbers, strict=False)
    return [result for result, _ in takewhile(lambda pair: pair[0].number == pair[1], pairs)]
