"""A hostile file takes down no more than itself."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ragline.errors import InvalidRequest, TooLarge, Unavailable, Unsupported
from ragline.settings import SettingsError
from services.preprocess.cut import CutDocument, CutOptions, Cutter
from services.preprocess.sandbox import Sandbox
from tests.preprocess.files import handbook_docx, pdf

# Chunkers of a third party, as a hostile file would have a parser behave.
HOSTILE = """
import os, signal

class Hostile:
    def __init__(self, parts):
        pass

    def chunk(self, text, headings, count_tokens):
        from services.preprocess.chunkers import Chunk

        if "loop" in text:
            while True:
                pass
        if "stop" in text:
            signal.pause()
        if "memory" in text:
            held = bytearray(8 * 2**30)
        if "killed" in text:
            os.kill(os.getpid(), signal.SIGKILL)
        if "fault" in text:
            raise KeyError("a bug")
        if "print" in text:
            print("noise on standard output", flush=True)
            os.write(1, b"more noise")
        if "pid" in text:
            return [Chunk(0, len(text), str(os.getpid()))]
        return [Chunk(0, len(text), str(os.nice(0)))]
"""


@pytest.fixture
async def hostile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Sandbox]:
    """One child whose chunker misbehaves when the text says so."""
    (tmp_path / "hostile_chunker.py").write_text(HOSTILE)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), str(Path.cwd())]))
    sandbox = Sandbox(CutOptions(chunker="hostile_chunker:Hostile"), processes=1, timeout_s=2.5, memory_mb=4096)
    yield sandbox
    await sandbox.close()


async def text(sandbox: Sandbox, words: str) -> CutDocument:
    [found] = await sandbox.cut(words.encode(), kind="text")
    assert isinstance(found, CutDocument)
    return found


async def test_it_cuts_as_the_cutter_does() -> None:
    options = CutOptions(max_tokens=40, overlap_tokens=8)
    sandbox = Sandbox(options, processes=2)
    await sandbox.start()
    try:
        for data, name in [
            (b"# Title\n\nSome text.  More text.\n\n## Part\n\nAnd an end.", "x.md"),
            (handbook_docx(), "x.docx"),
            (pdf([[("Hello page", 20), ("Words here.", 10)]] * 3), "x.pdf"),
            (b'{"id": "a", "text": "one", "metadata": {"k": [1, "x"]}}\n{"id": "b"}\n', "x.jsonl"),
        ]:
            assert await sandbox.cut(data, name=name) == Cutter(options).cut(data, name=name)
    finally:
        await sandbox.close()


async def test_errors_come_back_as_themselves() -> None:
    sandbox = Sandbox(CutOptions(max_text_chars=1000), processes=1)
    try:
        with pytest.raises(Unsupported, match="ELF"):
            await sandbox.cut(b"\x7fELF" + bytes(100))
        with pytest.raises(TooLarge, match="PREPROCESS_MAX_TEXT_CHARS"):
            await sandbox.cut(b"word " * 1000, kind="text")
        with pytest.raises(InvalidRequest, match="no text"):
            await sandbox.cut(b"")
    finally:
        await sandbox.close()


async def test_bad_options_stop_the_start(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="nosuch"):
        await Sandbox(CutOptions(chunker="nosuch")).start()


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("loop", r"within 2.5 s \(PREPROCESS_PARSE_TIMEOUT_S\)|processor time"),
        ("stop", r"within 2.5 s \(PREPROCESS_PARSE_TIMEOUT_S\)"),
        ("memory", "PREPROCESS_PARSE_MEMORY_MB"),
        ("killed", "killed"),
        ("fault", "parser failed"),
    ],
)
async def test_only_the_hostile_document_fails(hostile: Sandbox, words: str, reason: str) -> None:
    before = await text(hostile, "fine before")
    with pytest.raises(InvalidRequest, match=reason):
        await text(hostile, words)
    after = await text(hostile, "fine after")
    assert before.source == "fine before"
    assert after.source == "fine after"


async def test_others_wait_for_a_place_and_go_in(hostile: Sandbox) -> None:
    outcomes = await asyncio.gather(
        *(text(hostile, words) for words in ["a", "killed", "b", "fault", "c"]), return_exceptions=True
    )
    assert [isinstance(each, CutDocument) for each in outcomes] == [True, False, True, False, True]


async def test_what_libraries_print_is_no_answer(hostile: Sandbox) -> None:
    assert (await text(hostile, "print this")).source == "print this"


async def test_documents_give_way_to_queries(hostile: Sandbox) -> None:
    assert int((await text(hostile, "nice")).passages[0].section) >= 10


async def test_a_child_stays_warm_and_is_replaced_when_it_dies(hostile: Sandbox) -> None:
    first = (await text(hostile, "pid")).passages[0].section
    assert (await text(hostile, "pid")).passages[0].section == first
    os.kill(int(first), signal.SIGKILL)
    with pytest.raises(InvalidRequest):
        await text(hostile, "pid")
    assert (await text(hostile, "pid")).passages[0].section != first


async def test_a_caller_that_leaves_gives_its_place_back(hostile: Sandbox) -> None:
    await text(hostile, "warm")
    leaving = asyncio.create_task(text(hostile, "stop"))
    await asyncio.sleep(0)  # let it take its place
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    assert (await text(hostile, "next")).source == "next"


async def test_closing_ends_the_children(hostile: Sandbox) -> None:
    child = int((await text(hostile, "pid")).passages[0].section)
    await hostile.close()
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)
    with pytest.raises(Unavailable):
        await text(hostile, "late")
