"""The http scorer against servers that take exactly what each rerank API's documentation says."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from structlog.testing import capture_logs

from ragline import context
from ragline.encoder import PairClassifier
from ragline.errors import Internal, Overloaded, TimedOut, TooLarge, Unavailable
from ragline.http import create_app
from ragline.http.server import HttpServer
from ragline.settings import SettingsError, load
from services.reranker import probe
from services.reranker.__main__ import build
from services.reranker.scorers import Candidate, Parts
from services.reranker.scorers._calibration import calibrated
from services.reranker.scorers._open import open_scorer
from services.reranker.scorers._server import address
from services.reranker.settings import Settings
from tests.nginx.test_tls import make_certificate
from tests.reranker.dialects import KEY, SHAPES, app_of, classifying, cohere, overlap, tei
from tests.reranker.servers import Faults, serving

QUERY = "retry of lost messages"
TEXTS = ["The office opens at nine.", "A lost message comes later.", "The retry of a lost message.", "A message."]
PASSAGES = [Candidate(text) for text in TEXTS]
OPTIONS = {"shape": "cohere", "model": "words", "api_key": KEY}
TWICE = {"retries": 2}


@asynccontextmanager
async def opened(parts: Parts, **options: Any) -> AsyncIterator[Any]:
    scorer: Any = open_scorer("http", parts, options)
    try:
        yield scorer
    finally:
        await scorer.close()


@pytest.fixture(scope="module")
def upstream() -> Iterator[str]:
    """A server in Cohere's shape."""
    with serving(app_of(cohere)) as url:
        yield url


@pytest.fixture(scope="module")
def proxy(upstream: str) -> Iterator[tuple[str, Faults]]:
    """One before it."""
    made = Faults(upstream)
    with serving(made) as there:
        yield there, made


@pytest.fixture
def faults(proxy: tuple[str, Faults]) -> Faults:
    """What may go wrong on the way; nothing has happened yet."""
    made = proxy[1]
    made.plan, made.seen, made.most, made.arrived = [], [], 0, threading.Semaphore(0)
    return made


@pytest.fixture
def url(proxy: tuple[str, Faults]) -> str:
    """Where it may go wrong."""
    return proxy[0]


def changed(**entry: Any) -> Any:
    """A fault that changes the first result."""
    return lambda answer: {**answer, "results": [{**answer["results"][0], **entry}, *answer["results"][1:]]}


@pytest.mark.parametrize("shape", list(SHAPES))
async def test_each_shape(parts: Parts, shape: str) -> None:
    with serving(app_of(SHAPES[shape])) as there:
        async with opened(parts, url=there, shape=shape, model="words", api_key=KEY) as scorer:
            passages = [*PASSAGES, Candidate(" "), *PASSAGES * 20]
            scores = list(await scorer.score(QUERY, passages, None))
            assert await scorer.score(QUERY, [], None) == []
    expected = overlap(QUERY, [*TEXTS, ".", *TEXTS * 20])
    assert scores == pytest.approx(expected)
    if shape != "triton":
        assert calibrated(scorer, scores) == pytest.approx(expected)
    assert (scorer.name, scorer.pairwise) == ("http", True)


async def test_word_pieces_to_a_model(parts: Parts, classifier: Path) -> None:
    names = {"tokenizer": str(classifier), "output": "logits", "label": 1, "max_tokens": 64}
    with serving(app_of(classifying(classifier))) as there:
        options = {"url": there, "shape": "triton", "model": "pieces", "api_key": KEY, "tensors": names}
        async with opened(parts, **options) as scorer:
            scores = await scorer.score(QUERY, PASSAGES, None)
        async with opened(parts, **options | {"tensors": {**names, "output": ""}}) as scorer:
            with pytest.raises(Internal, match=r"outputs \['pooled', 'logits'\]; set tensors.output"):
                await scorer.score(QUERY, PASSAGES, None)
    own = PairClassifier.open(classifier, threads=1)
    expected = [float(own.score(own.tokenize(QUERY, [text]))[0, 0]) for text in TEXTS]
    assert list(scores) == pytest.approx(expected, abs=1e-5)


async def test_another_reranker(parts: Parts, tmp_path: Path) -> None:
    service = await build(load(Settings, data_dir=tmp_path, threads=1, scorer="overlap"))
    await service.start()
    server = HttpServer(create_app("there", [service.router], checks={}), "127.0.0.1", 0)
    there = await server.start()
    async with opened(parts, url=there, shape="ragline", model="overlap") as scorer:
        order = sorted(range(4), key=[-s for s in await scorer.score(QUERY, PASSAGES, None)].__getitem__)
    async with opened(parts, url=there, shape="ragline", model="other") as scorer:
        with pytest.raises(Unavailable, match="other"):
            await scorer.score(QUERY, PASSAGES, None)
        assert (scorer.pairwise, scorer.listwise) == (False, True)
        with pytest.raises(TooLarge, match="max_passages=1000"):
            await scorer.score(QUERY, PASSAGES * 300, None)
    await server.stop(0)
    await service.stop()
    assert order == sorted(range(4), key=lambda index: -overlap(QUERY, TEXTS)[index])


