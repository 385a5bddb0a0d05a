"""How Whoosh's files are written here: each named once, checksummed, removed only once nothing needs it."""

from __future__ import annotations

import math
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from whoosh import analysis, columns, fields
from whoosh.codec.whoosh3 import W3Codec, W3Segment
from whoosh.filedb.filestore import FileStorage
from whoosh.index import TOC, FileIndex
from whoosh.scoring import BM25F
from whoosh.writing import SegmentWriter

from services.retriever.sparse import Damaged
from services.retriever.sparse import _manifest as manifest

CHARACTERS = "characters"  # single ones of scripts without spaces
INDEX = "MAIN"
TABLE = ".toc"


def schema() -> fields.Schema:
    """The row as a column, three texts with positions, nothing stored."""
    terms = analysis.RegexTokenizer(r"\S+")
    texts = {name: fields.TEXT(analyzer=terms, phrase=True) for name in ("title", "section", "text")}
    characters = fields.TEXT(analyzer=terms, phrase=False)
    return fields.Schema(row=fields.COLUMN(columns.NumericColumn("q", default=-1)), characters=characters, **texts)


class Bm25(BM25F):  # type: ignore[misc]  # Whoosh has no types
    """BM25 with the inverse document frequency of Lucene and tantivy, which is never negative."""

    def idf(self, searcher: Any, fieldname: str, text: bytes) -> float:
        """How much a term tells."""
        whole = searcher.get_parent()
        holding = whole.doc_frequency(fieldname, text)
        return math.log(1 + (whole.doc_count_all() - holding + 0.5) / (holding + 0.5))


class Folder(FileStorage):  # type: ignore[misc]  # Whoosh has no types
    """A folder whose temporary files lie inside: Whoosh's own place for them is one for all its indexes."""

    def temp_storage(self, name: str | None = None) -> FileStorage:
        """A new folder for the postings of a commit under way."""
        return FileStorage(str(Path(self.folder) / f"{secrets.token_hex(8)}.tmp")).create()


class Codec(W3Codec):  # type: ignore[misc]  # Whoosh has no types
    """Whoosh's format, with names of segments that do not hang on the seed of ``random``."""

    def new_segment(self, storage: FileStorage, indexname: str) -> W3Segment:
        """A segment with a name of its own."""
        return W3Segment(self, indexname, segid=secrets.token_hex(8))


class Index(FileIndex):  # type: ignore[misc]  # Whoosh has no types
    """An index at the generation that its manifest names, whatever a commit that was cut short left beside it."""

    def __init__(self, folder: Path, generation: int) -> None:
        # Not FileIndex's own: that reads the newest table of contents, whole or not.
        self.storage = Folder(str(folder))
        self.indexname = INDEX
        self.generation = generation
        self._schema = None

    def _read_toc(self) -> TOC:
        """The table of contents."""
        return TOC.read(self.storage, self.indexname, gen=self.generation)


def opened(folder: Path) -> Index:
    """The index in ``folder``, its files checked; changes nothing. Raises Damaged and Whoosh's own errors."""
    known = manifest.read(folder)
    known.check(folder)
    tables = [name for name in known.files if name.endswith(TABLE)]
    if len(tables) != 1:
        raise Damaged("the manifest names no table of contents")
    return Index(folder, int(tables[0].removesuffix(TABLE).rpartition("_")[2]))


def created(folder: Path) -> Index:
    """A new index, which is none before its first commit."""
    TOC.create(Folder(str(folder)), schema(), INDEX)
    return Index(folder, 0)


class Writer(SegmentWriter):  # type: ignore[misc]  # Whoosh has no types
    """Commits by the manifest: a crash before it is renamed leaves the index as it was, complete."""

    def __init__(self, index: Index, memory_mb: int) -> None:
        self.folder = Path(index.storage.folder)
        self.manifest = manifest.Manifest({})
        if index.generation:
            self.manifest = manifest.read(self.folder)
            self.manifest.sweep(self.folder)
        super().__init__(index, codec=Codec(), limitmb=memory_mb)
        self.index = index

    def commit(self, **options: Any) -> None:
        """Finish, and remove what is not of the index any more."""
        super().commit(**options)
        self.index.generation = self.generation
        self.manifest.sweep(self.folder)

    def _commit_toc(self, segments: Sequence[W3Segment]) -> None:
        """Write the table of contents, then the manifest that makes it count."""
        TOC(self.schema, segments, self.generation).write(self.storage, self.indexname)
        names = [f"_{self.indexname}_{self.generation}{TABLE}"]
        for segment in segments:
            names += segment.list_files(self.storage)
        self.manifest = manifest.made(self.folder, names, self.manifest.files)
        self.manifest.write(self.folder)
