import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any

import httpx
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragline.errors import InvalidRequest
from ragline.http.body import MAX_DEPTH, check_json
from ragline.http.problems import MEDIA_TYPE
from tests.ragline.shop import client, listening, shop

JSON = {"content-type": "application/json"}
GOOD = b'{"documents":[{"text":"a"}]}'


def nested(depth: int) -> bytes:
    return b'{"documents":[{"text":"a","metadata":{"x":' + b"[" * depth + b"]" * depth + b"}}]}"


async def sent(content: Any, headers: Mapping[str, str] = JSON, **options: Any) -> httpx.Response:
    async with client(shop(**options)) as inside:
        return await inside.post("/documents", content=content, headers=dict(headers))


def is_problem(answer: httpx.Response, status: int, *words: str) -> None:
    assert answer.status_code == status
    assert answer.headers["content-type"] == MEDIA_TYPE
    problem = answer.json()
    assert problem["status"] == status
    assert problem["instance"] == answer.headers["x-request-id"]
    assert all(word in problem["detail"] for word in words), problem["detail"]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"{", ["line 1", "column"]),
        (b'{"documents":\n [}', ["line 2"]),
        (b'{"documents":[]}{', ["after"]),
        (b"nonsense", ["no valid JSON"]),
        (b'{"documents":[{"text":"a","metadata":{"x":NaN}}]}', ["no valid JSON"]),
        (b'{"documents":[{"text":"a","metadata":{"x":-Infinity}}]}', ["no valid JSON"]),
        (b"\xef\xbb\xbf" + GOOD, ["byte order mark"]),
        ('{"documents":[{"text":"ü"}]}'.encode("latin-1"), ["UTF-8"]),
        ('{"documents":[{"text":"a"}]}'.encode("utf-16"), ["no valid JSON"]),
        (b'{"documents":[{"text":"\\ud800"}]}', ["surrogate"]),
        (b'{"documents":[{"text":"a\x00b"}]}', ["no valid JSON"]),
        (nested(MAX_DEPTH), ["nested more than 64"]),
        (nested(1000), ["nested more than 64"]),
        (nested(200_000), ["depth"]),
        (b"[" * 200_000, ["depth"]),
        (b"", []),
    ],
)
async def test_json_that_is_none_is_refused_with_the_reason(body: bytes, words: list[str]) -> None:
    is_problem(await sent(body), 400, *words)


async def test_json_that_nests_a_little_is_taken() -> None:
    answer = await sent(nested(MAX_DEPTH - 10))
    assert answer.status_code == 200


@given(st.binary(max_size=200) | st.text().map(str.encode))
def test_no_bytes_crash_the_check(body: bytes) -> None:
    try:
        check_json(body)
    except InvalidRequest:
        return
    orjson.loads(body)


@pytest.mark.parametrize(
    ("headers", "words"),
    [
        ({"content-type": "text/plain"}, ["text/plain", "application/json"]),
        ({"content-type": "application/x-www-form-urlencoded"}, ["application/x-www-form-urlencoded"]),
        ({"content-type": "application/octet-stream"}, ["application/octet-stream"]),
        ({"content-type": "nonsense"}, []),
        ({}, ["none given"]),
        ({**JSON, "content-encoding": "gzip"}, ["gzip"]),
    ],
)
async def test_other_kinds_of_body_are_refused(headers: dict[str, str], words: list[str]) -> None:
    is_problem(await sent(GOOD, headers), 415, *words)


async def test_a_form_where_json_is_read_is_refused() -> None:
    async with client(shop()) as inside:
        is_problem(await inside.post("/documents", files={"a": b"x"}), 415, "multipart/form-data")


@pytest.mark.parametrize("kind", ["application/json; charset=utf-8", "APPLICATION/JSON", "application/vnd.x+json"])
async def test_json_goes_by_several_names(kind: str) -> None:
    assert (await sent(GOOD, {"content-type": kind})).status_code == 200


