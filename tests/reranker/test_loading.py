"""Loading beside a scorer that serves: what is good comes out tried, what is not is refused and leaves nothing."""

import asyncio
import gc
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ragline.errors import Conflict, InvalidRequest, RaglineError, Unavailable
from ragline.settings import SettingsError
from services.reranker import probe
from services.reranker.loading import Bounds, Loader
from services.reranker.scorers import Candidate, Parts
from services.reranker.scorers._open import open_scorer
from services.reranker.settings import Choice
from tests.reranker import broken, tiny

QUESTIONS = probe.read(probe.FILE)


def loader(parts: Parts, room: Callable[[], int | None] = lambda: None, **bounds: float) -> Loader:
    return Loader(parts, Bounds(**bounds), QUESTIONS, room)


def choice(scorer: str, **options: Any) -> Choice:
    return Choice(
        scorer=scorer if ":" in scorer or scorer.islower() else f"tests.reranker.broken:{scorer}", options=options
    )


def tiny_choice(folder: Path) -> Choice:
    return choice("cross_encoder", model=str(folder), runtime="onnxruntime")


async def test_a_good_one_comes_out_tried(parts: Parts) -> None:
    serving = open_scorer("overlap", parts, {"phrases": 0})
    loaded = await loader(parts).load(None, choice("overlap"), serving=serving)
    assert loaded.name == "overlap"
    assert loaded.report is not None
    assert loaded.report.right >= loaded.report.needed == 12
    assert loaded.report.agreement is not None
    assert loaded.report.agreement > 0.5
    assert loaded.report.serving_right
    assert await loaded.scorer.score("a", [Candidate("a")], None)


@pytest.mark.models
async def test_the_default_passes(parts: Parts, minilm: Path) -> None:
    loaded = await loader(parts).load("mine", choice("late_interaction", model=str(minilm)))
    assert loaded.name == "mine"
    assert loaded.report is not None
    assert loaded.report.right > 20
    await loaded.scorer.close()  # type: ignore[attr-defined]  # this one has it


@pytest.mark.parametrize("seed", range(3))
async def test_a_head_that_was_never_trained_is_refused(parts: Parts, tmp_path: Path, seed: int) -> None:
    folder = tiny.write(tmp_path / "model", seed=seed)
    with pytest.raises(InvalidRequest, match="puts the right passage first for"):
        await loader(parts).load(None, tiny_choice(folder))
    assert not threads("batcher-cross_encoder")
    loaded = await loader(parts).load(None, tiny_choice(folder), judged=False)
    assert loaded.report is None
    await loaded.scorer.close()  # type: ignore[attr-defined]


@pytest.mark.parametrize("seed", range(6))
async def test_guessing_is_refused(parts: Parts, seed: int) -> None:
    with pytest.raises(InvalidRequest, match="puts the right passage first for"):
        await loader(parts).load(None, choice("Guessing", seed=seed))


@pytest.mark.parametrize(
    ("scorer", "kind", "says"),
    [
        ("NotNumbers", InvalidRequest, "gives nan as a score"),
        ("TooFew", InvalidRequest, "gives 5 scores for 7 passages"),
        ("Restless", InvalidRequest, "other scores the second time"),
        ("ByPlace", InvalidRequest, "depend on the order of the passages"),
        ("Slow", InvalidRequest, "over RERANKER_PROBE_LIMIT_MS=10"),
        ("Hungry", Unavailable, "not enough memory"),
        ("Quitting", InvalidRequest, "raised SystemExit: 3"),
        ("FailsToStart", InvalidRequest, "raised ValueError: no such device"),
        ("Away", Unavailable, "The server of this scorer does not answer"),
        ("FailsToClose", InvalidRequest, "puts the right passage first"),
        ("Nobody", InvalidRequest, "has no Nobody"),
        (
            "tests.reranker.broken_import:X",
            InvalidRequest,
            "raised RuntimeError: this build is for another machine",
        ),
        ("no.such.module:X", InvalidRequest, "needs no, which is not installed"),
        ("nonsense", InvalidRequest, "none of the scorers"),
    ],
)
async def test_what_is_broken_is_refused(parts: Parts, scorer: str, kind: type[RaglineError], says: str) -> None:
    broken.CLOSED.clear()
    with pytest.raises(kind) as refused:
        await loader(parts, probe_limit_ms=10).load(None, choice(scorer))
    assert says in refused.value.detail
    assert f"The scorer {choice(scorer).scorer} is refused: " in refused.value.detail
    made = getattr(broken, scorer, None)
    if made is not None and issubclass(made, broken.Guessing) and scorer != "FailsToClose":
        assert [made.name] == broken.CLOSED


