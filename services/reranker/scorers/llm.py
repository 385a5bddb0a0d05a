"""Lets a chat model rank passages, through any server of the OpenAI dialect: slow and dear, for few passages.

Listwise as in Sun et al., "Is ChatGPT Good at Search?" (EMNLP 2023), or pointwise by the chance of "yes" as in
Nogueira et al., "Document Ranking with a Pretrained Sequence-to-Sequence Model" (2020).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import orjson
import structlog
from pydantic import Field, SecretStr

from ragline import context
from ragline.errors import Internal, Unavailable
from ragline.settings import SettingsError
from services.reranker.scorers import Candidate, Parts, Statistics
from services.reranker.scorers import _prompts as prompts
from services.reranker.scorers._calibration import UNIT
from services.reranker.scorers._remote import WORDS, Rejected, Remote
from services.reranker.scorers._server import Connection, Key, Server, address

RECIPE = 1  # raise this when the prompts or the reading of answers change
PATH = "/chat/completions"
OPENAI = "api.openai.com"
TOKENS_A_PLACE = 8  # of a number in an indented JSON list
CONNECTION = Connection()

Count = Annotated[int, Field(ge=1)]

log = structlog.get_logger(__name__)


def load(  # noqa: PLR0913 - each is an option
    parts: Parts,
    *,
    url: str,
    model: str,
    mode: Literal["listwise", "pointwise"] = "listwise",
    api_key: SecretStr | None = None,
    api_key_file: Path | None = None,
    headers: Mapping[str, str] | None = None,
    extra: Mapping[str, Any] | None = None,
    timeout_s: Annotated[float, Field(gt=0)] = 60.0,
    window: Annotated[int, Field(ge=2, le=100)] = 20,
    step: Count = 10,
    max_passages: Count = 100,
    max_chars: Annotated[int, Field(ge=8)] = 1200,
    max_tokens: Count | None = None,
    answers: Literal["auto", "schema", "text"] = "auto",
    connection: Connection = CONNECTION,
) -> Listwise | Pointwise:
    """The chat server at ``url`` (that ends in ``/v1``; without a path that is added), and its ``model``.

    "listwise" shows it ``window`` passages at a time, from the last of the first ``max_passages`` to the first, by
    ``step``; "pointwise" asks yes or no about each, and needs a server that tells ``logprobs``. Query and passages
    are cut to ``max_chars``. ``max_tokens`` bounds an answer (absent: what a ranking needs; more for models that
    think first). ``answers`` is how a ranking is asked for: by JSON schema where the server knows that. ``extra``
    goes into the body; a null takes a field out. Raises SettingsError for a bad option.
    """
    if step >= window:
        raise SettingsError(f"step={step} is no less than window={window}, so that nothing moves up; lower it.")
    place = address(url, "/v1").removesuffix("/")
    server = Server("llm", place if place.endswith(PATH) else place + PATH, timeout_s, headers or {})
    # OpenAI's newer models take only the new name of the limit, other servers often only the old one.
    limit = "max_completion_tokens" if urlsplit(url).hostname == OPENAI else "max_tokens"
    chat = Chat(Remote(server, Key(api_key, api_key_file), connection), model, limit, max_tokens, extra or {})
    facts = [
        RECIPE,
        server.url,
        model,
        chat.extra,
        mode,
        window,
        step,
        max_passages,
        max_chars,
        max_tokens,
        answers,
    ]
    fingerprint = "llm " + hashlib.sha256(orjson.dumps(facts)).hexdigest()
    if mode == "pointwise":
        return Pointwise(chat, fingerprint, max_chars)
    return Listwise(chat, fingerprint, Windows(window, step, max_passages, max_chars, answers))


@dataclass(frozen=True)
class Windows:
    """How much a model sees of how many passages, and in which form it is to answer."""

    size: int
    step: int
    most: int
    max_chars: int
    form: str

    def over(self, count: int) -> list[tuple[int, int]]:
        """The windows [start, end) over the first passages, the last one first."""
        ends = [min(count, self.most)]
        while ends[-1] > self.size:
            ends.append(ends[-1] - self.step)
        return [(max(0, end - self.size), end) for end in ends]


class Chat:
    """Asks for chat completions, always in the same words for the same question."""

    def __init__(
        self, remote: Remote, model: str, limit: str, max_tokens: int | None, extra: Mapping[str, Any]
    ) -> None:
        self.remote = remote
        self.model = model
        self.limit = limit
        self.max_tokens = max_tokens
        self.extra = dict(extra)

    async def close(self) -> None:
        """Close the connections."""
        await self.remote.close()

    async def ask(self, asked: Sequence[Mapping[str, Any]], tokens: int) -> list[tuple[Any, str]]:
        """The first choice of each completion, and its text. Raises as ``Remote.ask``, and Internal."""
        common = {"model": self.model, "temperature": 0, "seed": 0, self.limit: self.max_tokens or tokens}
        bodies = [common | dict(one) | self.extra for one in asked]
        answers = await self.remote.ask(
            [{name: value for name, value in body.items() if value is not None} for body in bodies]
        )
        try:
            return [prompts.content(answer) for answer in answers]
        except ValueError as error:
            words = self.remote.key.hidden(str(error))
            log.error("answer is no completion", url=self.remote.server.shown, words=words)  # noqa: TRY400
            raise Internal(f"The server of llm answered with {words}") from error


class Listwise:
    """Scores are places: 1 for the first, down to 1/n. They say nothing but the order."""

    name = "llm"
    pairwise = False
    listwise = True
    calibration = staticmethod(UNIT)

    def __init__(self, chat: Chat, fingerprint: str, windows: Windows) -> None:
        self.chat = chat
        self.fingerprint = fingerprint
        self.windows = windows
        self.form = "text" if windows.form == "text" else "schema"

    async def close(self) -> None:
        """Close the connections."""
        await self.chat.close()

    async def score(
        self, query: str, passages: Sequence[Candidate], statistics: Statistics | None
    ) -> Sequence[float]:
        """The model's order of the passages; equal ones get equal scores, blank ones come last, unasked.

        The order in which they come is where the model begins. Raises as ``Remote.ask``, and Unavailable where an
        answer holds no order.
        """
        texts = [prompts.plain(passage.text, self.windows.max_chars) for passage in passages]
        found = [text for text in dict.fromkeys(texts) if text]
        asked = prompts.plain(query, self.windows.max_chars) or query[: self.windows.max_chars]
        with context.bind(timeout_s=self.chat.remote.server.timeout_s):  # of all windows together
            for start, end in self.windows.over(len(found)) if len(found) > 1 else ():
                found[start:end] = await self.ordered(asked, found[start:end])
        scores = {text: 1 - place / len(found) for place, text in enumerate(found)}
        return [scores.get(text, 0.0) for text in texts]

    async def ordered(self, query: str, texts: Sequence[str]) -> list[str]:
        """One window's passages in the model's order."""
        try:
            [(_, said)] = await self.chat.ask([self.body(query, texts)], 16 + TOKENS_A_PLACE * len(texts))
        except Rejected as error:
            if "context" in error.words.lower():
                raise Unavailable(
                    "The model of llm cannot take in so many passages; lower its options window and max_chars."
                ) from error
            if self.windows.form != "auto" or self.form == "text":
                raise
            log.info("server knows no JSON schema", words=error.words)
            self.form = "text"
            return await self.ordered(query, texts)
        places = prompts.order(said, len(texts))
        if not places:
            log.error("answer holds no ranking", words=said[:WORDS])
            raise Unavailable("The model of llm answered without a ranking; the log has its words.")
        return [texts[place] for place in places]

    def body(self, query: str, texts: Sequence[str]) -> dict[str, Any]:
        """What of a request depends on the passages."""
        known = {"response_format": prompts.schema(len(texts))} if self.form == "schema" else {}
        return {"messages": prompts.ranking(query, texts, self.form), **known}


class Pointwise:
    """Scores are chances, each of its passage alone."""

    name = "llm"
    pairwise = True
    listwise = False
    calibration = staticmethod(UNIT)

    def __init__(self, chat: Chat, fingerprint: str, max_chars: int) -> None:
        self.chat = chat
        self.fingerprint = fingerprint
        self.max_chars = max_chars

    async def close(self) -> None:
        """Close the connections."""
        await self.chat.close()

    async def score(
        self, query: str, passages: Sequence[Candidate], statistics: Statistics | None
    ) -> Sequence[float]:
        """The chance that the model says yes rather than no; 0 for a blank passage. Raises as ``Remote.ask``."""
        texts = [prompts.plain(passage.text, self.max_chars) for passage in passages]
        asked = prompts.plain(query, self.max_chars) or query[: self.max_chars]
        every = [text for text in dict.fromkeys(texts) if text]
        bodies = [
            {"messages": prompts.judging(asked, text), "logprobs": True, "top_logprobs": 20} for text in every
        ]
        chances = [prompts.chance(choice) for choice, _ in await self.chat.ask(bodies, 1)] if bodies else []
        if None in chances:
            raise Unavailable(
                "The server of llm tells no logprobs, which mode pointwise needs; use mode listwise."
            )
        scores = {text: chance for text, chance in zip(every, chances, strict=True) if chance is not None}
        return [scores.get(text, 0.0) for text in texts]
