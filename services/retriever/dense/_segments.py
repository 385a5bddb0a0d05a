"""The sealed parts of a tiered index: SQ8 codes that are scanned, with or without a graph over them."""

from __future__ import annotations

import math
import threading
import uuid
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from services.retriever.dense import Mask, Slots, Vectors

SQ8 = "sq8"
HNSW = "hnsw"
NEIGHBOURS = 16  # M: links of a node, twice as many on the ground floor
BUILD_DEPTH = 128  # efConstruction
LINK_BYTES = 4
LEVELS = 255
FEW_ALLOWED = 10_000  # rows that a filter lets through, up to which they are all looked at

Bits = NDArray[np.uint8]
native: Any = faiss  # its stubs know the C++ signatures only

_thread = threading.local()


@dataclass(frozen=True, eq=False)
class Segment:
    """Vectors as codes of a byte a dimension; ``ef`` and ``recall`` are those of its graph, where it has one."""

    kind: str
    index: Any
    ef: int = 0
    recall: float | None = None
    scan_factor: float = 0.0
    name: str = field(default_factory=lambda: uuid.uuid4().hex)

    def __len__(self) -> int:
        return int(self.index.ntotal)

    @property
    def storage(self) -> Any:
        """The codes."""
        return faiss.downcast_index(self.index.storage) if self.kind == HNSW else self.index

    @property
    def bytes(self) -> int:
        """Of memory, about."""
        links = NEIGHBOURS * 2 * LINK_BYTES + 2 * LINK_BYTES * 2 if self.kind == HNSW else 0
        return len(self) * (int(self.index.d) + links)

    def header(self) -> dict[str, object]:
        """What ``opened`` has to know; see ``Sealed``."""
        return {"kind": self.kind, "ef": self.ef, "recall": self.recall}

    def write(self, file: Path) -> None:
        """Write it as FAISS does; raises OSError."""
        try:
            faiss.write_index(self.index, str(file))
        except RuntimeError as error:
            raise OSError(str(error)) from error

    def codes(self) -> NDArray[np.uint8]:
        """The codes (n, dimensions), without a copy; valid while the segment lives."""
        storage = self.storage
        flat: NDArray[np.uint8] = faiss.rev_swig_ptr(storage.codes.data(), storage.ntotal * storage.code_size)
        return flat.reshape(storage.ntotal, storage.code_size)

    def vectors(self, slots: Slots) -> Vectors:
        """What the codes of ``slots`` stand for."""
        made: Vectors = self.storage.sa_decode(np.ascontiguousarray(self.codes()[slots]))
        return made

    @cached_property
    def decoding(self) -> tuple[NDArray[np.uint8], Vectors, Vectors]:
        """The codes (n, dimensions), and the step and the origin (dimensions,) by which FAISS reads a code.

        A code c stands for low + (c + 0.5) / 255 * width; the origin is where c is 0.
        """
        ranges: Vectors = faiss.vector_to_array(self.storage.sq.trained)
        low, width = ranges.reshape(2, -1)
        step: Vectors = width / np.float32(LEVELS)
        origin: Vectors = low + step / np.float32(2)
        return self.codes(), step, origin

    def products(self, slots: Slots, query: Vectors) -> Vectors:
        """The inner products of ``query`` (dimensions,) with what the codes of ``slots`` stand for.

        By one product with a scaled query: decoding them first, or through FAISS, lets go of the interpreter three
        times, and threads that search side by side would wait for it each time.
        """
        codes, step, origin = self.decoding
        products: Vectors = codes[slots].astype(np.float32) @ (query * step)
        return products + np.float32(query @ origin)

    def without(self, kept: Mask) -> Segment:
        """The codes of the ``kept`` slots, exactly as they are; of a segment without a graph."""
        index = empty_codes(int(self.index.d))
        index.sq = self.index.sq
        index.is_trained = True
        index.add_sa_codes(np.ascontiguousarray(self.codes()[kept]))
        return Segment(SQ8, index)

    def search(self, queries: Vectors, depth: int, bits: Bits | None, allowed: int) -> tuple[Vectors, Slots]:
        """Scores and slots (queries, depth or fewer), -1 after the last; ``bits`` lets ``allowed`` of them in."""
        alone()
        depth = min(depth, len(self))
        if self.kind == SQ8 or self.scans(depth, bits, allowed):
            return self.scanned(queries, depth, bits)
        ef = max(self.ef, depth)
        if bits is not None:
            ef = min(len(self), math.ceil(ef * len(self) / allowed))
        options = native.SearchParametersHNSW(efSearch=ef, **selector(bits))
        scores, slots = self.index.search(queries, depth, params=options)
        short = np.flatnonzero(np.count_nonzero(slots >= 0, axis=1) < min(depth, allowed))
        if len(short):  # a graph may not lead to all that is there
            scores[short], slots[short] = self.scanned(queries[short], depth, bits)
        return scores, slots

    def scans(self, depth: int, bits: Bits | None, allowed: int) -> bool:
        """Whether looking at every allowed row costs less than following the graph until enough of them were met.

        A scan costs in proportion to ``allowed``; a walk to the nodes it keeps, ef, times the nodes that it
        meets for each that is allowed. ``scan_factor`` is how many rows are scanned in the time of a node.
        """
        if not self.scan_factor:
            return False
        if bits is not None and allowed <= FEW_ALLOWED:
            return True
        return allowed * allowed <= self.scan_factor * max(self.ef, depth) * len(self)

    def scanned(self, queries: Vectors, depth: int, bits: Bits | None) -> tuple[Vectors, Slots]:
        """The same result, from every code that is allowed."""
        options = None if bits is None else native.SearchParameters(**selector(bits))
        scores, slots = self.storage.search(queries, depth, params=options)
        return scores, slots


