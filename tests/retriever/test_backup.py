"""Backups of real retrievers, which are written to, killed and left alone meanwhile."""

from __future__ import annotations

import asyncio
import os
import subprocess
from pathlib import Path

from ragline.errors import Overloaded
from ragline.grpc_client import call, stream
from ragline.v1 import retriever_pb2 as pb
from ragline.v1 import retriever_pb2_grpc
from tests.retriever.backups import document, fill, in_thread, kept, until
from tests.retriever.process import RAGLINE, Retriever, stub

WRITERS = 4


async def write_on(door: retriever_pb2_grpc.RetrieverAsyncStub, writer: int, done: list[int]) -> None:
    """One document after the other, for ever; ``done`` is how many each writer was told are in."""
    while True:
        await call(door.Upsert, document(f"{writer}-{done[writer]:04}"), timeout_s=60)
        done[writer] += 1


async def test_a_backup_is_of_one_moment_while_others_write(
    pair: tuple[Retriever, Retriever], tmp_path: Path
) -> None:
    one, two = pair
    done = [0] * WRITERS
    async with stub(one) as door:
        writers = [asyncio.create_task(write_on(door, n, done)) for n in range(WRITERS)]
        await until(lambda: asyncio.sleep(0, min(done) >= 10))
        for turn in range(2):
            before = list(done)
            status, said = await in_thread("backup", tmp_path / f"{turn}", "--retriever", one.address)
            assert status == 0, said
            after = list(done)
            status, said = await in_thread("restore", tmp_path / f"{turn}", "--retriever", two.address)
            assert status == 0, said
            held = sorted(await kept(two))
            for writer in range(WRITERS):
                own = [name for name in held if name.startswith(f"{writer}-")]
                assert own == [f"{writer}-{n:04}" for n in range(len(own))], (
                    "a later one is there, an earlier is not"
                )
                assert before[writer] <= len(own) <= after[writer] + 1
        for each in writers:
            each.cancel()
        await asyncio.gather(*writers, return_exceptions=True)


async def test_a_backup_that_is_cut_off_leaves_no_file(pair: tuple[Retriever, Retriever], tmp_path: Path) -> None:
    one, _ = pair
    long = [document(f"d{n}") for n in range(40)]
    for each in long:
        each.document.source = os.urandom(1 << 19).hex()  # so that it does not all fit into buffers on the way
    await fill(one, *long)
    file = tmp_path / "sub" / "backup"
    status, said = await in_thread("backup", file, "--retriever", one.address)
    assert (status, "cannot be written" in said) == (1, True), said
    file.parent.mkdir()
    file.write_bytes(b"the one before")
    one.pause()  # it is frozen, so nothing comes any more
    writing = await asyncio.create_subprocess_exec(
        RAGLINE, "backup", str(file), "--retriever", one.address, stderr=subprocess.PIPE
    )
    await asyncio.sleep(0)
    one.kill()
    _, said_last = await writing.communicate()
    assert writing.returncode == 1, said_last
    assert b"Traceback" not in said_last
    assert [each.name for each in file.parent.iterdir()] == ["backup"]
    assert file.read_bytes() == b"the one before"


async def test_an_export_that_nobody_reads_on_is_given_up_with_the_call(pair: tuple[Retriever, Retriever]) -> None:
    one, _ = pair
    await fill(one, *(document(f"d{n}") for n in range(200)))
    async with stub(one) as door:
        for _ in range(10):  # more than may run at once
            parts = door.Export(pb.ExportRequest())
            assert isinstance(await parts.read(), pb.Exported)
            parts.cancel()
        while True:
            try:
                taken = [part async for part in stream(door.Export, pb.ExportRequest(), timeout_s=60)]
            except Overloaded:  # the last of them is not quite gone
                await asyncio.sleep(0.01)
            else:
                break
    assert sum(part.HasField("document") for part in taken) == 200
