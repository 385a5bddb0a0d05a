"""What Milvus holds of a document: a row of its id, a row a passage, and its text in pieces."""

from __future__ import annotations

import base64
import hashlib
import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ragline.errors import TooLarge
from ragline.v1.passage_pb2 import Passage
from ragline.v1.retriever_pb2 import Document, DocumentSummary
from services.retriever.stores import Content, Key
from services.retriever.stores._milvus_facts import MAX_FACTS, facts

MAX_TEXT = 65_535  # bytes of one text in Milvus
PIECE = 60_000  # characters of a document's packed text in one row
PLAIN = 16_000  # characters that are kept as they are, to be read by people, whatever their bytes
PACKED = "z:"
NOTHING = -1  # in place of a number of passages: there is no document, or none was removed

Fields = dict[str, Any]


@dataclass(frozen=True)
class Row:
    """All that an id stands for: its document, where there is one, and the newest write that left none.

    Of several rows of an id the one with the greatest version counts; a row is never changed. ``first`` and
    ``passages`` say which rows its passages are in, ``stamp`` is the newest number applied to the id beside its
    document's (see ``Stamp``).
    """

    name: str
    version: int = 0
    first: int = 0
    passages: int = NOTHING
    dimensions: int = 0
    generation: int = 0
    seq: int = 0
    stamp: int = 0
    stamp_passages: int = NOTHING
    stamp_at: int = 0
    source_first: int = 0
    source_pieces: int = 0
    title: str = ""
    metadata: str = "{}"
    content_hash: str = ""
    media_type: str = ""
    uri: str = ""
    container: str = ""
    fingerprint: str = ""

    @property
    def exists(self) -> bool:
        """Whether there is a document."""
        return self.passages >= 0

    @property
    def rows(self) -> range:
        """Where its passages are."""
        return range(self.first, self.first + max(0, self.passages))

    @property
    def sources(self) -> range:
        """Where the pieces of its text are."""
        return range(self.source_first, self.source_first + self.source_pieces)

    @property
    def newest(self) -> int:
        """The newest number that was applied to the id."""
        return max(self.seq if self.exists else 0, self.stamp)

    def same(self, document: Document) -> bool:
        """Whether storing ``document`` would change anything that a search or a reader can see."""
        return bool(document.content_hash) and (
            (self.content_hash, self.title, self.metadata)
            == (document.content_hash, document.title, document.metadata_json or "{}")
        )

    def document(self) -> Document:
        """The document in brief."""
        return Document(
            id=self.name,
            title=self.title,
            metadata_json=self.metadata,
            content_hash=self.content_hash,
            media_type=self.media_type,
            uri=self.uri,
        )

    def summary(self) -> DocumentSummary:
        """The document in a listing."""
        return DocumentSummary(
            id=self.name,
            title=self.title,
            metadata_json=self.metadata,
            content_hash=self.content_hash,
            media_type=self.media_type,
            passages=self.passages,
        )


NUMBERS = (
    "first",
    "passages",
    "dimensions",
    "generation",
    "seq",
    "stamp",
    "stamp_passages",
    "stamp_at",
    "source_first",
    "source_pieces",
)
TEXTS = ("title", "metadata", "content_hash", "media_type", "uri", "container", "fingerprint")
ROW_FIELDS = ["id", *NUMBERS, "head"]


def place_of(key: Key) -> str:
    """The partition key: no two collections of any tenants share one."""
    return hashed(key.tenant, key.collection)


def hashed(*parts: str) -> str:
    """22 letters, digits, ``-`` and ``_`` for texts of any length: no condition ever holds a caller's text."""
    whole = hashlib.blake2b(digest_size=16)
    for part in parts:
        encoded = part.encode("utf-8", "surrogatepass")
        whole.update(len(encoded).to_bytes(8, "little") + encoded)
    return base64.urlsafe_b64encode(whole.digest()).rstrip(b"=").decode()


def name_key(place: str, name: str) -> str:
    """What stands for an id in filters; unlike any of another collection's."""
    return hashed(place, name)


def document_fields(row: Row, key: Key) -> Fields:
    """A row of the documents' collection; raises TooLarge."""
    place = place_of(key)
    head = {"tenant": key.tenant, "collection": key.collection, "name": row.name}
    head |= {name: getattr(row, name) for name in TEXTS}
    return {
        "id": row.version,
        "place": place,
        "name_key": name_key(place, row.name),
        "container_key": name_key(place, row.container) if row.exists and row.container else "",
        "uri_key": hashed(row.uri) if row.exists and row.uri else "",
        **{name: getattr(row, name) for name in NUMBERS},
        "head": bounded(packed(json.dumps(head, ensure_ascii=False)), "The title and metadata", "document"),
        "facts": facts_of(row) if row.exists else [],
        "unused": [0.0, 0.0],
    }


