"""Whatever order writes arrive in, and however often: the store ends as if each had come once, in its place."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.retriever.stores import Store
from tests.retriever.milvus import open_for
from tests.retriever.parts import KEY, check, content, open_store

FILES = ("f", "g")


@dataclass(frozen=True)
class Write:
    """A document, a delete, or a file of many: ``members`` are its documents, and may be one of the file's id."""

    kind: str
    name: str
    members: tuple[str, ...] = ()
    version: int = 0

    def text(self, name: str) -> str:
        """What a document says; other writes may say the same."""
        return f"passage of {name} version{self.version}"


@dataclass(frozen=True)
class Message:
    """A call that a worker makes for the write with this number; ``settle`` comes when all members are stored."""

    seq: int
    write: Write
    name: str
    settle: bool = False


MEMBERS = {name: (name, f"{name}#1", f"{name}#2", f"{name}#3") for name in FILES}
VERSIONS = st.integers(0, 1)
SINGLES = st.builds(Write, st.just("single"), st.sampled_from(["x", *FILES]), version=VERSIONS)
DELETES = st.builds(Write, st.just("delete"), st.sampled_from(["x", *MEMBERS["f"], *MEMBERS["g"]]))
MANY = st.sampled_from(FILES).flatmap(
    lambda name: st.builds(
        Write,
        st.just("many"),
        st.just(name),
        st.lists(st.sampled_from(MEMBERS[name]), unique=True, max_size=3).map(tuple),
        VERSIONS,
    )
)


@st.composite
def deliveries(draw: st.DrawFn) -> tuple[list[Write], list[Message]]:
    """Writes in their order, and their messages in any: some twice, none lost."""
    writes = draw(st.lists(SINGLES | DELETES | MANY | MANY, min_size=2, max_size=7))
    upserts: list[Message] = []
    settles: list[Message] = []
    for seq, write in enumerate(writes, start=1):
        upserts += [
            Message(seq, write, name) for name in (write.members if write.kind == "many" else [write.name])
        ]
        settles += [Message(seq, write, write.name, settle=True)] * (write.kind == "many")
    again = draw(st.lists(st.sampled_from(upserts), max_size=4)) if upserts else []
    order = list(draw(st.permutations(upserts + again)))
    for settle in settles:  # once all of its own are stored, and perhaps once more
        last = max([0, *(at + 1 for at, each in enumerate(order) if each.seq == settle.seq and not each.settle)])
        for at in draw(st.lists(st.integers(last, len(order)), min_size=1, max_size=2)):
            order.insert(at, settle)
    return writes, order


def in_order(writes: Sequence[Write]) -> dict[str, tuple[str, int]]:
    """Text and number of each document after writes that came one after the other: what users expect."""
    held: dict[str, tuple[str, int]] = {}
    for seq, write in enumerate(writes, start=1):
        for name in MEMBERS.get(
            write.name, (write.name,)
        ):  # of what was there, the file's own goes or is replaced
            held.pop(name, None)
        names = {"single": (write.name,), "many": write.members, "delete": ()}[write.kind]
        held |= {name: (write.text(name), seq) for name in names}
    return held


async def deliver(store: Store, messages: Sequence[Message]) -> None:
    """Make the calls one by one."""
    for each in messages:
        write, seq = each.write, each.seq
        if write.kind == "delete":
            await store.delete(KEY, write.name, seq=seq)
        elif each.settle:
            await store.settle(KEY, write.name, write.members, seq=seq)
        else:
            made = content(each.name, [write.text(each.name)], uri=f"file:///{seq}")
            await store.upsert(KEY, made, seq=seq, container=write.name if write.kind == "many" else "")


@settings(max_examples=120, deadline=None)
@given(deliveries())
def test_any_delivery_ends_the_same(delivery: tuple[list[Write], list[Message]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        converge(open_store(Path(folder)), *delivery)


# Each takes half a second on milvus-lite; what differs from SQLite is tried by the contract, too.
@settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(deliveries())
def test_any_delivery_to_milvus_ends_the_same(
    request: pytest.FixtureRequest, delivery: tuple[list[Write], list[Message]]
) -> None:
    converge(open_for(request, Path()), *delivery)


def converge(store: Store, writes: Sequence[Write], messages: Sequence[Message]) -> None:
    """Deliver the messages, look at the store in every way, and close it."""
    expected = in_order(writes)
    with closing(store):
        asyncio.run(deliver(store, messages))
        found = {each.id: store.document(KEY, each.id, brief=True) for each in store.documents(KEY, 100, "")}
        assert {name: kept.seq for name, kept in found.items()} == {
            name: seq for name, (_, seq) in expected.items()
        }
        uris = [f"file:///{seq}" for seq in range(1, len(writes) + 1)]
        assert set(store.known_uris(uris)) == {f"file:///{seq}" for _, seq in expected.values()}
        check(store, {name: [text] for name, (text, _) in expected.items()})
