"""One server of the OpenAI dialect: how it is reached, what it costs, and whether it is worth asking now."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from openai import AsyncAzureOpenAI, AsyncOpenAI
from prometheus_client import Counter
from pydantic import BaseModel, ConfigDict, Field, SecretStr

from ragline import metrics
from ragline.breaker import Breaker
from ragline.rates import Rates
from ragline.settings import SettingsError
from services.generator.llms import Parts, Usage

OPENAI_URL = "https://api.openai.com/v1"
MINUTE_S, MILLION = 60.0, 1_000_000
# Failures in a row that open a breaker, and its pauses.
AFTER, FIRST_PAUSE_S, LONGEST_PAUSE_S = 5, 1.0, 30.0
# An endpoint that just failed is asked again after the others.
REST_S = 2.0

Limit = Annotated[int, Field(ge=1)]
Price = Annotated[float, Field(ge=0)]


class Place(BaseModel):
    """An endpoint as the option ``endpoints`` has it.

    ``base_url`` ends in ``/v1``; with ``api_version`` it is an Azure resource's, and ``model`` its deployment.
    Lower ``priority`` is asked first, those of the same share the requests by ``weight``. Prices are for a million
    tokens in any one currency. ``key_file`` holds the key; absent: GENERATOR_LLM_API_KEY.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    base_url: str = OPENAI_URL
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9._:/-]{1,60}$")] | None = None
    model: str | None = None
    key_file: Path | None = None
    priority: int = 0
    weight: Annotated[float, Field(gt=0)] = 1.0
    requests_per_minute: Limit | None = None
    tokens_per_minute: Limit | None = None
    price_in: Price = 0.0
    price_out: Price = 0.0
    api_version: str | None = None
    headers: dict[str, str] = {}
    query: dict[str, str] = {}
    limit_name: Literal["max_tokens", "max_completion_tokens"] | None = None

    @property
    def limit_field(self) -> str:
        """What the limit of an answer is called: OpenAI's newer models take only the new name, others the old."""
        new = self.base_url.rstrip("/") == OPENAI_URL
        return self.limit_name or ("max_completion_tokens" if new else "max_tokens")


class Endpoint:
    """A place with its connection, its limits and its breaker."""

    def __init__(self, place: Place, name: str, model: str, client: AsyncOpenAI, rates: Rates) -> None:
        self.place, self.name, self.model = place, name, model
        self.client = client
        self.rates = rates
        self.breaker = Breaker(
            name, what="llm", after=AFTER, first_s=FIRST_PAUSE_S, longest_s=LONGEST_PAUSE_S, clock=time.monotonic
        )
        self.resting_until = 0.0
        self.closed_until = 0.0

    @property
    def resting(self) -> bool:
        """Whether it failed a moment ago, so that others come first."""
        return time.monotonic() < self.resting_until

    def cost(self, usage: Usage) -> float:
        """What so many tokens cost here."""
        place = self.place
        spent = usage.prompt_tokens * place.price_in + usage.completion_tokens * place.price_out
        return spent / MILLION

    async def admit(self, tokens: int) -> float:
        """Count a request of so many tokens; 0 where it may go, else the seconds after which it might.

        Who was let in says ``succeeded``, ``failed``, ``busy`` or ``left``.
        """
        now = time.monotonic()
        if now < self.closed_until:
            return self.closed_until - now
        if not self.breaker.admit():
            return max(0.0, self.breaker.until - now) or FIRST_PAUSE_S
        try:
            wait_s = await self.spend(tokens)
        except BaseException:  # cancelled: another may be the one that tries
            self.breaker.left()
            raise
        if wait_s:
            self.breaker.left()
            self.said("spent")
        return wait_s

    async def spend(self, tokens: int) -> float:
        """Count a request against what the place allows a minute; the seconds to wait where that is spent."""
        asked = (("requests", self.place.requests_per_minute, 1), ("tokens", self.place.tokens_per_minute, tokens))
        for what, limit, cost in asked:
            if limit is None:
                continue
            key = f"llm:{self.name}:{what}"
            if wait_s := await self.rates.take(key, limit=limit, per_s=MINUTE_S, cost=cost):
                return wait_s
        return 0.0

    def succeeded(self) -> None:
        """It answered to the end."""
        self.breaker.passed()
        self.resting_until = 0.0
        self.said("ok")

    def failed(self, outcome: str, error: BaseException) -> None:
        """It did not do what it should."""
        self.breaker.failed(error)
        self.resting_until = time.monotonic() + REST_S
        self.said(outcome)

    def busy(self, after_s: float | None) -> None:
        """It takes no more for now; that is no fault, and it says itself when to come back."""
        self.breaker.left()
        self.resting_until = time.monotonic() + REST_S
        if after_s:
            self.closed_until = time.monotonic() + after_s
        self.said("busy")

    def late(self) -> None:
        """It was slower than its caller had time for."""
        self.resting_until = time.monotonic() + REST_S
        self.left("late")

    def left(self, outcome: str) -> None:
        """Its answer is wanted no more, or nothing was wrong with it but the request."""
        self.breaker.left()
        self.said(outcome)

    def said(self, outcome: str) -> None:
        """Count how a request ended."""
        requests().labels(self.name, outcome).inc()


def requests() -> Counter:
    """Requests by how they ended."""
    about = "Requests to LLM servers by endpoint and outcome."
    return metrics.counter("ragline_llm_requests", about, ("endpoint", "outcome"))


def opened(places: Sequence[Place], model: str, parts: Parts) -> list[Endpoint]:
    """The endpoints of a model; raises SettingsError for a key that cannot be read or a name given twice."""
    made: list[Endpoint] = []
    for place in places:
        name = place.name or shown(place.base_url, {each.name for each in made})
        if any(each.name == name for each in made):
            raise SettingsError(f"two endpoints of {model} are named {name!r}; give each a name of its own.")
        made.append(Endpoint(place, name, place.model or model, connected(place, parts), parts.rates))
    return made


def shown(base_url: str, taken: set[str]) -> str:
    """A name of an endpoint that says where it is, and no secret."""
    parts = urlsplit(base_url)
    host = f"{parts.hostname}:{parts.port}" if parts.port else parts.hostname or "server"
    return next(name for name in (host, *(f"{host}/{at}" for at in range(2, 1000))) if name not in taken)


def connected(place: Place, parts: Parts) -> AsyncOpenAI:
    """A client of the place. Retries are not its business: they may go elsewhere."""
    key = key_of(place) or parts.api_key
    # A server without keys takes any; the package insists on one and would look into the environment.
    common: dict[str, Any] = {
        "api_key": key.get_secret_value() if key else "none",
        "timeout": parts.timeout_s,
        "max_retries": 0,
        "default_headers": place.headers,
        "default_query": place.query,
    }
    if place.api_version:
        return AsyncAzureOpenAI(azure_endpoint=place.base_url, api_version=place.api_version, **common)
    return AsyncOpenAI(base_url=place.base_url, **common)


def key_of(place: Place) -> SecretStr | None:
    """The key in the place's own file."""
    if place.key_file is None:
        return None
    try:
        return SecretStr(place.key_file.expanduser().read_text().strip())
    except OSError as error:
        raise SettingsError(f"key_file {str(place.key_file)!r} cannot be read: {error.strerror}.") from error
