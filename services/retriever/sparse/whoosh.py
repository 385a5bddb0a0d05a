"""BM25 by Whoosh, an index in pure Python, for small collections; needs the extra [whoosh]."""

from __future__ import annotations

import shutil
import struct
import threading
from collections.abc import Callable, Iterable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from whoosh import query as q
from whoosh.index import IndexError as WhooshIndexError
from whoosh.reading import ReaderClosed
from whoosh.searching import Searcher
from whoosh.writing import IndexingError

from services.retriever.sparse import Damaged, Entry, Parts, Rows, Scores
from services.retriever.sparse._analysis import analyzer, cut
from services.retriever.sparse._query import Phrase, QueryAnalysis, Terms
from services.retriever.sparse._whoosh_files import CHARACTERS, Bm25, Index, Writer, created, opened

WRITER_MB = 64
BUILD_MB = 256
GAP = " \0 "  # no term of a query, so that no phrase reaches from the title into the text
FAULTS = (OSError, ValueError, LookupError, struct.error, WhooshIndexError, IndexingError, ReaderClosed)

T = TypeVar("T")


def load(
    parts: Parts,
    *,
    title_boost: float = 0.5,
    section_boost: float = 0.5,
    phrase_boost: float = 2.0,
    together_boost: float = 0.5,
    k1: float = 1.2,
    b: float = 0.75,
) -> Whoosh:
    """The back end; the boosts are those of tantivy, ``k1`` and ``b`` those of BM25. It works in one thread."""
    boosts = {"title": title_boost, "section": section_boost, "text": 1.0}
    return Whoosh(boosts, phrase_boost, together_boost, Bm25(B=b, K1=k1))


class Whoosh:
    """Opens and builds indexes; see ``SparseBackend``."""

    # The terms are made by tantivy's analyzer, so that both back ends have the same.
    version = f"whoosh-{metadata.version('whoosh-reloaded')}-{metadata.version('tantivy')}-2"

    def __init__(self, boosts: dict[str, float], phrase_boost: float, together_boost: float, model: Bm25) -> None:
        self.boosts = boosts
        self.phrase_boost = phrase_boost
        self.together_boost = together_boost
        self.model = model
        self.analysis = QueryAnalysis()
        self.stemmed = analyzer()

    def open(self, folder: Path) -> WhooshIndex:
        """The index in ``folder``, its files checked against their checksums; raises Damaged."""
        return guarded(lambda: WhooshIndex(self, opened(folder)))

    def build(self, folder: Path, batches: Iterable[Sequence[Entry]]) -> WhooshIndex:
        """A new index in ``folder``, committed once, in place of whatever is there."""
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        index = guarded(lambda: created(folder))
        writer = guarded(lambda: Writer(index, BUILD_MB))
        for batch in batches:
            for entry in batch:
                writer.add_document(**self.document(entry))
        guarded(writer.commit)
        return guarded(lambda: WhooshIndex(self, index))

    def document(self, entry: Entry) -> dict[str, Any]:
        """An entry as Whoosh takes it: its terms with spaces between them."""
        made: dict[str, Any] = {"row": entry.row}
        characters, all_words = [], []
        for field, text in (("title", entry.title), ("section", entry.section), ("text", entry.text)):
            if text:
                parts = cut(text)
                made[field] = " ".join(self.stemmed.analyze(parts.words))
                all_words.append(made[field])
                characters.append(parts.characters)
        made["text"] = GAP.join(all_words)
        if any(characters):
            made[CHARACTERS] = " ".join(characters)
        return made


