"""Moves all that one store holds into another, by the calls that ``ragline migrate`` makes."""

from __future__ import annotations

import numpy as np

from ragline.v1.retriever_pb2 import ExportedDocument
from services.retriever.stores import Content, Key, Scope, Store


async def moved(source: Store, target: Store) -> dict[Key, tuple[int, int, str]]:
    """Documents, passages and checksum of each collection, which the target's own export must have, too."""
    before = {}
    for part in list(source.export(Scope())):
        if part.HasField("begin"):
            key = Key(part.begin.tenant, part.begin.collection)
        elif part.HasField("document"):
            await target.upsert(key, content_of(part.document), container=part.document.container)
        elif part.end.documents:  # an empty collection has nothing to be moved
            before[key] = (part.end.documents, part.end.passages, part.end.checksum)
    ends = [part.end for part in target.export(Scope()) if part.end.documents]
    assert [(end.documents, end.passages, end.checksum) for end in ends] == list(before.values())
    return before


def content_of(given: ExportedDocument) -> Content:
    """An exported document as a write takes it."""
    vectors = np.frombuffer(given.vectors, dtype="<f4").reshape(len(given.passages), given.dimensions)
    return Content(given.document, given.passages, vectors, given.fingerprint, list(given.token_ids))