def alone() -> None:
    """Let this thread's searches use this thread only: a setting of each; more make single queries slower."""
    if getattr(_thread, "omp", None) != 1:
        faiss.omp_set_num_threads(1)
        _thread.omp = 1


def crowd(threads: int) -> None:
    """Let what this thread builds use several."""
    faiss.omp_set_num_threads(threads)
    _thread.omp = threads


def selector(bits: Bits | None) -> dict[str, Any]:
    """The option that lets FAISS see the positions that are set; it refers to ``bits`` and does not keep them."""
    return {} if bits is None else {"sel": native.IDSelectorBitmap(bits)}


def empty_codes(dimensions: int) -> Any:
    """Codes of a byte a dimension, to be trained and filled."""
    return native.IndexScalarQuantizer(dimensions, native.ScalarQuantizer.QT_8bit, native.METRIC_INNER_PRODUCT)


def empty_graph(dimensions: int) -> Any:
    """The same with a graph."""
    kind = native.ScalarQuantizer.QT_8bit
    index = native.IndexHNSWSQ(dimensions, kind, NEIGHBOURS, native.METRIC_INNER_PRODUCT)
    index.hnsw.efConstruction = BUILD_DEPTH
    return index


def coded(vectors: Vectors) -> Segment:
    """The vectors (n, dimensions) as codes, each dimension's range taken from them."""
    alone()
    index = empty_codes(vectors.shape[1])
    rows = np.ascontiguousarray(vectors, dtype=np.float32)
    index.train(rows)
    index.add(rows)
    return Segment(SQ8, index)


def opened(file: Path, name: str, header: dict[str, Any], scan_factor: float) -> Segment:
    """The segment in ``file``; raises RuntimeError where FAISS cannot read it, ValueError where it is another."""
    index: Any = faiss.read_index(str(file))
    kind = header["kind"]
    wanted = {SQ8: native.IndexScalarQuantizer, HNSW: native.IndexHNSWSQ}[kind]
    if not isinstance(index, wanted):
        raise ValueError(f"{file.name} is no index of the kind {kind}")  # noqa: TRY004 - of the file, not a type
    return Segment(kind, index, int(header["ef"]), header["recall"], scan_factor, name)
