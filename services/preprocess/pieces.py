"""What comes out of a file: one document or many, their ids, what they say of themselves, which are refused."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import orjson

from services.preprocess.cut import CutDocument, Rejected
from services.preprocess.given import MAX_METADATA_BYTES, id_fault, is_plain, metadata_fault
from services.preprocess.jobs import NewDocument, Work


def holds_many(pieces: Sequence[CutDocument | Rejected]) -> bool:
    """Whether a file is a list of documents, even of one: its documents have ids or lines of their own."""
    return len(pieces) != 1 or pieces[0].id is not None or (isinstance(pieces[0], Rejected) and pieces[0].line > 0)


def part_id(file_id: str, piece: CutDocument | Rejected, number: int) -> str:
    """The id of a document out of a file of many."""
    return piece.id or f"{file_id}#{number}"


def without_faults(pieces: Sequence[CutDocument | Rejected], ids: Sequence[str]) -> list[CutDocument | Rejected]:
    """The pieces, with those refused that say of themselves what no document may, or have an id that came before.

    Of two with one id the first goes in: which one is meant is for the sender to say.
    """
    first: dict[str, int] = {}
    kept: list[CutDocument | Rejected] = []
    for n, (piece, document_id) in enumerate(zip(pieces, ids, strict=True)):
        before = first.setdefault(document_id, n)
        fault = id_fault(document_id) or (metadata_fault(piece.metadata) if isinstance(piece, CutDocument) else "")
        if before != n:
            fault = f"the id is that of document {before + 1} of this file already; give each its own"
        refused = fault and isinstance(piece, CutDocument)
        kept.append(Rejected(n + 1, document_id, f"Document {n + 1}: {fault}.") if refused else piece)
    return kept


def metadata_json(work: Work, piece: CutDocument) -> str:
    """What was sent with a document, over what its own text says where that can be filtered by."""
    if work.part:
        return work.document.metadata_json
    own = {name: value for name, value in piece.metadata.items() if is_plain(value)}
    joined = orjson.dumps({**own, **orjson.loads(work.document.metadata_json)})
    return joined.decode() if len(joined) <= MAX_METADATA_BYTES else work.document.metadata_json


def part_document(container: NewDocument, piece: CutDocument | Rejected, document_id: str) -> NewDocument:
    """A document that came out of a file of many; it has no bytes of its own."""
    if isinstance(piece, Rejected):
        return NewDocument(document_id)
    metadata = {**orjson.loads(container.metadata_json), **piece.metadata}
    return NewDocument(
        document_id,
        title=piece.title,
        metadata_json=orjson.dumps(metadata).decode(),
        name=container.name,
        media_type=piece.media_type,
        sha256=hashlib.sha256(piece.source.encode()).hexdigest(),
    )
