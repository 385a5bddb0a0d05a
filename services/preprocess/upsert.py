"""A document as the retriever stores it, less the vectors."""

from __future__ import annotations

from ragline.v1 import passage_pb2
from ragline.v1 import retriever_pb2 as pb
from services.preprocess.cut import CutDocument, Piece
from services.preprocess.jobs import Work
from services.preprocess.pieces import metadata_json
from services.preprocess.pipeline import content_hash


def request_of(work: Work, piece: CutDocument, *, container: str, pipeline: str) -> pb.UpsertRequest:
    """What the retriever is asked to store; ``container`` is the file of many that it came out of, or empty."""
    return pb.UpsertRequest(
        tenant=work.job.tenant,
        collection=work.job.collection,
        seq=work.seq,
        container=container,
        document=pb.Document(
            id=work.document.id,
            title=piece.title,
            source=piece.source,
            metadata_json=metadata_json(work, piece),
            content_hash=content_hash(work.document, pipeline),
            media_type=piece.media_type,
            uri=work.document.uri,
        ),
        passages=[
            passage_pb2.Passage(
                id=f"{work.document.id}#{ordinal}",
                section=passage.section,
                text=passage.text,
                start=passage.start,
                end=passage.end,
                page=passage.page,
                source=source_of(piece, passage),
                offsets=passage.offsets,
                page_starts=passage.page_starts,
            )
            for ordinal, passage in enumerate(piece.passages)
        ],
    )


def source_of(document: CutDocument, passage: Piece) -> str:
    """The span that a passage came from, as citations quote it; empty where the passage is just that."""
    source = document.source[passage.start : passage.end]
    return source if source != passage.text else ""