async def test_a_route_may_read_another_kind_up_to_a_limit_of_its_own() -> None:
    async def parts(size: int) -> AsyncIterator[bytes]:
        for _ in range(size // 1024):
            yield b"x" * 1024

    kind = {"content-type": "text/x-lines"}
    async with client(shop(max_body_mb=1)) as inside:
        for path in ("/lines", "/v1/lines"):
            answer = await inside.post(path, content=parts(2 << 20), headers=kind)
            assert answer.json() == {"bytes": 2 << 20}
            over = await inside.post(path, content=parts((2 << 20) + 1024), headers=kind)
            is_problem(over, 413, "SHOP_MAX_LINES_MB", "2 MB")
            is_problem(await inside.post(path, content=b"{}", headers=JSON), 415, "text/x-lines")
        is_problem(await inside.post("/documents", content=b"x", headers=kind), 415, "text/x-lines")


async def test_a_body_that_says_it_is_too_large_is_not_read() -> None:
    read = False

    async def chunks() -> AsyncIterator[bytes]:
        nonlocal read
        read = True
        yield b"x"

    headers = {**JSON, "content-length": str(2 << 20)}
    answer = await sent(chunks(), headers, max_body_mb=1)
    is_problem(answer, 413, "1 MB", "RAGLINE_MAX_BODY_MB")
    assert not read


async def test_a_body_that_turns_out_too_large_is_refused() -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(20):
            yield b" " * (100 << 10)

    is_problem(await sent(chunks(), max_body_mb=1), 413, "1 MB", "RAGLINE_MAX_BODY_MB")


async def test_a_form_that_turns_out_too_large_is_refused() -> None:
    async with client(shop(max_body_mb=1)) as inside:
        form = inside.build_request("POST", "/files", files={"files": ("big.bin", b"x" * (2 << 20))})
        content = form.read()

        async def chunks() -> AsyncIterator[bytes]:
            for at in range(0, len(content), 100 << 10):
                yield content[at : at + (100 << 10)]

        headers = {"content-type": form.headers["content-type"]}
        is_problem(await inside.post("/files", content=chunks(), headers=headers), 413, "1 MB")


async def test_a_form_within_the_limit_is_taken() -> None:
    async with client(shop(max_body_mb=1)) as inside:
        answer = await inside.post(
            "/files", files=[("files", ("a.txt", b"abc")), ("files", ("b.txt", b"x" * 90_000))]
        )
    assert answer.json() == {"a.txt": 3, "b.txt": 90_000}


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"--x\r\nbroken", "multipart/form-data; boundary=x"),
        (b"--x\r\n", "multipart/form-data"),
        (b"no form at all", "multipart/form-data; boundary=x"),
        (
            b'--x\r\nContent-Disposition: form-data; name="files"\r\n\r\na\r\n--x--\r\n',
            "multipart/form-data; boundary=x",
        ),
    ],
)
async def test_a_broken_form_is_refused(content: bytes, kind: str) -> None:
    async with client(shop()) as inside:
        is_problem(await inside.post("/files", content=content, headers={"content-type": kind}), 400)


@pytest.mark.parametrize("length", ["-1", "x", "1e3", "9" * 50])
async def test_a_length_that_is_no_number(length: str) -> None:
    answer = await sent(GOOD, {**JSON, "content-length": length})
    assert answer.status_code in {400, 413}
    assert answer.headers["content-type"] == MEDIA_TYPE


async def test_the_limit_holds_on_a_real_socket() -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(30):
            yield b" " * (100 << 10)
            await asyncio.sleep(0)

    async with listening(shop(max_body_mb=1)) as outside:
        is_problem(await outside.post("/documents", content=b" " * (3 << 20), headers=JSON), 413)
        is_problem(await outside.post("/documents", content=chunks(), headers=JSON), 413)
        assert (await outside.post("/documents", content=GOOD, headers=JSON)).status_code == 200


async def test_metadata_comes_back_as_it_was_sent() -> None:
    metadata = {"x": [1, 2.5, None, True, "ü", {"y": "\u2028"}]}
    answer = await sent(orjson.dumps({"documents": [{"text": "a", "metadata": metadata}]}))
    assert answer.json()["documents"] == [metadata]
