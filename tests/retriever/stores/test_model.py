"""The embedded store against a model: random writes, in groups or alone, in any order, and restarts."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from services.retriever.stores import Upserted
from services.retriever.stores.embedded import EmbeddedStore
from tests.retriever.parts import KEY, check, content, open_store, open_tiered
from tests.retriever.stores.reference import Reference

NAMES = st.sampled_from(["a", "b", "c", "d"])
PLACES = st.sampled_from(["last", "next", "early", "again"])


class Model(RuleBasedStateMachine):
    """Every way of searching agrees with a dict, whatever was written, in whatever order, and however often."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.store = self.opened()
        self.model = Reference()
        self.spare = [asyncio.run(self.store.reserve(1))]  # taken, and not written with yet
        self.used = [asyncio.run(self.store.reserve(1))]
        self.model.taken(self.used[0])
        self.written = 0
        self.generation = 0

    def opened(self) -> EmbeddedStore:
        return open_store(self.folder, segment_rows=4)

    def texts(self, count: int) -> list[str]:
        self.written += 1
        return [f"passage {i} of write{self.written}" for i in range(count)]

    def seq(self, place: str) -> int:
        """A number for a write: none, the newest, an old one that no write had, or one of another write."""
        if place == "last":
            return 0
        if place == "again":
            return self.used[self.written % len(self.used)]
        if place == "next" or not self.spare:
            first = asyncio.run(self.store.reserve(3))
            assert first > max(self.used)
            self.model.taken(first + 2)
            self.spare.append(first)
            self.used.append(first + 2)
            return first + 2
        return self.spare.pop(self.written % len(self.spare))

    @rule(
        writes=st.lists(st.tuples(NAMES, st.integers(0, 5), PLACES, st.just("") | NAMES), min_size=1, max_size=6)
    )
    def upsert(self, writes: list[tuple[str, int, str, str]]) -> None:
        made = [(name, self.texts(count), self.seq(place), container) for name, count, place, container in writes]

        async def all_at_once() -> list[Upserted]:
            calls = [
                self.store.upsert(KEY, content(name, texts), seq=seq, container=container)
                for name, texts, seq, container in made
            ]
            return await asyncio.gather(*calls)

        for done, (name, texts, seq, container) in zip(asyncio.run(all_at_once()), made, strict=True):
            assert done.stale == self.model.upsert(name, texts, container, seq)

    @rule(name=NAMES, place=PLACES)
    def delete(self, name: str, place: str) -> None:
        seq = self.seq(place)
        self.used.append(seq or self.used[0])
        done = asyncio.run(self.store.delete(KEY, name, seq=seq))
        passages = self.model.delete(name, seq)
        if place in ("next", "early"):  # with a number of its own
            again = asyncio.run(self.store.delete(KEY, name, seq=seq))
            assert done.passages == again.passages == passages

    @rule(name=NAMES, kept=st.lists(NAMES, max_size=3), place=PLACES)
    def settle(self, name: str, kept: list[str], place: str) -> None:
        seq = self.seq(place)
        done = asyncio.run(self.store.settle(KEY, name, kept, seq=seq))
        assert done.stale == self.model.settle(name, kept, seq)

    @rule()
    def reopen(self) -> None:
        self.store.close()
        self.store = self.opened()

    @rule()
    def lose_the_sparse_index(self) -> None:
        self.store.close()
        shutil.rmtree(self.folder / "sparse", ignore_errors=True)
        self.store = self.opened()

    @invariant()
    def agrees(self) -> None:
        check(self.store, self.model.texts())
        assert self.store.view(KEY).generation >= self.generation
        self.generation = self.store.view(KEY).generation

    def teardown(self) -> None:
        self.store.close()
        shutil.rmtree(self.folder)


class TieredModel(Model):
    """The same with vectors in tiers, which are built and put in place while all this goes on."""

    def opened(self) -> EmbeddedStore:
        return open_tiered(self.folder)

    @rule()
    def wait_for_the_builder(self) -> None:
        assert self.store.builder.wait(30)

    @rule()
    def lose_the_dense_files(self) -> None:
        self.store.close()
        shutil.rmtree(self.folder / "dense", ignore_errors=True)
        self.store = self.opened()


BOUNDS = settings(max_examples=12, stateful_step_count=12, deadline=None)
TestModel = Model.TestCase
TestModel.settings = BOUNDS
TestTieredModel = TieredModel.TestCase
TestTieredModel.settings = BOUNDS
