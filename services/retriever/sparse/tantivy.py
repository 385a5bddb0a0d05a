"""BM25 by tantivy: ids only in the index, queries built from terms, never parsed."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import tantivy

from services.retriever.sparse import Damaged, Entry, Parts, Rows, Scores
from services.retriever.sparse import _integrity as integrity
from services.retriever.sparse._analysis import QueryAnalysis, Terms, analyzer, prepared

ANALYZER = "ragline"
HEAP_BYTES = 64_000_000  # of a writer's thread; tantivy's least is 15 MB
BUILD_HEAP_BYTES = 128_000_000
FAULTS = (OSError, ValueError, RuntimeError)  # what tantivy's binding raises

T = TypeVar("T")


def load(
    parts: Parts, *, title_boost: float = 0.5, section_boost: float = 0.5, phrase_boost: float = 2.0
) -> Tantivy:
    """The back end; a match in the title or section counts this much of one in the text."""
    return Tantivy(parts.threads, {"title": title_boost, "section": section_boost, "text": 1.0}, phrase_boost)


class Tantivy:
    """Opens and builds indexes; see ``SparseBackend``."""

    version = f"tantivy-{metadata.version('tantivy')}-1"

    def __init__(self, threads: int, boosts: dict[str, float], phrase_boost: float) -> None:
        self.threads = threads
        self.boosts = boosts
        self.phrase_boost = phrase_boost

    def open(self, folder: Path) -> TantivyIndex:
        """The index in ``folder``, its files checked against their checksums; raises Damaged."""
        integrity.check(folder)
        return TantivyIndex(self, guarded(lambda: tantivy.Index(schema(), path=str(folder), reuse=True)))

    def build(self, folder: Path, batches: Iterable[Sequence[Entry]]) -> TantivyIndex:
        """A new index in ``folder``, committed once, in place of whatever is there."""
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        index = guarded(lambda: tantivy.Index(schema(), path=str(folder), reuse=False))
        built = TantivyIndex(self, index)
        writer = guarded(lambda: index.writer(BUILD_HEAP_BYTES, self.threads))
        for batch in batches:
            for entry in batch:
                writer.add_document(document(entry))
        guarded(writer.commit)
        guarded(writer.wait_merging_threads)  # lets the lock go, too
        guarded(index.reload)
        return built


class TantivyIndex:
    """One collection's index; see ``Sparse``. The writer is opened at the first write."""

    def __init__(self, backend: Tantivy, index: tantivy.Index) -> None:
        self.backend = backend
        self.index = index
        self.writer: tantivy.IndexWriter | None = None
        index.register_tokenizer(ANALYZER, analyzer())
        guarded(index.reload)

    def apply(self, removed: Iterable[int], added: Iterable[Entry]) -> None:
        """Delete, add, commit, reload."""
        guarded(lambda: self.write(removed, added))

    def write(self, removed: Iterable[int], added: Iterable[Entry]) -> None:
        """What ``apply`` does, with tantivy's own errors."""
        if self.writer is None:
            self.writer = self.index.writer(HEAP_BYTES, 1)
        for row in removed:
            self.writer.delete_documents_by_term("row", row)
        for entry in added:
            self.writer.add_document(document(entry))
        self.writer.commit()
        self.index.reload()

    def searcher(self) -> TantivySearcher:
        """The index as of the last commit."""
        return TantivySearcher(self.backend, self.index.schema, guarded(self.index.searcher))

    def rows(self) -> Rows:
        """Every row, ascending, duplicates included."""
        searcher = guarded(self.index.searcher)
        if searcher.num_docs == 0:
            return np.empty(0, dtype=np.int64)
        found = guarded(lambda: searcher.search(tantivy.Query.all_query(), searcher.num_docs, count=False))
        return np.sort(rows_of(searcher, [address for _, address in found.hits]))

    def close(self) -> None:
        """End the writer's threads and let its lock go."""
        if self.writer is not None:
            writer, self.writer = self.writer, None
            guarded(writer.wait_merging_threads)


class TantivySearcher:
    """An immutable view of the index; see ``Searcher``."""

    def __init__(self, backend: Tantivy, schema: tantivy.Schema, searcher: tantivy.Searcher) -> None:
        self.backend = backend
        self.schema = schema
        self.view = searcher
        self.analysis = QueryAnalysis()

    def search(self, query: str, depth: int, only: Rows | None = None) -> tuple[Rows, Scores]:
        """The best rows for the query's terms; see ``Searcher``."""
        terms = self.analysis.terms(query)
        depth = min(depth, self.view.num_docs)
        if not terms.words or depth < 1:
            return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.float32)
        asked = self.query(terms)
        if only is not None:
            allowed = tantivy.Query.term_set_query(self.schema, "row", only.tolist())
            must = tantivy.Occur.Must
            asked = tantivy.Query.boolean_query(
                [(must, asked), (must, tantivy.Query.const_score_query(allowed, 0.0))]
            )
        hits = guarded(lambda: self.view.search(asked, depth, count=False)).hits
        rows = rows_of(self.view, [address for _, address in hits])
        scores = np.array([score for score, _ in hits], dtype=np.float32)
        order = np.lexsort((rows, -scores))
        return rows[order], scores[order]

    def query(self, terms: Terms) -> tantivy.Query:
        """Any of the terms in any field, weighted; a phrase adds to the score of what holds it as it stands."""
        should = tantivy.Occur.Should
        parts: list[tuple[Any, tantivy.Query]] = []
        for field, boost in self.backend.boosts.items():
            matches = [tantivy.Query.term_query(self.schema, field, word, "freq") for word in terms.words]
            matches += [
                tantivy.Query.boost_query(
                    tantivy.Query.phrase_query(self.schema, field, list(phrase)), self.backend.phrase_boost
                )
                for phrase in terms.phrases
            ]
            parts += [(should, tantivy.Query.boost_query(match, boost)) for match in matches]
        return tantivy.Query.boolean_query(parts)


def schema() -> tantivy.Schema:
    """The row as a fast field, three texts with positions, nothing stored."""
    builder = tantivy.SchemaBuilder()
    # Signed: a deletion by term is made of a signed term, which never meets an unsigned field.
    builder.add_integer_field("row", indexed=True, fast=True)
    for field in ("title", "section", "text"):
        builder.add_text_field(field, tokenizer_name=ANALYZER, index_option="position")
    return builder.build()


def document(entry: Entry) -> tantivy.Document:
    """An entry as tantivy takes it."""
    made = tantivy.Document()
    made.add_integer("row", entry.row)
    for field, text in (("title", entry.title), ("section", entry.section), ("text", entry.text)):
        if text:
            made.add_text(field, prepared(text, single=True))
    return made


def rows_of(searcher: tantivy.Searcher, addresses: list[tantivy.DocAddress]) -> Rows:
    """The rows of hits, from the fast field: stored documents would cost more than the search."""
    return np.array(guarded(lambda: searcher.fast_field_values("row", addresses)), dtype=np.int64)


def guarded(step: Callable[[], T]) -> T:
    """What ``step`` gives; raises Damaged for tantivy's own errors, its panics included."""
    try:
        return step()
    except FAULTS as error:
        raise Damaged(str(error)) from error
    except BaseException as error:
        # A panic in Rust arrives as a BaseException of a class that cannot be imported.
        if type(error).__name__ != "PanicException":
            raise
        raise Damaged(f"tantivy panicked: {error}") from error