class WhooshIndex:
    """One collection's index; see ``Sparse``."""

    def __init__(self, backend: Whoosh, index: Index) -> None:
        self.backend = backend
        self.index = index
        self.current = WhooshSearcher(backend, index)

    def apply(self, removed: Iterable[int], added: Iterable[Entry]) -> None:
        """Delete, add, commit; what was replaced is removed once the manifest names what is there now."""
        entries, gone = list(added), list(removed)
        guarded(lambda: self.write(gone, entries))

    def write(self, removed: Sequence[int], added: Sequence[Entry]) -> None:
        """What ``apply`` does, with Whoosh's own errors."""
        documents = self.current.documents(removed)
        if not len(documents) and not added:
            return
        writer = Writer(self.index, WRITER_MB)
        try:
            for number in documents:
                writer.delete_document(number)
            for entry in added:
                writer.add_document(**self.backend.document(entry))
        except BaseException:
            writer.cancel()
            raise
        writer.commit()
        self.current = WhooshSearcher(self.backend, self.index)

    def searcher(self) -> WhooshSearcher:
        """The index as of the last commit."""
        return self.current

    def rows(self) -> Rows:
        """Every row, ascending, duplicates included."""
        return self.current.rows()

    def close(self) -> None:
        """Nothing is open but what searchers hold."""


class WhooshSearcher:
    """An immutable view of the index; see ``Searcher``. One thread at a time: Whoosh's readers have a place."""

    def __init__(self, backend: Whoosh, index: Index) -> None:
        self.backend = backend
        reader = index.reader()
        self.view = Searcher(reader, weighting=backend.model)
        self.lock = threading.Lock()
        column = reader.column_reader("row", translate=False) if reader.doc_count_all() else ()
        self.held = np.fromiter(column, dtype=np.int64, count=reader.doc_count_all())  # by document number
        self.live = np.array([not reader.is_deleted(i) for i in range(len(self.held))], dtype=np.bool_)

    def rows(self) -> Rows:
        """Every row, ascending, duplicates included."""
        return np.sort(self.held[self.live])

    def documents(self, rows: Sequence[int] | Rows) -> list[int]:
        """The numbers of the documents that hold these rows."""
        found: list[int] = np.flatnonzero(np.isin(self.held, rows) & self.live).tolist()
        return found

    def search(self, query: str, depth: int, only: Rows | None = None) -> tuple[Rows, Scores]:
        """The best rows for the query's terms; see ``Searcher``."""
        terms = self.backend.analysis.terms(query)
        if not terms or depth < 1 or not self.live.any():
            return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.float32)
        hits = self.hits(self.query(terms), depth, only)
        if not hits and terms.quotes and (only is None or not self.hits(self.query(terms), 1, None)):
            hits = self.hits(self.query(terms.unquoted()), depth, only)
        rows = self.held[[number for _, number in hits]]
        scores = np.array([score for score, _ in hits], dtype=np.float32)
        order = np.lexsort((rows, -scores))
        return rows[order], scores[order]

    def hits(self, asked: q.Query, depth: int, only: Rows | None) -> list[tuple[float, int]]:
        """Scores and document numbers of what matches best, of ``only`` these rows."""
        allowed = None if only is None else set(self.documents(only))
        if allowed is not None and not allowed:
            return []
        with self.lock:
            found = guarded(lambda: self.view.search(asked, limit=depth, filter=allowed))
            hits: list[tuple[float, int]] = found.top_n
        return hits

    def query(self, terms: Terms) -> q.Query:
        """All that is quoted, any of the words; what is written together adds to the score."""
        backend = self.backend
        words = [match for word in terms.words for match in self.matches((word,), 1.0)]
        words += [q.Term(CHARACTERS, each) for each in terms.characters]
        words += [match for phrase in terms.together for match in self.matches(phrase, backend.together_boost)]
        required = [q.Term(CHARACTERS, each) for each in terms.quoted_characters]
        required += [q.Or(self.matches(phrase, backend.phrase_boost)) for phrase in terms.quoted]
        return q.AndMaybe(q.And(required), q.Or(words)) if required else q.Or(words)

    def matches(self, phrase: Phrase, boost: float) -> list[q.Query]:
        """A word or a phrase in each field, weighted."""
        return [
            q.Term(field, phrase[0], boost=boost * weight)
            if len(phrase) == 1
            else q.Phrase(field, list(phrase), boost=boost * weight)
            for field, weight in self.backend.boosts.items()
        ]


def guarded(step: Callable[[], T]) -> T:
    """What ``step`` gives; raises Damaged for Whoosh's own errors."""
    try:
        return step()
    except FAULTS as error:
        raise Damaged(f"{type(error).__name__}: {error}") from error
