"""What OpenAI's clients send to /v1/chat/completions."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from ragline.errors import InvalidRequest
from ragline.http import StrictBody

# They change how a model draws its words, or what becomes of the request elsewhere; not what the passages say.
IGNORED = frozenset(
    {
        *(
            "top_p",
            "top_k",
            "min_p",
            "seed",
            "stop",
            "presence_penalty",
            "frequency_penalty",
            "repetition_penalty",
        ),
        *("logit_bias", "user", "safety_identifier", "prompt_cache_key", "prompt_cache_retention", "store"),
        *("metadata", "service_tier", "reasoning_effort", "verbosity", "prediction", "parallel_tool_calls"),
        "top_logprobs",
    }
)
NO_TOOLS = "no tools are called here: answers come from passages alone; leave it out"
# What would be asked for and not given.
REFUSED = {
    "tools": NO_TOOLS,
    "functions": NO_TOOLS,
    "function_call": NO_TOOLS,
    "logprobs": "there are no log probabilities; leave it out",
    "audio": "answers are text; leave it out",
    "web_search_options": "nothing is searched but the collection; leave it out",
}
TAKEN: dict[str, tuple[Any, ...]] = {
    "tool_choice": (None, "none", "auto"),
    "modalities": (None, ["text"]),
    "function_call": (None, "none", "auto"),
}


class Part(BaseModel):
    """A part of a message; only text is read."""

    model_config = ConfigDict(frozen=True, strict=True)

    type: str
    text: str | None = None


class Message(BaseModel):
    """What was said; the last message is the question."""

    model_config = ConfigDict(frozen=True, strict=True)

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | list[Part] | None = None

    def text(self, at: int) -> str:
        """Its text; raises InvalidRequest for what is none."""
        if self.content is None or isinstance(self.content, str):
            return self.content or ""
        for number, part in enumerate(self.content):
            if part.type != "text" or part.text is None:
                field = f"messages[{at}].content[{number}]"
                raise InvalidRequest(
                    f"{field} is of type {part.type[:40]!r}; only parts of type text are read.", field=field
                )
        return "\n".join(part.text or "" for part in self.content)


class StreamOptions(BaseModel):
    """How a stream is told."""

    model_config = ConfigDict(frozen=True, strict=True)

    include_usage: bool = False


class SchemaFormat(BaseModel):
    """A JSON schema with its name."""

    model_config = ConfigDict(frozen=True, strict=True, populate_by_name=True)

    definition: Annotated[dict[str, Any] | None, Field(alias="schema")] = None


class ResponseFormat(BaseModel):
    """What the answer is to look like."""

    model_config = ConfigDict(frozen=True, strict=True)

    type: Literal["text", "json_object", "json_schema"]
    json_schema: SchemaFormat | None = None

    def schema_of(self) -> dict[str, Any] | None:
        """The JSON schema to follow; raises InvalidRequest where it is missing."""
        if self.type == "text":
            return None
        if self.type == "json_object":
            return {"type": "object"}
        if self.json_schema is None or not self.json_schema.definition:
            raise InvalidRequest("response_format has no json_schema.schema.", field="response_format.json_schema")
        return self.json_schema.definition


class Options(StrictBody):
    """What Ragline can do beyond the dialect; each as in /generate, and stronger than the model's profile."""

    top_k: Annotated[int | None, Field(ge=1)] = None
    filter: dict[str, Any] | None = None
    mode: Literal["hybrid", "dense", "sparse", "auto"] | None = None
    scorer: Annotated[str | None, Field(min_length=1)] = None
    llm: Annotated[str | None, Field(min_length=1)] = None
    prompt: Annotated[str | None, Field(min_length=1)] = None
    unsupported: Literal["drop", "flag"] | None = None
    session_id: Annotated[str | None, Field(min_length=1, description="instead of earlier messages")] = None
    expand: Annotated[int, Field(ge=0)] = 0
    wait_for: Annotated[int, Field(ge=0)] = 0
    explain: bool = False
    passages: Annotated[bool, Field(description="send the passages, too")] = False


class ChatBody(BaseModel):
    """A conversation whose last message is a question to a collection.

    ``model`` is ``COLLECTION`` or ``COLLECTION:PROFILE``; ``ragline`` stands for the default collection. What only
    changes how a model draws its words (top_p, seed, stop …) is taken and has no effect; tools are refused.
    """

    model_config = ConfigDict(
        frozen=True,
        strict=True,
        extra="allow",
        json_schema_extra={
            "examples": [
                {
                    "model": "ragline",
                    "messages": [{"role": "user", "content": "How is a lost message retried?"}],
                },
                {
                    "model": "ragline",
                    "messages": [
                        {"role": "user", "content": "Is a lost message retried?"},
                        {"role": "assistant", "content": "Yes, after a back-off."},
                        {"role": "user", "content": "How often?"},
                    ],
                    "stream": True,
                    "stream_options": {"include_usage": True},
                    "ragline": {"top_k": 8, "passages": True},
                },
            ]
        },
    )

    model: Annotated[str, Field(min_length=1, max_length=200)]
    messages: Annotated[list[Message], Field(min_length=1, max_length=2000)]
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: Annotated[int | None, Field(ge=1)] = None
    max_completion_tokens: Annotated[int | None, Field(ge=1)] = None
    temperature: Annotated[float | None, Field(ge=0, le=2)] = None
    n: int | None = None
    response_format: ResponseFormat | None = None
    ragline: Options | None = Field(None, description="what Ragline can do beyond the dialect")

    def check(self) -> None:
        """Raise InvalidRequest for what would be asked for and not given."""
        for name, value in (self.model_extra or {}).items():
            refuse(name, value)
        if self.n not in {None, 1}:
            raise InvalidRequest(f"n is {self.n}; one answer is made for a request.", field="n")
        if self.stream_options is not None and not self.stream:
            raise InvalidRequest("stream_options go with stream: true.", field="stream_options")


def refuse(name: str, value: Any) -> None:
    """Raise InvalidRequest for a parameter that may change the answer and would not."""
    if name in IGNORED or value in TAKEN.get(name, ()):
        return
    if name in REFUSED:
        if value:
            raise InvalidRequest(f"{name}: {REFUSED[name]}.", field=name)
    elif name in TAKEN:
        raise InvalidRequest(f"{name} may only be {TAKEN[name][1]!r} here.", field=name)
    else:
        raise InvalidRequest(f"{name[:100]} is no parameter that is known here.", field=name)
