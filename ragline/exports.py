"""What an export says a document holds, as a checksum that any store and any release comes to alike."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import numpy as np

from ragline.v1.retriever_pb2 import ExportedDocument


def fields(exported: ExportedDocument) -> Iterator[bytes]:
    """All that a document holds; nothing that follows from it, and no number that a store gives."""
    document = exported.document
    for text in (
        *(document.id, document.title, document.source, document.metadata_json),
        *(document.content_hash, document.media_type, document.uri, exported.container),
    ):
        yield text.encode()
    if not exported.passages:  # then no embedder had a part in it
        return
    yield exported.fingerprint.encode()
    yield exported.dimensions.to_bytes(4, "little")
    yield exported.vectors
    for passage in exported.passages:
        yield from (passage.section.encode(), passage.text.encode(), passage.source.encode())
        numbers = (passage.start, passage.end, passage.page, len(passage.offsets))
        yield np.array([*numbers, *passage.offsets, *passage.page_starts], dtype="<u4").tobytes()
    yield from exported.token_ids


def digest(exported: ExportedDocument) -> bytes:
    """SHA-256 over each field behind its length."""
    made = hashlib.sha256()
    for field in fields(exported):
        made.update(len(field).to_bytes(8, "little"))
        made.update(field)
    return made.digest()


class Checksum:
    """Of a collection: SHA-256 over the digests of its documents, which are added by ascending id."""

    def __init__(self) -> None:
        self.made = hashlib.sha256()
        self.documents = 0
        self.passages = 0

    def add(self, exported: ExportedDocument) -> bytes:
        """Take in a document; returns its digest."""
        found = digest(exported)
        self.made.update(found)
        self.documents += 1
        self.passages += len(exported.passages)
        return found

    def hexdigest(self) -> str:
        """Of the documents so far."""
        return self.made.hexdigest()