def facts_of(row: Row) -> list[str]:
    """What filters can ask of a document; raises TooLarge."""
    made = sorted({hashed(*fact) for fact in facts(row.name, row.title, row.metadata)})
    if len(made) > MAX_FACTS:
        raise TooLarge(
            f"The metadata of {row.name!r} has {len(made):,} values; Milvus filters by {MAX_FACTS:,} at most.",
            field="document.metadata_json",
        )
    return made


def row_of(fields: Mapping[str, Any]) -> Row:
    """A row as it was read."""
    head = json.loads(unpacked(fields["head"]))
    numbers: dict[str, Any] = {name: int(fields[name]) for name in NUMBERS}
    return Row(head["name"], int(fields["id"]), **numbers, **{name: head[name] for name in TEXTS})


def key_of(fields: Mapping[str, Any]) -> Key:
    """Whose row it is."""
    head = json.loads(unpacked(fields["head"]))
    return Key(head["tenant"], head["collection"])


@dataclass(frozen=True)
class Fresh:
    """A document ready to be written: its passages' rows, numbered from 0, and its text in pieces."""

    content: Content
    passages: Sequence[Fields]
    pieces: Sequence[str]

    def placed(self, row: Row) -> list[Fields]:
        """The passages' rows where they belong."""
        return [each | {"id": row.first + i} for i, each in enumerate(self.passages)]

    def sources(self, row: Row, place: str) -> list[Fields]:
        """The rows of its text."""
        return [
            {"id": row.source_first + i, "place": place, "piece": piece, "unused": [0.0, 0.0]}
            for i, piece in enumerate(self.pieces)
        ]


def fresh(key: Key, content: Content, terms: Sequence[str], container: str) -> Fresh:
    """A document as it is going to be written; ``terms`` are its passages'. Raises TooLarge."""
    row = row_for(Row(content.document.id), content, container)
    whole = document_fields(row, key)
    about = {name: whole[name] for name in ("place", "name_key", "facts")}
    vectors = np.ascontiguousarray(content.vectors, dtype=np.float32)
    passages = [
        {
            "id": i,
            **about,
            "vector": vectors[i],
            "terms": bounded(said, f"Passage {i}", "passages"),
            "body": bounded(wrapped(stripped(passage).SerializeToString()), f"Passage {i}", "passages"),
            "tokens": bounded(wrapped(content.token_ids[i]), f"Passage {i}", "passages"),
        }
        for i, (passage, said) in enumerate(zip(content.passages, terms, strict=True))
    ]
    return Fresh(content, passages, pieces_of(content.document.source))


def row_for(before: Row, content: Content, container: str) -> Row:
    """The row of a document in place of what its id stood for; it keeps the id's stamp."""
    document = content.document
    return replace(
        before,
        first=0,
        passages=len(content.passages),
        dimensions=int(content.vectors.shape[1]),
        title=document.title,
        metadata=document.metadata_json or "{}",
        content_hash=document.content_hash,
        media_type=document.media_type,
        uri=document.uri,
        container=container,
        fingerprint=content.fingerprint,
    )


def pieces_of(source: str) -> list[str]:
    """The text, packed where it is long, cut."""
    text = packed(source)
    return [text[at : at + PIECE] for at in range(0, len(text), PIECE)]


def stripped(passage: Passage) -> Passage:
    """A passage without what its document says of it."""
    bare = Passage()
    bare.CopyFrom(passage)
    for name in ("id", "document_id", "title", "metadata_json"):
        bare.ClearField(name)
    return bare


def passage_of(row: Row, number: int, body: str) -> Passage:
    """A passage as the wire has it; ``number`` is the row that it is in."""
    passage = Passage.FromString(unwrapped(body))
    passage.id = f"{row.name}#{number - row.first}"
    passage.document_id = row.name
    passage.title = row.title
    passage.metadata_json = row.metadata
    return passage


def wrapped(blob: bytes) -> str:
    """Bytes as text: Milvus has no column of bytes."""
    return base64.b64encode(zlib.compress(blob, 1)).decode()


def unwrapped(text: str) -> bytes:
    """What ``wrapped`` was given."""
    return zlib.decompress(base64.b64decode(text))


def packed(text: str) -> str:
    """A text as it is, or compressed where it is long."""
    if len(text) <= PLAIN and not text.startswith(PACKED):
        return text
    return PACKED + wrapped(text.encode())


def unpacked(text: str) -> str:
    """What ``packed`` was given."""
    return unwrapped(text[len(PACKED) :]).decode() if text.startswith(PACKED) else text


def bounded(text: str, what: str, field: str) -> str:
    """``text``, if Milvus takes it; raises TooLarge."""
    if len(text.encode()) > MAX_TEXT:
        raise TooLarge(f"{what} takes more than {MAX_TEXT:,} bytes in Milvus; make it smaller.", field=field)
    return text
