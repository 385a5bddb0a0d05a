"""What an answer in the making consists of, in the order in which it is sent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from ragline.context import Caller, new_id
from ragline.v1.passage_pb2 import Passage
from ragline.v1.reranker_pb2 import Match
from ragline.v1.retriever_pb2 import Hit
from services.generator.checks.citations import Citation
from services.generator.llms import Finish, Usage

# What becomes of a sentence that no passage supports: it is left out, or stays and is marked as unsupported.
Policy = Literal["drop", "flag"]


@dataclass(frozen=True)
class Retrieval:
    """How passages are searched for, as in /retrieve; the retriever knows what each may say.

    ``wait_for`` is a generation: the answer is made from no earlier one.
    """

    mode: str = "hybrid"
    fusion: str = ""
    dense_weight: float | None = None
    diversity: float = 0.0
    neighbours: int = 0
    collapse: bool = False
    wait_for: int = 0


@dataclass(frozen=True)
class Turn:
    """A question of a conversation and what was answered."""

    question: str
    answer: str


@dataclass(frozen=True)
class Question:
    """What is asked of a collection, and how; an empty choice means the default.

    ``scorer`` is one the reranker has loaded, ``llm`` one that is set up, ``prompt`` a name or name@version.
    ``unsupported`` says what becomes of sentences that no passage supports. ``schema_json`` is a JSON schema that
    the answer is to follow. ``session_id`` names the conversation it belongs to; ``turns`` are what was said
    before, oldest first. ``expand`` other wordings are searched for as well.
    ``instructions`` are the caller's own, for prompts that have a place for them.
    """

    tenant: str
    collection: str
    query: str
    top_k: int
    max_tokens: int
    temperature: float = 0.0
    filter_json: str = ""
    explain: bool = False
    scorer: str = ""
    retrieval: Retrieval = Retrieval()
    llm: str = ""
    prompt: str = ""
    unsupported: Policy | Literal[""] = ""
    schema_json: str = ""
    session_id: str = ""
    turns: tuple[Turn, ...] = ()
    expand: int = 0
    instructions: str = ""

    @property
    def caller(self) -> Caller:
        """Whose turn it takes where many wait for an LLM: its session's, or without one a turn of its own."""
        return Caller(self.tenant, self.session_id or new_id())


@dataclass(frozen=True)
class Ranked:
    """A passage with its final score; ``place`` is its rank, from 1, in the order of the search.

    ``score`` is a chance from 0 to 1 where a scorer gave it, and ``raw`` what that scorer itself said; both are
    the search's score where none did. ``matches`` are the words that made it, where they were asked for.
    """

    hit: Hit
    score: float
    place: int
    raw: float = 0.0
    matches: tuple[Match, ...] = ()

    @property
    def passage(self) -> Passage:
        """The passage itself."""
        return self.hit.passage


@dataclass(frozen=True)
class Passages:
    """The passages that the answer is made from, best first.

    ``trial``: a scorer on trial ordered them, which not everybody who asks the same is to meet.
    """

    ranked: tuple[Ranked, ...]
    trial: bool = False


@dataclass(frozen=True)
class Token:
    """A piece of the answer; all of them joined are the answer."""

    text: str


@dataclass(frozen=True)
class Cited:
    """A citation, sent right after its marker first stood in a token."""

    citation: Citation


@dataclass(frozen=True)
class Spent:
    """Tokens that this request took, for rewriting it and other wordings, too.

    The answer itself took none where it was ``cached``, maybe for a question ``like`` it.
    """

    usage: Usage
    cached: bool = False
    like: str = ""


@dataclass(frozen=True)
class Unsupported:
    """``answer[start:end]`` is said by no passage; ``reason`` names what is missing."""

    start: int
    end: int
    reason: str


@dataclass(frozen=True)
class Finding:
    """What a guard found, and what it did; ``detail`` says what kind of thing, never the thing itself."""

    guard: str
    stage: Literal["question", "passages", "answer"]
    action: Literal["flag", "mask", "refuse"]
    detail: str
    count: int = 1


@dataclass(frozen=True)
class Anew:
    """The LLM broke off, for ``reason``: what was said so far is void, and the answer begins anew.

    Who has passed it on already must fail; who waits for the whole answer need not know.
    """

    reason: str


@dataclass(frozen=True)
class Outcome:
    """How an answer came out; what of it is the same for everyone who asked.

    ``finish`` is "length" where ``max_tokens`` cut it short, ``prompt`` the name@version that asked the LLM.
    ``pointers`` are the markers of an answer that follows a schema, by JSON pointer.
    """

    answer: str
    citations: tuple[Citation, ...]
    abstained: bool
    degraded: tuple[str, ...]
    usage: Usage
    model: str
    timings_ms: Mapping[str, float] = field(default_factory=dict)
    explain: Mapping[str, Any] | None = None
    finish: Finish = "stop"
    prompt: str = ""
    unsupported: tuple[Unsupported, ...] = ()
    findings: tuple[Finding, ...] = ()
    pointers: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Done:
    """The whole response; a stream without it failed.

    ``query`` is what was searched for where that is not the question as it was asked; ``like`` the question that a
    kept answer was made for, where it was another one; ``findings`` those of the question and of the answer.
    """

    id: str
    outcome: Outcome
    timings_ms: Mapping[str, float]
    generation: int
    cached: bool
    query: str = ""
    session_id: str = ""
    like: str = ""
    findings: tuple[Finding, ...] = ()


Event = Passages | Token | Cited | Spent | Done
