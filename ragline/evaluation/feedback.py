"""Makes data sets of feedback: judged questions in BEIR layout, answers to train on, pairs of better and worse.

The same feedback gives the same files, byte for byte.
"""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import orjson

Vote = dict[str, Any]

MARKER = re.compile(r"\s*\[\d+\]")


def write(kind: str, votes: Sequence[Vote], folder: Path) -> dict[str, int]:
    """Write the data set ``kind`` into ``folder``; returns how many lines each file has. Raises OSError."""
    files = KINDS[kind](votes)
    for name, lines in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"".join(line + b"\n" for line in lines))
    return {name: len(lines) for name, lines in files.items()}


def beir(votes: Sequence[Vote]) -> dict[str, list[bytes]]:
    """``corpus.jsonl``, ``queries.jsonl`` and ``qrels/test.tsv``, as ``ragline eval reranker --data`` reads them.

    A passage is relevant to a question if, of the ratings of answers that cite it, more are up than down.
    The corpus is all passages that any answer was made from.
    """
    names = Names()
    net: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    questions: dict[str, Vote] = {}
    for vote in votes:
        ids = {passage["id"]: names.add(passage) for passage in vote["answer"]["passages"]}
        question = identity(vote)
        questions.setdefault(question, vote)
        for cited in {each["passage_id"] for each in vote["answer"]["citations"]} & ids.keys():
            net[question][ids[cited]] += 1 if vote["rating"] == "up" else -1
    relevant = {
        question: sorted(passage for passage, votes in net[question].items() if votes > 0)
        for question in sorted(questions)
    }
    judged = {question: found for question, found in relevant.items() if found}
    golds = gold(votes)
    return {
        "corpus.jsonl": [
            orjson.dumps({"_id": name, "title": passage["title"], "text": passage["text"]})
            for name, passage in sorted(names.passages.items())
        ],
        "queries.jsonl": [
            orjson.dumps(
                {
                    "_id": question,
                    "text": asked(questions[question]),
                    "metadata": {
                        "collection": questions[question]["answer"]["collection"],
                        "answers": golds[question],
                    },
                }
            )
            for question in judged
        ],
        "qrels/test.tsv": [
            b"query-id\tcorpus-id\tscore",
            *(f"{question}\t{passage}\t1".encode() for question, found in judged.items() for passage in found),
        ],
    }


def examples(votes: Sequence[Vote]) -> dict[str, list[bytes]]:
    """``examples.jsonl``: a question, the passages it was answered from, and an answer that someone found good.

    That is the answer itself where it was rated up, or the one that it was corrected to.
    """
    lines: dict[tuple[str, str], bytes] = {}
    for vote, text in good(votes):
        source = "corrected" if vote["corrected_answer"] else "up"
        line = {**situation(vote), "answer": text, "source": source, "feedback_id": vote["id"]}
        lines.setdefault((identity(vote), text), orjson.dumps(line))
    return {"examples.jsonl": list(lines.values())}


def preferences(votes: Sequence[Vote]) -> dict[str, list[bytes]]:
    """``preferences.jsonl``: of two answers to one question the ``chosen`` and the ``rejected`` one.

    A corrected answer is better than what it corrects, and one rated up better than one rated down.
    """
    lines: dict[tuple[str, str, str], bytes] = {}
    rated: dict[str, dict[str, list[Vote]]] = defaultdict(lambda: {"up": [], "down": []})

    def pair(vote: Vote, chosen: str, rejected: str, source: str) -> None:
        if plain(chosen) != plain(rejected):
            line = {**situation(vote), "chosen": chosen, "rejected": rejected, "source": source}
            lines.setdefault((identity(vote), chosen, rejected), orjson.dumps(line))

    for vote in votes:
        rated[identity(vote)][vote["rating"]].append(vote)
        if vote["corrected_answer"]:
            pair(vote, vote["corrected_answer"], vote["answer"]["answer"], "corrected")
    for both in rated.values():
        for better in both["up"]:
            for worse in both["down"]:
                pair(better, better["answer"]["answer"], worse["answer"]["answer"], "rated")
    return {"preferences.jsonl": list(lines.values())}


KINDS = {"beir": beir, "jsonl": examples, "preferences": preferences}


class Names:
    """Passages by an id of their own each: one whose text has changed since has another."""

    def __init__(self) -> None:
        self.passages: dict[str, dict[str, Any]] = {}

    def add(self, passage: dict[str, Any]) -> str:
        """The id of a passage."""
        name = re.sub(r"\s", "_", str(passage["id"]))
        if self.passages.setdefault(name, passage)["sha256"] != passage["sha256"]:
            name = f"{name}@{passage['sha256'][:12]}"
            self.passages.setdefault(name, passage)
        return name


def asked(vote: Vote) -> str:
    """The question as it stands alone."""
    return str(vote["answer"]["query"] or vote["answer"]["question"])


def identity(vote: Vote) -> str:
    """The same for the same question to the same collection, however it is spaced or capitalised."""
    words = " ".join(asked(vote).split()).casefold()
    return hashlib.sha256(f"{vote['answer']['collection']}\0{words}".encode()).hexdigest()[:16]


def plain(answer: str) -> str:
    """An answer without its markers."""
    return " ".join(MARKER.sub("", answer).split())


def gold(votes: Sequence[Vote]) -> dict[str, list[str]]:
    """Each question's good answers, without markers."""
    found: dict[str, dict[str, None]] = defaultdict(dict)
    for vote, text in good(votes):
        found[identity(vote)][plain(text)] = None
    return defaultdict(list, {question: list(texts) for question, texts in found.items()})


def good(votes: Sequence[Vote]) -> Iterator[tuple[Vote, str]]:
    """Each vote that knows a good answer, with it."""
    for vote in votes:
        if vote["corrected_answer"]:
            yield vote, vote["corrected_answer"]
        elif vote["rating"] == "up" and not vote["answer"]["abstained"]:
            yield vote, vote["answer"]["answer"]


def situation(vote: Vote) -> dict[str, Any]:
    """What an answer was to be made from."""
    answer = vote["answer"]
    return {
        "question": asked(vote),
        "context": [{name: each[name] for name in ("id", "title", "text")} for each in answer["passages"]],
        "collection": answer["collection"],
        "prompt": answer["prompt"],
        "model": answer["model"],
    }
