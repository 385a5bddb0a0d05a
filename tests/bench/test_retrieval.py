"""The measurement of search at size, on a small scale: every engine answers, every figure comes out."""

from pathlib import Path

import numpy as np
import pytest

from bench.retrieval import invented, making, mixing, run, sources
from bench.retrieval.corpus import Corpus, nearest
from bench.retrieval.documents import allowed, contents, number
from bench.retrieval.measuring import Plan, ratio
from bench.retrieval.sources import Sources, Text
from ragline.evaluation import beir

PASSAGES = 2000


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return invented.make(tmp_path_factory.mktemp("corpus") / "made", PASSAGES, 20)


@pytest.mark.stack
def test_a_run_gives_every_figure_and_nothing_is_lost_between_the_engines(
    corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "RESULTS", tmp_path)
    rows, engines = run.whole(corpus, [], Plan(rounds=2, seconds=0.2))
    named = {row.name: row for row in rows}
    assert named["search: recall@10 of dense search"].value > 0.9
    assert named["search: written ones in the next search's answer"].value == 1
    assert named["search: deleted ones gone from the next search"].value == 1
    assert [row.holds for row in rows if "are allowed" in row.name] == [True] * 3
    assert all(f"| {name} |" in engines for name in ("service", "FAISS flat", "tantivy"))
    assert (tmp_path / f"retrieval-{PASSAGES}.json").exists()


def test_the_corpus_is_the_same_each_time(corpus: Corpus, tmp_path: Path) -> None:
    again = invented.make(tmp_path / "again", PASSAGES, 20)
    for name in ("passages.jsonl", "vectors.npy", "queries.jsonl", "query_vectors.npy", "nearest.npy"):
        assert (again.folder / name).read_bytes() == (corpus.folder / name).read_bytes(), name


def test_without_the_sets_it_is_invented_and_says_so(tmp_path: Path) -> None:
    made = making.corpus(100, 5, data=tmp_path / "nothing", cache=tmp_path / "cache")
    assert made.about["origin"] == invented.ORIGIN
    assert making.corpus(100, 5, data=tmp_path / "nothing", cache=tmp_path / "cache").folder == made.folder


def test_documents_are_numbered_and_chosen_as_the_corpus_is(corpus: Corpus) -> None:
    found = list(contents(corpus))
    numbers = [number(f"{each.document.id}#{n}") for each in found for n in range(len(each.passages))]
    assert numbers == list(range(PASSAGES))
    assert allowed(corpus, 1000).tolist() == list(range(1000))


def test_mixtures_are_of_what_no_question_is_judged_by() -> None:
    texts = [Text("", f"judged{n}") for n in range(3)] + [Text("", f"free{n} word") for n in range(5)]
    vectors = mixing.unit(np.random.default_rng(0).standard_normal((8, 4)).astype(np.float32))
    real, *mixed = making.blocks(Sources(texts, 3, []), vectors, 1500)
    assert len(real.texts) == 8
    assert sum(len(block.texts) for block in mixed) == 1492
    assert all("judged" not in text for block in mixed for _, text in block.texts)
    assert np.allclose(np.linalg.norm(mixed[0].vectors, axis=1), 1, atol=1e-5)


def test_questions_are_asked_only_where_all_their_answers_are_there() -> None:
    found = beir.Dataset(
        name="set",
        corpus={},
        queries={"a": "whole", "b": "cut"},
        gold={},
        judgements={"a": {"x": 1}, "b": {"x": 1, "y": 2}},
    )
    assert [asked.text for asked in sources.answerable(found, {"x": 7}, 5)] == ["whole"]


def test_the_exactly_nearest_are_found_over_blocks_and_under_a_filter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.retrieval.corpus.BLOCK", 7)
    vectors = mixing.unit(np.random.default_rng(1).standard_normal((50, 8)).astype(np.float32))
    expected = np.argsort(-(vectors @ vectors[3]))[:5]
    assert nearest(vectors, vectors[3:4], 5)[0].tolist() == expected.tolist()
    odd = np.arange(1, 50, 2)
    assert (
        nearest(vectors, vectors[3:4], 5, odd)[0].tolist()
        == [n for n in np.argsort(-(vectors @ vectors[3])).tolist() if n % 2][:5]
    )


def test_a_ratio_is_taken_within_each_round() -> None:
    assert ratio([2.0, 20.0, 2.2], [[1.0, 10.0, 1.0], [0.5, 1.0, 2.0]]) == 2.0
