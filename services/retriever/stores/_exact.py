"""Scores by the vectors as they are stored, for searches whose candidates were found by codes."""

from __future__ import annotations

import math

import numpy as np

from services.retriever.stores import Ranking, Rows, Vectors
from services.retriever.stores._reader import Reader

SPARE = 0.5  # of the depth: how many more candidates are looked at, since codes order near ties otherwise
FEWEST = 40  # and no fewer than so many
FLOAT_BYTES = 4


def looked_at(depth: int) -> int:
    """How many candidates to find for the ``depth`` best."""
    return depth + max(FEWEST, math.ceil(depth * SPARE))


class Exact:
    """What the record says of vectors that one embedder made."""

    def __init__(self, reader: Reader, collection: int, fingerprint: str, dimensions: int) -> None:
        self.reader = reader
        self.collection = collection
        self.fingerprint = fingerprint
        self.dimensions = dimensions

    def ranked(self, query: Vectors, found: Ranking, depth: int) -> Ranking:
        """The best ``depth`` of what was found, by their cosines with the query (dimensions,), ties by row.

        Where the record has them no more, or of another embedder by now, the candidates stay as they came.
        """
        rows, vectors = self.vectors(found)
        if len(rows) < len(found):
            return Ranking(found.rows[:depth], found.scores[:depth])
        scores: Vectors = vectors @ query
        order = np.lexsort((rows, -scores))[:depth]
        return Ranking(rows[order], scores[order])

    def vectors(self, found: Ranking) -> tuple[Rows, Vectors]:
        """Rows and vectors, of those that the record has."""
        marks = ", ".join("?" * len(found))
        with self.reader.moment() as db:
            held = db.execute("SELECT fingerprint FROM collections WHERE id = ?", (self.collection,)).fetchone()
            rows = db.execute(
                f"SELECT row, vector FROM vectors WHERE row IN ({marks})",  # noqa: S608 - question marks
                found.rows.tolist(),
            ).fetchall()
        good = [(row, vector) for row, vector in rows if len(vector) == self.dimensions * FLOAT_BYTES]
        if held is None or held[0] != self.fingerprint:
            good = []
        vectors = np.frombuffer(b"".join([vector for _, vector in good]), dtype="<f4")
        return np.array([row for row, _ in good], dtype=np.int64), vectors.reshape(len(good), self.dimensions)