async def test_it_may_be_loaded_live(parts: Parts, upstream: str) -> None:
    async with opened(parts, url=upstream, **OPTIONS) as scorer:
        report = await probe.probe(scorer, probe.read(probe.FILE), limit_ms=60_000)
    assert report.right >= report.needed


@pytest.mark.parametrize("fault", [401, 404, "<html>", (429, {"retry-after": "60"}), changed(index=9)])
async def test_another_scorer_steps_in(tmp_path: Path, faults: Faults, url: str, fault: Any) -> None:
    faults.plan = [fault]
    options = {**OPTIONS, "url": url}
    settings = {"scorer": "http", "scorer_options": options, "extra_scorers": ["overlap"], "fallback": ["overlap"]}
    service = await build(load(Settings, data_dir=tmp_path, threads=1, budget_s=30, **settings))
    await service.start()
    server = HttpServer(create_app("here", [service.router], checks=service.checks), "127.0.0.1", 0)
    body = {"query": QUERY, "passages": TEXTS}
    async with httpx.AsyncClient(base_url=await server.start()) as client:
        answers = [(await client.post("/rerank", json=body)).json() for _ in range(2)]
        assert (await client.get("/readyz")).status_code == 200
    await server.stop(0)
    await service.stop()
    assert [(answer["scorer"], answer["degraded"]) for answer in answers] == [("overlap", ["http"]), ("http", [])]
    assert answers[0]["results"][0]["index"] == answers[1]["results"][0]["index"] == 2


async def test_many_passages_are_split_evenly(parts: Parts, faults: Faults, url: str) -> None:
    connection = {"max_concurrent": 2}
    async with opened(parts, url=url, **OPTIONS, max_passages=3, max_chars=20, connection=connection) as scorer:
        scores = await scorer.score(QUERY, [Candidate(text * 3) for text in TEXTS * 5], None)
    assert sorted(len(body["documents"]) for body in faults.seen) == [2, 3, 3, 3, 3, 3, 3]
    assert {len(text) for body in faults.seen for text in body["documents"]} == {20}
    assert list(scores) == pytest.approx(overlap(QUERY[:20], [(text * 3)[:20] for text in TEXTS * 5]))
    assert faults.most <= 2


@pytest.mark.parametrize(
    "fault", [(429, {"retry-after": "0.05"}), 429, 500, 502, (503, {"retry-after": "0"}), 504, 424, "cut"]
)
async def test_what_may_pass_is_tried_again(parts: Parts, faults: Faults, url: str, fault: Any) -> None:
    faults.plan = [fault, fault]
    async with opened(parts, url=url, **OPTIONS, connection=TWICE) as scorer:
        assert list(await scorer.score(QUERY, PASSAGES, None)) == pytest.approx(overlap(QUERY, TEXTS))
    assert len(faults.seen) == 3
    assert faults.seen[0] == faults.seen[2]


@pytest.mark.parametrize(
    ("fault", "error", "says"),
    [
        (429, Overloaded, "takes no more requests"),
        (503, Unavailable, "takes no more requests"),
        (500, Unavailable, "failed with status 500"),
        ("cut", Unavailable, "cannot be reached"),
    ],
)
async def test_tries_end(parts: Parts, faults: Faults, url: str, fault: Any, error: type, says: str) -> None:
    faults.plan = [fault] * 3
    async with opened(parts, url=url, **OPTIONS, connection=TWICE) as scorer:
        with pytest.raises(error, match=says):
            await scorer.score(QUERY, PASSAGES, None)
    assert len(faults.seen) == 3


