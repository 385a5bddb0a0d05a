"""Restore and migrate between real retrievers, which serve, are written to and are killed meanwhile."""

from __future__ import annotations

import asyncio
import json
import subprocess
from pathlib import Path

import pytest

from ragline.grpc_client import call
from ragline.v1 import retriever_pb2 as pb
from ragline.v1 import retriever_pb2_grpc
from tests.retriever.backups import document, fill, in_thread, kept, names, until
from tests.retriever.process import RAGLINE, Retriever, stub


async def test_what_is_restored_is_what_was_backed_up(pair: tuple[Retriever, Retriever], tmp_path: Path) -> None:
    one, two = pair
    file = tmp_path / "all.backup"
    members = [document(f"file#{n}") for n in range(3)]
    for member in members:
        member.container = "file"
    await fill(one, *(document(f"d{n}", n) for n in range(40)), *members)
    await fill(one, document("elsewhere", collection="other"), document("theirs", tenant="t2"))
    status, said = await in_thread("backup", file, "--retriever", one.address)
    assert (status, "45 documents of 3 collections" in said) == (0, True), said
    # It goes into one that has some of it, some of it otherwise, and more.
    more = [document("d1", 1), document("d2", 9), document("extra"), document("file")]
    await fill(two, *more, document("z", tenant="t3"))
    status, said = await in_thread("restore", file, "--retriever", two.address, "--json")
    assert status == 0, said
    done = {each["tenant"] + "/" + each["collection"]: each for each in json.loads(said)}
    assert (done["default/default"]["documents"], done["default/default"]["deleted"]) == (43, 2)
    assert done["default/default"]["written"] == 42
    for where in ({}, {"collection": "other"}, {"tenant": "t2"}):
        assert await kept(two, **where) == await kept(one, **where)
    assert list(await kept(two, tenant="t3")) == ["z"]
    assert (await in_thread("verify", "--retriever", two.address))[0] == 0
    # What came after the backup goes; what is as it was is left alone.
    await fill(two, document("late"))
    status, said = await in_thread("restore", file, "--retriever", two.address)
    assert (status, "0 written, 1 deleted" in said) == (0, True), said
    # Another name beside it.
    status, said = await in_thread(
        "restore", file, "--tenant", "default", "-c", "default", "--into", "copy", "--retriever", two.address
    )
    assert status == 0, said
    assert await kept(two, collection="copy") == await kept(one)


async def test_what_is_written_during_a_restore_wins_and_is_told(
    pair: tuple[Retriever, Retriever], tmp_path: Path
) -> None:
    one, two = pair
    file = tmp_path / "backup"
    await fill(one, *(document(f"d{n:03}") for n in range(120)))
    assert (await in_thread("backup", file, "--retriever", one.address))[0] == 0
    restoring = asyncio.create_task(in_thread("restore", file, "--retriever", two.address))
    async with stub(two) as door:
        await until(lambda: holds(door, 5))
        await call(door.Upsert, document("newer"), timeout_s=60)
        await call(door.Upsert, document("d000", 2), timeout_s=60)
    status, said = await restoring
    held = await kept(two)
    assert held["d000"].document.content_hash == "d000:2"
    assert {"newer", "d119"} <= set(held)
    assert (status, "2 documents are not as in" in said) == (1, True), said


async def holds(door: retriever_pb2_grpc.RetrieverAsyncStub, count: int) -> bool:
    return len(await names(door)) >= count


async def has(door: retriever_pb2_grpc.RetrieverAsyncStub, name: str) -> bool:
    return name in await names(door)


@pytest.mark.parametrize("victim", ["retriever", "restore"])
async def test_a_restore_that_was_killed_is_done_again(
    pair: tuple[Retriever, Retriever], tmp_path: Path, victim: str
) -> None:
    one, two = pair
    file = tmp_path / "backup"
    await fill(one, *(document(f"d{n:03}") for n in range(120)))
    await fill(two, *(document(f"d{n:03}", 5) for n in range(30)), document("extra"))
    assert (await in_thread("backup", file, "--retriever", one.address))[0] == 0
    restoring = await asyncio.create_subprocess_exec(
        RAGLINE, "restore", str(file), "--retriever", two.address, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    async with stub(two) as door:
        await until(lambda: has(door, "d040"))
    if victim == "retriever":
        two.kill()
        _, said = await restoring.communicate()
        assert restoring.returncode == 1
        assert b"Traceback" not in said
        two.start()
        await asyncio.to_thread(two.wait_for, 200)
    else:
        restoring.kill()
        await restoring.communicate()
    status, said_again = await in_thread("restore", file, "--retriever", two.address)
    assert status == 0, said_again
    assert await kept(two) == await kept(one)
    assert (await in_thread("verify", "--retriever", two.address))[0] == 0


async def test_migrate_copies_and_says_what_differs(pair: tuple[Retriever, Retriever]) -> None:
    one, two = pair
    ways = ("migrate", "--from", one.address, "--to", two.address)
    status, said = await in_thread(*ways)
    assert (status, "It holds no such collection" in said) == (1, True), said
    await fill(one, *(document(f"d{n}") for n in range(30)))
    status, said = await in_thread(*ways)
    assert (status, "30 written, 0 deleted" in said, "checksums agree" in said) == (0, True, True), said
    assert await kept(two) == await kept(one)
    # Again: only what changed meanwhile is written.
    await fill(one, document("d3", 2), document("new"))
    async with stub(one) as door:
        await call(door.Delete, pb.DeleteRequest(document_id="d4"), timeout_s=60)
    status, said = await in_thread(*ways)
    assert (status, "2 written, 1 deleted" in said) == (0, True), said
    assert await kept(two) == await kept(one)


async def test_a_collection_of_another_embedder_is_refused_before_anything_is_written(
    pair: tuple[Retriever, Retriever], tmp_path: Path
) -> None:
    one, two = pair
    other = document("other")
    other.fingerprint = "another"
    await fill(one, document("a", collection="first"), document("d"))
    await fill(two, other)
    assert (await in_thread("backup", tmp_path / "b", "--retriever", one.address))[0] == 0
    status, said = await in_thread("restore", tmp_path / "b", "--retriever", two.address)
    assert status == 1
    assert "'another'" in said
    assert "ragline reembed" in said
    assert "--into" in said
    assert list(await kept(two)) == ["other"]
    async with stub(two) as door:
        described = await call(door.Describe, pb.DescribeRequest(), timeout_s=60)
    assert [each.collection for each in described.collections] == ["default"]