async def test_a_missing_file_is_named(parts: Parts, tmp_path: Path) -> None:
    folder = tiny.write(tmp_path / "model")
    (folder / "model.safetensors").unlink()
    with pytest.raises(InvalidRequest, match=r"model\.safetensors"):
        await loader(parts).load(None, tiny_choice(folder))
    with pytest.raises(InvalidRequest, match="nowhere"):
        await loader(parts).load(None, choice("cross_encoder", model=str(tmp_path / "nowhere")))


async def test_what_does_not_fit_is_not_read(parts: Parts, classifier: Path) -> None:
    tight = loader(parts, room=lambda: 100_000, memory_factor=3)
    with pytest.raises(Unavailable, match=r"RERANKER_LOAD_MEMORY_FACTOR=3.*0 MB are left"):
        await tight.load(None, tiny_choice(classifier))
    loaded = await loader(parts, room=lambda: 10_000_000).load(None, tiny_choice(classifier), judged=False)
    await loaded.scorer.close()  # type: ignore[attr-defined]


async def test_one_that_hangs_is_given_up_and_closed_when_it_wakes(parts: Parts) -> None:
    broken.UNTIL.clear()
    broken.CLOSED.clear()
    one = loader(parts, timeout_s=0.05)
    with pytest.raises(Unavailable, match=r"not ready within RERANKER_LOAD_TIMEOUT_S=0\.05"):
        await one.load(None, choice("Hanging"))
    assert one.loading is None
    assert one.opening == 1
    broken.UNTIL.set()
    await settled(lambda: bool(broken.CLOSED))
    assert one.opening == 0


async def test_too_many_that_hang_are_enough(parts: Parts) -> None:
    broken.UNTIL.clear()
    one = loader(parts, timeout_s=0.2)
    for _ in range(3):
        with pytest.raises(Unavailable, match="not ready"):
            await one.load(None, choice("Hanging"))
    with pytest.raises(Unavailable, match="restart the reranker"):
        await one.load(None, choice("overlap"))
    broken.UNTIL.set()
    await settled(lambda: not one.opening and not one.closing)
    one.claim("overlap")


async def test_one_at_a_time(parts: Parts) -> None:
    broken.UNTIL.clear()
    one = loader(parts)
    first = asyncio.create_task(one.load(None, choice("Hanging")))
    await settled(lambda: one.loading is not None)
    with pytest.raises(Conflict, match="Hanging is being loaded"):
        await one.load(None, choice("overlap"))
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    assert one.loading is None
    broken.UNTIL.set()
    await settled(lambda: not one.opening and not one.closing)


async def settled(done: Callable[[], bool]) -> None:
    """Wait for what another thread does."""
    async with asyncio.timeout(30):
        while not done():  # noqa: ASYNC110 - nothing of the kind tells when
            await asyncio.sleep(0.01)


def threads(name: str) -> list[threading.Thread]:
    gc.collect()
    return [thread for thread in threading.enumerate() if thread.name == name]


def test_the_bar_is_above_chance() -> None:
    assert probe.needed(QUESTIONS) == 12
    assert probe.needed(QUESTIONS[:3]) == 3
    assert {question.right for question in QUESTIONS} == set(range(5))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "holds no questions"),
        ("{", "line 1"),
        ('{"query": "a", "passages": ["b"], "right": 0}', "line 1"),
        ('{"query": "a", "passages": ["b", "c"], "right": 2}', "there is no passage 2"),
    ],
)
def test_questions_of_ones_own_are_checked(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "probes.jsonl").write_text(text)
    with pytest.raises(SettingsError, match=says):
        probe.read(tmp_path / "probes.jsonl")


def test_questions_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="RERANKER_PROBES="):
        probe.read(tmp_path / "none")