async def test_a_pause_longer_than_the_deadline_is_not_waited_for(parts: Parts, faults: Faults, url: str) -> None:
    faults.plan = [(429, {"retry-after": "300"})]
    async with opened(parts, url=url, **OPTIONS, timeout_s=200) as scorer:
        with context.bind(timeout_s=100), pytest.raises(Overloaded) as caught:
            await scorer.score(QUERY, PASSAGES, None)
    assert caught.value.retry_after_s == 300
    assert len(faults.seen) == 1


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ("<html>hello</html>", "no JSON: <html>hello"),
        ('{"results": [{"index": 0, "relevance_score": NaN}]}', "no JSON"),
        ("{}", "it has no results"),
        ("[]", "it has no results"),
        ('{"results": 3}', "no list of results"),
        ('{"results": [3]}', "passage None of 4"),
        (changed(index=4), "passage 4 of 4"),
        (changed(index=-1), "passage -1 of 4"),
        (changed(index="0"), "passage '0' of 4"),
        (changed(index=True), "passage True of 4"),
        (changed(index=1), "two results for passage 1"),
        (changed(relevance_score=None), "the score None"),
        (changed(relevance_score="0.5"), "the score '0.5'"),
        (changed(relevance_score=True), "the score True"),
        (lambda answer: {"results": answer["results"][:3]}, "no result for passage"),
        (lambda answer: answer | {"results": answer["results"] + answer["results"][:1]}, "two results"),
    ],
)
async def test_garbage_is_refused_with_its_words(
    parts: Parts, faults: Faults, url: str, fault: Any, says: str
) -> None:
    faults.plan = [fault]
    async with opened(parts, url=url, **OPTIONS, connection=TWICE) as scorer:
        with pytest.raises(Internal) as caught:
            await scorer.score(QUERY, PASSAGES, None)
        assert says in caught.value.detail
        assert len(list(await scorer.score(QUERY, PASSAGES, None))) == 4
    assert len(faults.seen) == 2


async def test_an_endless_answer_is_cut_off(parts: Parts, faults: Faults, url: str) -> None:
    faults.plan = ["[" + "1," * 500_000]
    async with opened(parts, url=url, **OPTIONS, connection={"max_answer_mb": 0.5}) as scorer:
        with pytest.raises(Internal, match="max_answer_mb"):
            await scorer.score(QUERY, PASSAGES, None)


@pytest.mark.parametrize(
    ("status", "says"),
    [
        (404, "option url or model"),
        (405, "option url"),
        (302, "option url"),
        (413, "max_passages"),
        (400, "not now"),
    ],
)
async def test_what_only_the_operator_can_mend(
    parts: Parts, faults: Faults, url: str, status: int, says: str
) -> None:
    faults.plan = [status]
    async with opened(parts, url=url, **OPTIONS) as scorer:
        with pytest.raises(Unavailable, match=says):
            await scorer.score(QUERY, PASSAGES, None)
    assert len(faults.seen) == 1


async def test_a_field_that_the_server_does_not_know(parts: Parts, upstream: str) -> None:
    async with opened(parts, url=upstream, **OPTIONS, extra={"nonsense": 1}) as scorer:
        with pytest.raises(Unavailable, match=r"does not accept the request: .*nonsense"):
            await scorer.score(QUERY, PASSAGES, None)


async def test_too_slow(parts: Parts, faults: Faults, url: str) -> None:
    held = threading.Event()
    faults.plan = [held]
    async with opened(parts, url=url, **OPTIONS, timeout_s=0.2) as scorer:
        with pytest.raises(TimedOut, match=r"within 0.2 s; .* timeout_s"):
            await scorer.score(QUERY, PASSAGES, None)
        held.set()


async def test_a_server_that_is_away(parts: Parts) -> None:
    async with opened(parts, url="http://127.0.0.1:1", **OPTIONS) as scorer:
        with pytest.raises(Unavailable, match="cannot be reached"):
            await scorer.score(QUERY, PASSAGES, None)


async def test_no_more_than_the_bound_wait(parts: Parts, faults: Faults, url: str) -> None:
    held = threading.Event()
    faults.plan = [held] * 2
    connection = {"max_concurrent": 2, "max_waiting": 1}
    async with opened(parts, url=url, **OPTIONS, connection=connection) as scorer:
        under_way = [asyncio.create_task(scorer.score(QUERY, PASSAGES, None)) for _ in range(3)]
        await asyncio.to_thread(faults.arrived.acquire)
        with pytest.raises(Overloaded, match="max_waiting"):
            await scorer.score(QUERY, PASSAGES, None)
        held.set()
        assert all(
            list(scores) == pytest.approx(overlap(QUERY, TEXTS)) for scores in await asyncio.gather(*under_way)
        )
        assert len(list(await scorer.score(QUERY, PASSAGES, None))) == 4
    assert faults.most <= 2


async def test_who_leaves_frees_the_place(parts: Parts, faults: Faults, url: str) -> None:
    held = threading.Event()
    faults.plan = [held]
    async with opened(parts, url=url, **OPTIONS, connection={"max_concurrent": 1, "max_waiting": 0}) as scorer:
        left = asyncio.create_task(scorer.score(QUERY, PASSAGES, None))
        await asyncio.to_thread(faults.arrived.acquire)
        left.cancel()
        with pytest.raises(asyncio.CancelledError):
            await left
        assert len(list(await scorer.score(QUERY, PASSAGES, None))) == 4
        held.set()


