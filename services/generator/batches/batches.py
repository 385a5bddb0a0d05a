"""What is known of batches, from their files alone: any replica answers for any batch, and none has a state."""

from __future__ import annotations

import threading
import time
from typing import Any

import orjson
from cachetools import LRUCache

from ragline.errors import NotFound
from services.generator.batches import manifest
from services.generator.batches.manifest import (
    CANCELLED,
    FINISHED,
    MANIFEST,
    QUEUED,
    REMOVED,
    Manifest,
    unpacked,
)
from services.generator.batches.results import Results
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
        self.results = Results(storage)
        self.ttl_s = ttl_s
        self.lock = threading.Lock()
        self.manifests: LRUCache[str, Manifest] = LRUCache(KNOWN)
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
            done, failed = self.results.progress(batch)
            told = {"state": "running" if done else "queued", "done": done, "failed": failed}
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

    def finish(self, batch: Manifest) -> None:
        """Note that every line has a result, if that is so."""
        with self.lock:
            at = self.finished_up_to.get(batch.folder, 0)
        while at < len(batch.chunks) and self.storage.exists(self.results.name(batch, at)):
            at += 1
        with self.lock:
            self.finished_up_to[batch.folder] = at
        if at < len(batch.chunks):
            return
        failed = self.results.failed(batch, set(range(at)))
        self.end(batch, "failed" if failed == batch.lines else "done", batch.lines, failed)

    def end(self, batch: Manifest, state: str, done: int, failed: int) -> None:
        """Note how a batch ended, unless that was noted before."""
        told = {"state": state, "done": done, "failed": failed, "finished_at": round(time.time(), 3)}
        self.storage.create(f"{batch.folder}/{FINISHED}", orjson.dumps(told))

    def remove(self, tenant: str, batch_id: str) -> None:
        """Remove a batch. Where it may have messages a mark stays that tells workers that they are void."""
        folder = manifest.folder(tenant, batch_id)
        self.storage.remove(f"{folder}/{QUEUED}")
        if not self.storage.exists(f"{folder}/{MANIFEST}"):
            self.storage.remove(folder)
            return
        for name in self.storage.names(folder, unfinished=True):
            if name != MANIFEST:
                self.storage.remove(f"{folder}/{name}")
        self.storage.write(f"{folder}/{REMOVED}", b"")
        self.storage.remove(f"{folder}/{MANIFEST}")
        with self.lock:
            for known in (self.manifests, self.finished_up_to):
                known.pop(folder, None)

    def is_removed(self, tenant: str, batch_id: str) -> bool:
        """Whether a batch was removed."""
        return self.storage.exists(f"{manifest.folder(tenant, batch_id)}/{REMOVED}")
