"""The vectors and word pieces of a document's passages, as they travel to the retriever."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ragline.broker import Unfinished
from services.preprocess.embed import PASSAGE, Embedding
from services.preprocess.hold import Hold


@dataclass(frozen=True)
class Vectors:
    """Columns as in ``UpsertRequest`` and ``StageRequest``."""

    vectors: bytes
    dimensions: int
    fingerprint: str
    token_ids: list[bytes]


@dataclass
class Passages:
    """How passages are embedded: whether their token vectors are kept, and how many are in one call."""

    token_vectors: bool
    batch: int = 64

    async def __call__(self, embedding: Embedding, texts: Sequence[str], hold: Hold) -> Vectors:
        """Embed the texts, a bounded number at a time.

        Raises Unfinished when the time is over and the cache holds what was embedded; where it does not, there is
        no use in stopping.
        """
        vectors, token_ids, fresh = [], list[bytes](), 0
        for start in range(0, len(texts), self.batch):
            if fresh and hold.over and await embedding.keeps([texts[0], texts[start - 1]]):
                raise Unfinished("The rest of the document follows.")
            batch = texts[start : start + self.batch]
            embedded = await embedding.embed(batch, lane=PASSAGE, token_vectors=self.token_vectors)
            fresh += embedded.fresh
            vectors.append(np.ascontiguousarray(embedded.vectors, dtype="<f4").tobytes())
            token_ids += [np.asarray(ids, dtype="<u4").tobytes() for ids in embedded.token_ids]
        embedder = embedding.embedder
        return Vectors(b"".join(vectors), embedder.dimensions, embedder.fingerprint, token_ids)
