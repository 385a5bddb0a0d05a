"""One ranking of several: by ranks, the question's own counting most."""

from ragline.v1.passage_pb2 import Passage
from ragline.v1.retriever_pb2 import Hit, SearchResult
from services.generator.fusing import fuse


def result(*ids: str, score: float = 1.0) -> SearchResult:
    hits = [Hit(passage=Passage(id=each), score=score, dense_score=score) for each in ids]
    return SearchResult(hits=hits)


def order(fused: SearchResult) -> list[str]:
    return [hit.passage.id for hit in fused.hits]


def test_what_all_found_comes_before_what_one_found() -> None:
    fused = fuse([result("a", "b", "c"), result("b", "d", "a")], 10)
    assert order(fused) == ["a", "b", "c", "d"]
    assert fused.hits[0].score > fused.hits[1].score > fused.hits[2].score
    assert order(fuse([result("a", "b"), result("b")], 10, other=1.0)) == ["b", "a"]


def test_a_hit_keeps_the_scores_of_the_question_itself() -> None:
    fused = fuse([result("a", score=0.9), result("a", "b", score=0.2)], 10)
    assert [round(hit.dense_score, 3) for hit in fused.hits] == [0.9, 0.2]


def test_it_is_cut_to_what_was_asked_for() -> None:
    assert order(fuse([result("a", "b"), result("c")], 2)) == ["a", "b"]
    assert order(fuse([result(), result("c")], 2)) == ["c"]
    assert order(fuse([result(), result()], 2)) == []
