"""An input is cut into chunks the same way however it comes in, and a file that is no use is refused by line."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragline.errors import InvalidRequest, RaglineError, TooLarge
from services.generator.batches import ids
from services.generator.batches.inputs import Bounds, Scanner, requests
from services.generator.batches.manifest import INPUT, Chunk, Manifest, new_id
from services.generator.batches.storage import Storage
from tests.generator.batches.places import line

SMALL = Bounds(lines=20, line_bytes=400, chunk_lines=3)


def scanned(data: bytes, bounds: Bounds = SMALL, size: int = 7) -> tuple[list[Chunk], Scanner]:
    scanner = Scanner(bounds)
    for at in range(0, len(data), size):
        scanner.feed(data[at : at + size])
    return scanner.end(), scanner


def refusal(data: bytes, bounds: Bounds = SMALL) -> RaglineError:
    with pytest.raises(RaglineError) as caught:
        scanned(data, bounds)
    return caught.value


def read(storage: Storage, data: bytes, chunks: list[Chunk]) -> list[tuple[int, bytes]]:
    batch = Manifest(new_id(), "default", 0.0, chunks)
    storage.write(f"{batch.folder}/{INPUT}", data)
    return [each for chunk in range(len(chunks)) for each in requests(storage, batch, chunk)]


def test_lines_keep_their_numbers(storage: Storage) -> None:
    data = (
        b"\xef\xbb\xbf" + line("a") + b"\r\n \n" + line("b").replace(b"\n", b"\r\n") + line("c") + line("d")[:-1]
    )
    chunks, scanner = scanned(data)
    assert [(number, json.loads(raw)["custom_id"]) for number, raw in read(storage, data, chunks)] == [
        (1, "a"),
        (4, "b"),
        (5, "c"),
        (6, "d"),
    ]
    assert [(chunk.first, chunk.lines) for chunk in chunks] == [(1, 3), (6, 1)]
    index = ids.packed(scanner.ids)
    assert [ids.find(index, name) for name in "abcd"] == [1, 4, 5, 6]
    assert ids.find(index, "e") is None


@given(
    st.lists(st.sampled_from([line("a"), b"\n", b"nonsense\n", b"  \r\n", line("ü" * 9)]), max_size=20), st.data()
)
def test_it_does_not_matter_where_the_parts_end(lines: list[bytes], data: st.DataObject) -> None:
    whole = line("first") + b"".join(lines)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=10)))
    scanner = Scanner(Bounds(chunk_lines=3))
    for start, end in zip([0, *cuts], [*cuts, len(whole)], strict=True):
        scanner.feed(whole[start:end])
    chunks = scanner.end()
    assert chunks == scanned(whole, Bounds(chunk_lines=3), len(whole))[0]
    rows = [raw.strip() for raw in whole.split(b"\n")]
    assert sum(chunk.lines for chunk in chunks) == len([raw for raw in rows if raw])
    for chunk in chunks:
        inside = whole[chunk.start : chunk.start + chunk.size].split(b"\n")
        assert len([raw for raw in inside if raw.strip()]) == chunk.lines
        assert inside[0].strip() == rows[chunk.first - 1]


def test_ids_that_come_again_are_noted() -> None:
    chunks, _ = scanned(line("a") + line("b") + line("b", "a") + line("c") + line("d", "b"))
    assert [list(chunk.repeated) for chunk in chunks] == [[3], [5]]


def test_a_chunk_is_bounded_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.generator.batches.inputs.CHUNK_BYTES", 150)
    chunks, _ = scanned(line("a" * 50) * 2 + line("b"), Bounds())
    assert [chunk.lines for chunk in chunks] == [1, 1, 1]


@pytest.mark.parametrize(
    ("data", "kind", "words"),
    [
        (b"", InvalidRequest, ["empty"]),
        (b"\n \n", InvalidRequest, ["empty"]),
        (b"\nnonsense\n[]", InvalidRequest, ["No line", "Line 2", "JSON"]),
        (
            line("a") + line("ü").decode().encode("latin-1").replace(b"\\u00fc", b"\xfc"),
            InvalidRequest,
            ["Line 2", "UTF-8"],
        ),
        (line("a") * 21, TooLarge, ["Line 21", "20", "GENERATOR_MAX_BATCH_LINES"]),
        (line("a") + line("b" * 400) + line("c"), TooLarge, ["Line 2", "GENERATOR_MAX_BATCH_LINE_KB"]),
        (line("a") + b"x" * 500, TooLarge, ["Line 2", "GENERATOR_MAX_BATCH_LINE_KB"]),
        (b"x" * 500 + b"\n", TooLarge, ["Line 1"]),
    ],
)
def test_a_file_that_is_no_use_is_refused(data: bytes, kind: type[RaglineError], words: list[str]) -> None:
    error = refusal(data)
    assert type(error) is kind
    assert all(word in error.detail for word in words), error.detail