async def test_a_wrong_key_is_named_and_never_shown(parts: Parts, url: str) -> None:
    wrong = "a-key-that-is-not-theirs"
    with capture_logs() as logs:
        async with opened(parts, url=url, shape="cohere", model="words", api_key=wrong) as scorer:
            with pytest.raises(Unavailable, match="option api_key or api_key_file is wrong") as caught:
                await scorer.score(QUERY, PASSAGES, None)
    assert "***" in str(logs)
    assert wrong not in str(logs) + caught.value.detail + scorer.fingerprint + repr(scorer.remote.key)


async def test_a_key_that_was_replaced_in_its_file(parts: Parts, url: str, tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("old\n")
    async with opened(parts, url=url, shape="cohere", model="words", api_key_file=str(file)) as scorer:
        with pytest.raises(Unavailable, match="api_key_file"):
            await scorer.score(QUERY, PASSAGES, None)
        file.write_text(f"{KEY}\n")
        both = await asyncio.gather(*(scorer.score(QUERY, PASSAGES, None) for _ in range(2)))
    assert [list(scores) for scores in both] == [pytest.approx(overlap(QUERY, TEXTS))] * 2


async def test_fingerprints(parts: Parts) -> None:
    base: dict[str, Any] = {"url": "http://a.test", "shape": "cohere", "model": "m"}
    others: list[dict[str, Any]] = [
        {"url": "http://b.test"},
        {"model": "n"},
        {"extra": {"max_tokens_per_doc": 9}},
        {"max_chars": 9},
    ]
    same: list[dict[str, Any]] = [
        {"api_key": "x"},
        {"headers": {"x-team": "a"}},
        {"timeout_s": 3},
        {"max_passages": 7},
    ]
    made: list[Any] = [open_scorer("http", parts, base | more) for more in [{}, *others, *same]]
    fingerprints = [scorer.fingerprint for scorer in made]
    assert len(set(fingerprints)) == 1 + len(others)
    assert set(fingerprints[1 + len(others) :]) == {fingerprints[0]}


async def test_certificates(parts: Parts, tmp_path: Path) -> None:
    make_certificate(tmp_path)
    files = {"ssl_keyfile": str(tmp_path / "key.pem"), "ssl_certfile": str(tmp_path / "cert.pem")}
    with serving(app_of(tei), **files) as there:
        options = {"url": there, "shape": "tei", "api_key": KEY}
        async with opened(parts, **options) as scorer:
            with pytest.raises(Unavailable, match="cannot be reached"):
                await scorer.score(QUERY, PASSAGES, None)
        for trusting in ({"ca_file": str(tmp_path / "cert.pem")}, {"verify": False}):
            async with opened(parts, **options, connection=trusting) as scorer:
                assert list(await scorer.score(QUERY, PASSAGES, None)) == pytest.approx(overlap(QUERY, TEXTS))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"url": "ftp://a.test"}, "http://"),
        ({"url": "a.test/rerank"}, "http://"),
        ({"url": "http://me@a.test"}, "api_key_file"),
        ({"url": "http://a.test:x"}, "url is no good"),
        ({"shape": "cohere", "model": ""}, "shape cohere needs the option model"),
        ({"shape": "square"}, "option 'shape'"),
        ({"api_key": " "}, "the key is empty"),
        ({"api_key_file": "/nowhere/key"}, "api_key_file cannot be read"),
        ({"api_key": "x", "api_key_file": "/nowhere/key"}, "both set"),
        ({"connection": {"retires": 1}}, "option 'retires'"),
        ({"connection": {"ca_file": "/nowhere/ca"}}, "ca_file /nowhere/ca"),
        ({"max_passages": 0}, "option 'max_passages'"),
        ({"shape": "triton", "model": "m", "tensors": {"tokenizer": "/nowhere"}}, "/nowhere"),
    ],
)
async def test_what_stops_the_start(parts: Parts, options: dict[str, Any], says: str) -> None:
    with pytest.raises(SettingsError) as caught:
        open_scorer("http", parts, {"url": "http://a.test", "shape": "tei"} | options)
    assert says in str(caught.value)


def test_a_url_with_a_path_is_taken_as_it_is() -> None:
    assert address("https://a.test", "/v2/rerank") == "https://a.test/v2/rerank"
    assert address("https://a.test/", "/v2/rerank") == "https://a.test/v2/rerank"
    assert address("https://a.test/x/rerank?v=1", "/v2/rerank") == "https://a.test/x/rerank?v=1"
