"""What a request may hold: checked once, at the doors, with errors that name the field and the setting."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import orjson
from numpy.typing import NDArray

from ragline.errors import InvalidRequest, TooLarge
from ragline.v1.retriever_pb2 import Document, StageRequest, UpsertRequest
from services.retriever.stores import DEFAULT_COLLECTION, MAX_SEQ, Content, Key, Vectors

COLLECTION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
DEFAULT_TENANT = "default"
MAX_ID_CHARS = 1024
MAX_TENANT_CHARS = 128
MAX_DIMENSIONS = 8192
MAX_TOKEN_ID = 5_000_000  # above every vocabulary; the counts are an array of this length at most
CONTROL = re.compile(r"[\x00-\x1f\x7f]")
UNIT = 1e-3  # how far from length 1 a vector may be before it is scaled


@dataclass(frozen=True)
class Limits:
    """See the settings of the same names."""

    max_top_k: int = 100
    max_queries: int = 1000
    max_query_chars: int = 4096
    max_filter_terms: int = 1000
    max_passages: int = 100_000
    max_page: int = 1000
    max_names: int = 1_000_000

    def queries(self, queries: Sequence[str], *, batch: bool = True) -> Sequence[str]:
        """The queries, if they are such."""
        if not queries:
            raise InvalidRequest("There is no query; give at least one.", field="queries")
        if len(queries) > self.max_queries:
            raise TooLarge(
                f"There are {len(queries)} queries; the limit is {self.max_queries} (RETRIEVER_MAX_QUERIES).",
                field="queries",
            )
        for i, query in enumerate(queries):
            field = f"queries[{i}]" if batch else "query"
            if not query.strip():
                raise InvalidRequest("The query is empty.", field=field)
            if len(query) > self.max_query_chars:
                raise TooLarge(
                    f"The query has {len(query):,} characters; the limit is {self.max_query_chars:,} "
                    "(RETRIEVER_MAX_QUERY_CHARS).",
                    field=field,
                )
        return queries

    def top_k(self, top_k: int) -> int:
        """``top_k``, if it is within bounds."""
        if not 1 <= top_k <= self.max_top_k:
            raise InvalidRequest(
                f"top_k is {top_k}; it must be 1 to {self.max_top_k} (RETRIEVER_MAX_TOP_K).", field="top_k"
            )
        return top_k

    def page(self, limit: int) -> int:
        """The size of a page: the most where none is named."""
        if limit > self.max_page:
            raise InvalidRequest(
                f"limit is {limit}; the most is {self.max_page} (RETRIEVER_MAX_PAGE).", field="limit"
            )
        return limit or self.max_page

    def count(self, count: int, field: str = "count") -> int:
        """``count``, if one call may name or take so many; raises TooLarge."""
        if count > self.max_names:
            raise TooLarge(
                f"{field} has {count:,}; the most in one call is {self.max_names:,} (RETRIEVER_MAX_NAMES).",
                field=field,
            )
        return count

    def passages(self, count: int, field: str = "passages") -> int:
        """``count``, if a document may have so many passages; raises TooLarge."""
        if count > self.max_passages:
            raise TooLarge(
                f"The document has {count:,} passages; the limit is {self.max_passages:,} "
                "(RETRIEVER_MAX_PASSAGES).",
                field=field,
            )
        return count

    def content(self, request: UpsertRequest) -> Content:
        """The document of an upsert with its vectors as an array; raises InvalidRequest or TooLarge."""
        count = self.passages(len(request.passages))
        document = Document()
        document.CopyFrom(request.document)
        document.id = document_id(document.id, "document.id")
        document.metadata_json = metadata(document.metadata_json)
        return Content(
            document, request.passages, vectors(request, count), request.fingerprint, token_ids(request, count)
        )


def key(tenant: str, collection: str) -> Key:
    """A collection's full name; empty parts are ``default``."""
    tenant, collection = tenant or DEFAULT_TENANT, collection or DEFAULT_COLLECTION
    if not COLLECTION.fullmatch(collection):
        raise InvalidRequest(
            "A collection's name has 1 to 64 letters, digits, dots, underscores or hyphens, the first a letter or "
            "digit.",
            field="collection",
        )
    if len(tenant) > MAX_TENANT_CHARS or CONTROL.search(tenant):
        raise InvalidRequest(f"A tenant's name has 1 to {MAX_TENANT_CHARS} printable characters.", field="tenant")
    return Key(tenant, collection)


def document_id(given: str, field: str = "document_id") -> str:
    """``given``, if it can name a document."""
    if not given or len(given) > MAX_ID_CHARS or CONTROL.search(given):
        raise InvalidRequest(
            f"A document's id has 1 to {MAX_ID_CHARS} characters and no control character.", field=field
        )
    return given


def place(seq: int) -> int:
    """``seq``, if it can be a number of the sequence of writes."""
    if seq > MAX_SEQ:
        raise InvalidRequest(f"seq is {seq}; take numbers from Reserve.", field="seq")
    return seq


def metadata(text: str) -> str:
    """Metadata as compact JSON with plain UTF-8, as the filters read it."""
    try:
        given = orjson.loads(text or "{}")
        if not isinstance(given, dict):
            raise InvalidRequest("Metadata must be a JSON object.", field="document.metadata_json")
        return orjson.dumps(given).decode()
    except orjson.JSONDecodeError as error:
        raise InvalidRequest(f"The metadata is no JSON: {error}.", field="document.metadata_json") from None


def vectors(request: UpsertRequest | StageRequest, count: int) -> Vectors:
    """The vectors as (passages, dimensions), of unit length so that inner products are cosines."""
    dimensions = request.dimensions
    if dimensions > MAX_DIMENSIONS or (count and (not dimensions or not request.fingerprint)):
        raise InvalidRequest(
            f"Passages need a fingerprint and 1 to {MAX_DIMENSIONS} dimensions; there are {dimensions}.",
            field="dimensions",
        )
    if len(request.vectors) != 4 * count * dimensions:
        raise InvalidRequest(
            f"vectors has {len(request.vectors)} bytes; {count} passages of {dimensions} float32 need "
            f"{4 * count * dimensions}.",
            field="vectors",
        )
    given = np.frombuffer(request.vectors, dtype="<f4").reshape(count, dimensions)
    lengths = np.linalg.norm(given, axis=1, keepdims=True)
    if not np.isfinite(lengths).all():
        raise InvalidRequest("A vector holds what is no finite number.", field="vectors")
    off = (np.abs(lengths - 1.0) > UNIT) & (lengths > 0)
    scaled: Vectors = np.where(off, given / np.where(off, lengths, 1.0), given).astype(np.float32, copy=False)
    return scaled


def token_ids(request: UpsertRequest | StageRequest, count: int) -> list[bytes]:
    """The word pieces of each passage; none at all may be given, which leaves them out of the statistics."""
    if not request.token_ids:
        return [b""] * count
    if len(request.token_ids) != count or any(len(blob) % 4 for blob in request.token_ids):
        raise InvalidRequest("token_ids needs little-endian uint32, one entry a passage.", field="token_ids")
    everything: NDArray[np.uint32] = np.frombuffer(b"".join(request.token_ids), dtype="<u4")
    if len(everything) and int(everything.max()) > MAX_TOKEN_ID:
        raise InvalidRequest(f"A word piece's id is above {MAX_TOKEN_ID:,}.", field="token_ids")
    return list(request.token_ids)
