"""A few documents, embedded by the same embedder as the queries of the tests."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import numpy as np

from ragline.spans import embedded_text
from ragline.v1.passage_pb2 import Passage
from ragline.v1.retriever_pb2 import Document, UpsertRequest
from services.retriever.limits import Limits
from services.retriever.stores import Store
from tests.retriever.conftest import EMBEDDER
from tests.retriever.parts import KEY

LIBRARY: Mapping[str, Sequence[str]] = {
    "queues": [
        "A lost message is retried after a back-off that doubles each time.",
        "After five attempts the message goes to the dead letter queue.",
    ],
    "harbour": [
        "The ferry leaves the harbour at nine in the morning.",
        "Tickets for the ferry are sold at the harbour office.",
    ],
    "kitchen": ["Bread dough rises for two hours before it is baked."],
    "garden": ["Tomatoes need sun, water and a warm wall."],
}


def request(name: str, texts: Sequence[str], **metadata: object) -> UpsertRequest:
    """What preprocess sends for a document."""
    title = name.capitalize()
    embedded = EMBEDDER.embed([embedded_text(title, "", text) for text in texts])
    return UpsertRequest(
        document=Document(id=name, title=title, source="\n".join(texts), metadata_json=json.dumps(metadata)),
        passages=[Passage(text=text, start=0, end=len(text), page=1) for text in texts],
        vectors=np.ascontiguousarray(embedded.vectors, dtype="<f4").tobytes(),
        dimensions=EMBEDDER.dimensions,
        fingerprint=EMBEDDER.fingerprint,
        token_ids=[ids.astype("<u4").tobytes() for ids in embedded.token_ids],
    )


async def fill(store: Store) -> None:
    """Put the library into the default collection."""
    for n, (name, texts) in enumerate(LIBRARY.items()):
        await store.upsert(KEY, Limits().content(request(name, texts, n=n, lang="en")))
