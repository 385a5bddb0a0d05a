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
from services.retriever.sparse._analysis import analyzer, cut
from services.retriever.sparse._query import Phrase, QueryAnalysis, Terms

ANALYZER = "ragline"
CHARACTERS = "characters"  # single ones of scripts without spaces
HEAP_BYTES = 64_000_000  # of a writer's thread; tantivy's least is 15 MB
BUILD_HEAP_BYTES = 128_000_000
ROWS_AT_ONCE = 65_536
MOST_BUCKETS = 50_000  # of an aggregation; tantivy's limit is 65,000
FAULTS = (OSError, ValueError, RuntimeError)  # what tantivy's binding raises

T = TypeVar("T")
Hit = tuple[float, tantivy.DocAddress]


def load(
    parts: Parts,
    *,
    title_boost: float = 0.5,
    section_boost: float = 0.5,
    phrase_boost: float = 2.0,
    together_boost: float = 0.5,
) -> Tantivy:
    """The back end; the text begins with title and section, and a match in these counts this much once more.

    A phrase in quotes counts ``phrase_boost`` of a word that is as rare, one that is merely written without
    spaces ``together_boost``, beside its words.
    """
    boosts = {"title": title_boost, "section": section_boost, "text": 1.0}
    return Tantivy(parts.threads, boosts, phrase_boost, together_boost)


class Tantivy:
    """Opens and builds indexes; see ``SparseBackend``."""

    version = f"tantivy-{metadata.version('tantivy')}-3"

    def __init__(self, threads: int, boosts: dict[str, float], phrase_boost: float, together_boost: float) -> None:
        self.threads = threads
        self.boosts = boosts
        self.phrase_boost = phrase_boost
        self.together_boost = together_boost
        self.analysis = QueryAnalysis()

    def open(self, folder: Path) -> TantivyIndex:
        """The index in ``folder``, its files checked against their checksums; raises Damaged."""
        integrity.check(folder, self.threads)
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
        return self.searcher().rows()

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

    def search(self, query: str, depth: int, only: Rows | None = None) -> tuple[Rows, Scores]:
        """The best rows for the query's terms; see ``Searcher``."""
        terms = self.backend.analysis.terms(query)
        depth = min(depth, self.view.num_docs)
        if not terms or depth < 1:
            return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.float32)
        hits = self.hits(self.query(terms), depth, only)
        if not hits and terms.quotes and (only is None or not self.hits(self.query(terms), 1, None)):
            hits = self.hits(self.query(terms.unquoted()), depth, only)
        rows = rows_of(self.view, [address for _, address in hits])
        scores = np.array([score for score, _ in hits], dtype=np.float32)
        order = np.lexsort((rows, -scores))
        return rows[order], scores[order]

    def hits(self, asked: tantivy.Query, depth: int, only: Rows | None) -> list[Hit]:
        """Scores and addresses of what matches best, of ``only`` these rows."""
        if only is not None:
            allowed = tantivy.Query.term_set_query(self.schema, "row", only.tolist())
            must = tantivy.Occur.Must
            asked = tantivy.Query.boolean_query(
                [(must, asked), (must, tantivy.Query.const_score_query(allowed, 0.0))]
            )
        return guarded(lambda: self.view.search(asked, depth, count=False)).hits

    def rows(self) -> Rows:
        """Every row, ascending, one that is there twice named twice; a range at a time, to bound the memory."""
        if not self.view.num_docs:
            return np.empty(0, dtype=np.int64)
        return np.concatenate([np.sort(self.between(*bucket)) for bucket in guarded(self.buckets)])

    def buckets(self) -> list[tuple[int, int, int]]:
        """Ranges that hold all rows: begin, end, how many it holds."""
        everything = tantivy.Query.all_query()
        most = self.view.aggregate(everything, {"most": {"max": {"field": "row"}}})["most"]["value"]
        width = max(ROWS_AT_ONCE, int(most) // MOST_BUCKETS + 1)
        histogram = {"field": "row", "interval": float(width), "min_doc_count": 1}
        found = self.view.aggregate(everything, {"rows": {"histogram": histogram}})["rows"]["buckets"]
        return [(int(each["key"]), int(each["key"]) + width, int(each["doc_count"])) for each in found]

    def between(self, begin: int, end: int, count: int) -> Rows:
        """The rows from ``begin`` to before ``end``, of which there are ``count``."""
        kind = tantivy.FieldType.Integer
        asked = tantivy.Query.range_query(self.schema, "row", kind, begin, end, include_upper=False)
        hits = guarded(lambda: self.view.search(asked, count, count=False)).hits
        return rows_of(self.view, [address for _, address in hits])

    def query(self, terms: Terms) -> tantivy.Query:
        """All that is quoted, any of the words; what is written together adds to the score."""
        backend = self.backend
        must, should = tantivy.Occur.Must, tantivy.Occur.Should
        words: list[tuple[Any, tantivy.Query]] = []
        for word in terms.words:
            words += [(should, match) for match in self.matches((word,), 1.0)]
        words += [(should, self.character(each)) for each in terms.characters]
        for phrase in terms.together:
            words += [(should, match) for match in self.matches(phrase, backend.together_boost)]
        required = [(must, self.character(each)) for each in terms.quoted_characters]
        for phrase in terms.quoted:
            fields = self.matches(phrase, backend.phrase_boost if len(phrase) > 1 else 0.0)
            required.append((must, tantivy.Query.boolean_query([(should, match) for match in fields])))
        return tantivy.Query.boolean_query(required + words)

    def matches(self, phrase: Phrase, boost: float) -> list[tantivy.Query]:
        """A word or a phrase in each field, weighted."""
        return [
            tantivy.Query.boost_query(
                tantivy.Query.term_query(self.schema, field, phrase[0], "freq")
                if len(phrase) == 1
                else tantivy.Query.phrase_query(self.schema, field, list(phrase)),
                boost * weight,
            )
            for field, weight in self.backend.boosts.items()
        ]

    def character(self, character: str) -> tantivy.Query:
        """A single character of an unspaced script, wherever it stands."""
        return tantivy.Query.term_query(self.schema, CHARACTERS, character, "freq")


def schema() -> tantivy.Schema:
    """The row as a fast field, three texts with positions, nothing stored."""
    builder = tantivy.SchemaBuilder()
    # Signed: a deletion by term is made of a signed term, which never meets an unsigned field.
    builder.add_integer_field("row", indexed=True, fast=True)
    for field in ("title", "section", "text"):
        builder.add_text_field(field, tokenizer_name=ANALYZER, index_option="position")
    builder.add_text_field(CHARACTERS, tokenizer_name="whitespace", index_option="freq")
    return builder.build()


def document(entry: Entry) -> tantivy.Document:
    """An entry as tantivy takes it."""
    made = tantivy.Document()
    made.add_integer("row", entry.row)
    for field, text in (("title", entry.title), ("section", entry.section), ("text", entry.text)):
        if text:
            parts = cut(text)
            made.add_text(field, parts.words)
            if field != "text":
                made.add_text("text", parts.words)  # with a gap after it that no phrase bridges
            if parts.characters:
                made.add_text(CHARACTERS, parts.characters)
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
