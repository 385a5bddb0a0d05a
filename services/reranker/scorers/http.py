"""Scores of a rerank server elsewhere: Cohere, Jina, Voyage, TEI, Triton, another Ragline, and those like them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import orjson
import structlog
from pydantic import Field, SecretStr

from ragline.encoder.fingerprint import sha256
from ragline.encoder.tokenizer import FILE, Tokenizer
from ragline.errors import Internal, TooLarge
from ragline.settings import SettingsError
from services.reranker.pool import Pool
from services.reranker.scorers import Candidate, Parts, Statistics
from services.reranker.scorers._calibration import DEFAULT, UNIT, Calibration
from services.reranker.scorers._http_shapes import SHAPES, Name, Shape, Told
from services.reranker.scorers._http_tensors import Malformed, Tensors, Tokenize, token_body
from services.reranker.scorers._remote import WORDS, Remote
from services.reranker.scorers._server import Connection, Key, Server, address

BLANK = "."  # stands for a passage without text, which many servers refuse
ANY_ROWS = 1 << 31  # the weights are elsewhere: how many word pieces they know is not known here

TENSORS, CONNECTION = Tensors(), Connection()  # what is not said

log = structlog.get_logger(__name__)


def load(  # noqa: PLR0913 - each is an option
    parts: Parts,
    *,
    url: str,
    shape: Name,
    model: str = "",
    api_key: SecretStr | None = None,
    api_key_file: Path | None = None,
    headers: Mapping[str, str] | None = None,
    extra: Mapping[str, Any] | None = None,
    timeout_s: Annotated[float, Field(gt=0)] = 10.0,
    max_passages: Annotated[int, Field(ge=1)] | None = None,
    max_chars: Annotated[int, Field(ge=1)] = 8000,
    scores: Literal["auto", "unit", "logit"] = "auto",
    pairwise: bool | None = None,
    tensors: Tensors = TENSORS,
    connection: Connection = CONNECTION,
) -> Http:
    """The server at ``url``, spoken to in ``shape``; without a path the shape's own is added.

    ``timeout_s`` bounds a request with all its calls and retries; more than ``max_passages`` are sent in several
    calls; query and passages are cut to ``max_chars``. ``extra`` goes into the body. ``scores`` says what scores
    are, ``pairwise`` whether each depends on its pair alone, where that is not as usual for the shape. Raises
    SettingsError for a bad option.
    """
    form = SHAPES[shape]
    if form.needs_model and not model:
        raise SettingsError(f"the shape {shape} needs the option model.")
    told = Told(model, extra or {}, tensors)
    server = Server("http", address(url, form.path.format(model=model)), timeout_s, headers or {})
    asking = Asking(
        form, told, max_passages or form.most, max_chars, form.pairwise if pairwise is None else pairwise
    )
    calibration = UNIT if scores == "unit" or (scores == "auto" and form.unit) else DEFAULT
    made = Http(Remote(server, Key(api_key, api_key_file), connection), asking, parts.pool, calibration)
    facts: list[Any] = [server.url, shape, model, told.extra, max_chars, tensors.model_dump()]
    if tensors.tokenizer and shape == "triton":
        folder = parts.model(tensors.tokenizer)
        made.tokenize = Tokenizer(folder, limit=tensors.max_tokens, rows=ANY_ROWS).pairs
        facts.append(sha256(folder / FILE))
    made.fingerprint = "http " + hashlib.sha256(orjson.dumps(facts)).hexdigest()
    return made


class Asking:
    """How passages become calls."""

    def __init__(self, shape: Shape, told: Told, most: int, max_chars: int, pairwise: bool) -> None:
        self.shape = shape
        self.told = told
        self.most = most
        self.max_chars = max_chars
        self.pairwise = pairwise

    def cut(self, text: str) -> str:
        """The beginning of a text, never blank."""
        return text[: self.max_chars] if text[: self.max_chars].strip() else BLANK

    def groups(self, texts: Sequence[str]) -> list[Sequence[str]]:
        """The texts of each call, as even as can be. Raises TooLarge where only one call can tell."""
        if len(texts) > self.most and not self.pairwise:
            raise TooLarge(
                f"{len(texts)} passages are over max_passages={self.most} of the scorer http, and its scores of "
                "several calls cannot be compared.",
                field="passages",
            )
        calls = -(-len(texts) // self.most)
        ends = [len(texts) * call // calls for call in range(calls + 1)]
        return [texts[ends[call] : ends[call + 1]] for call in range(calls)]


class Http:
    """Asks the server for each request; nothing is computed here, but word pieces where it takes those."""

    name = "http"

    def __init__(self, remote: Remote, asking: Asking, pool: Pool, calibration: Calibration) -> None:
        self.remote = remote
        self.asking = asking
        self.pool = pool
        self.calibration = calibration
        self.tokenize: Tokenize | None = None
        self.fingerprint = ""
        self.pairwise = asking.pairwise
        self.listwise = not asking.pairwise

    async def close(self) -> None:
        """Close the connections."""
        await self.remote.close()

    async def score(
        self, query: str, passages: Sequence[Candidate], statistics: Statistics | None
    ) -> Sequence[float]:
        """The server's scores; the first stage's and the statistics are not used. Raises as ``Remote.ask``."""
        if not passages:
            return []
        groups = self.asking.groups([self.asking.cut(passage.text) for passage in passages])
        asked = self.asking.cut(query)
        answers = await self.remote.ask([await self.body(asked, texts) for texts in groups])
        return [
            score for answer, texts in zip(answers, groups, strict=True) for score in self.read(answer, len(texts))
        ]

    async def body(self, query: str, texts: Sequence[str]) -> dict[str, Any]:
        """The body of one call."""
        told = self.asking.told
        if self.tokenize is None:
            return self.asking.shape.body(told, query, texts)
        pairs = await self.pool.run(self.tokenize, query, texts)
        return {**token_body(told.tensors, pairs), **told.extra}

    def read(self, answer: Any, count: int) -> list[float]:
        """The scores of an answer. Raises Internal, with the server's words, where they are no scores."""
        try:
            return self.asking.shape.scores(self.asking.told, answer, count)
        except Malformed as error:
            words = self.remote.key.hidden(orjson.dumps(answer).decode())[:WORDS]
            url = self.remote.server.shown
            log.error("answer is no ranking", url=url, reason=str(error), words=words)  # noqa: TRY400
            raise Internal(f"The answer of the server of http is no good: {error}. It says {words}") from error
