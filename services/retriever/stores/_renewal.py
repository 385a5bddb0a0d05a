"""Puts a new index of words in the place of one that is damaged or has grown, while writes and searches go on."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import structlog

from services.retriever.sparse import Damaged
from services.retriever.stores._held import Held
from services.retriever.stores._record import Record
from services.retriever.stores._rows import Change
from services.retriever.stores._texts import Texts
from services.retriever.stores._writer import Writer

SUFFIX = ".new"

log = structlog.get_logger(__name__)


class Renewal:
    """Builds beside the writer, which then only takes over what was written meanwhile."""

    def __init__(self, record: Record, writer: Writer) -> None:
        self.record = record
        self.writer = writer

    def words(self, held: Held) -> None:
        """Build the index of words anew from the record; raises Unavailable where the writer is gone."""
        texts, snapshot = held.texts, held.current  # held on to, so that nothing that dies from now on is purged
        folder = texts.folder.with_name(texts.folder.name + SUFFIX)
        try:
            texts.backend.build(folder, texts.reader.entries(snapshot.collection, 0)).close()
        except (Damaged, OSError) as fault:
            log.warning("index not built beside the other", folder=str(folder), why=str(fault))
            shutil.rmtree(folder, ignore_errors=True)
        self.write(held, lambda: replace(texts, folder, snapshot.generation, held.current.generation))
        shutil.rmtree(folder, ignore_errors=True)

    def vectors(self, held: Held) -> None:
        """Load vectors and word piece counts anew from the record; writes wait for it, searches do not."""
        self.write(held, lambda: None, vectors=True)

    def write(self, held: Held, work: Callable[[], None], *, vectors: bool = False) -> None:
        """Have the writer do something, and make the next generation of it, so that no cache keeps the old one."""

        def step(generations: dict[int, int]) -> tuple[None, Change]:
            identity = held.current.collection
            collection = next(each for each in self.record.collections() if each.id == identity)
            self.record.advance(identity, generations.setdefault(identity, collection.generation + 1))
            work()
            return None, Change(collection, switched=vectors)

        self.writer.submit(step, 0).result()


def replace(texts: Texts, folder: Path, built: int, generation: int) -> None:
    """Let ``texts`` go on with the index in ``folder``, built of all up to ``built``, or with a new one."""
    texts.close()
    try:
        shutil.rmtree(texts.folder, ignore_errors=True)
        folder.rename(texts.folder)
        index = texts.backend.open(texts.folder)
        texts.catch_up(index, built, generation)
        texts.index = index
    except (Damaged, OSError) as fault:
        log.warning("sparse index rebuilt from the record", collection=texts.collection, why=str(fault))
        texts.rebuild()
