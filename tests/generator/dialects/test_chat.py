"""OpenAI's own client, unmodified, over HTTP: answers, streams, errors."""

from __future__ import annotations

import json
import re
from typing import Any

import grpc
import openai
import pytest
from openai.types.chat import ChatCompletionChunk

from tests.generator import world
from tests.generator.dialects.place import KESTREL, Served, asked, serving


async def test_a_whole_answer(served: Served) -> None:
    made = await served.openai().chat.completions.create(**asked())
    choice = made.choices[0]
    assert (made.object, made.model, choice.finish_reason, choice.message.role) == (
        *("chat.completion", "ragline", "stop", "assistant"),
    )
    assert choice.message.content
    assert "two-year warranty" in choice.message.content
    extra = choice.message.model_extra or {}
    assert set(re.findall(r"\[\d+\]", choice.message.content)) == {each["marker"] for each in extra["citations"]}
    for at, citation in enumerate(extra["citations"]):
        source = world.SOURCES[citation["document_id"]][1]
        assert citation["quote"] == source[citation["start"] : citation["end"]]
        assert citation["index"] == at
    assert made.usage
    assert made.usage.total_tokens == made.usage.prompt_tokens + made.usage.completion_tokens
    more = (made.model_extra or {})["ragline"]
    assert more["abstained"] is False
    assert more["generation"] == 7
    assert more["llm"] == "extractive"
    assert "passages" not in more
    assert made.system_fingerprint is None


async def test_a_stream_says_the_same(served: Served) -> None:
    client = served.openai()
    whole = await client.chat.completions.create(**asked(temperature=0.1))
    stream = await client.chat.completions.create(
        **asked(temperature=0.1), stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in stream]
    assert len({chunk.id for chunk in chunks}) == 1
    assert chunks[0].choices[0].delta.role == "assistant"
    *pieces, last, spent = chunks
    text = "".join(chunk.choices[0].delta.content or "" for chunk in pieces)
    assert text == whole.choices[0].message.content
    cited = [each for chunk in pieces for each in (chunk.choices[0].delta.model_extra or {}).get("citations", [])]
    assert cited == (whole.choices[0].message.model_extra or {})["citations"]
    assert last.choices[0].finish_reason == "stop"
    assert len((last.model_extra or {})["ragline"]["citations"]) == len(cited)
    assert [chunk.usage for chunk in chunks[:-1]] == [None] * (len(chunks) - 1)
    assert (spent.choices, spent.usage) == ([], whole.usage)


async def test_the_helper_that_joins_chunks_gets_whole_citations(served: Served) -> None:
    async with served.openai().chat.completions.stream(**asked("Who is the mayor of Brell?")) as stream:
        kinds = {event.type async for event in stream}
        made = await stream.get_final_completion()
    assert "content.delta" in kinds
    citations = (made.choices[0].message.model_extra or {})["citations"]
    assert citations[0]["document_id"] == "brell"


async def test_a_stream_ends_with_done(served: Served) -> None:
    async with served.http() as client:
        response = await client.post("/v1/chat/completions", json=asked(stream=True))
    assert response.headers["content-type"].startswith("text/event-stream")
    blocks = [block for block in response.text.split("\n\n") if block]
    assert blocks[-1] == "data: [DONE]"
    assert all(block.startswith("data: {") for block in blocks[:-1])


async def test_a_stream_that_fails_midway_raises_and_has_no_end(retriever: grpc.aio.Channel) -> None:
    async with serving(retriever, llm=world.Reciter(fails_after=12)) as served:
        client = served.openai()
        stream = await client.chat.completions.create(**asked(), stream=True)
        said: list[str] = []
        with pytest.raises(openai.APIError, match="broke off") as raised:
            await follow(stream, said)
        assert "".join(said)
        assert isinstance(raised.value.body, dict)
        assert raised.value.body["type"] == "server_error"
        # Not streamed, another LLM writes it all anew.
        whole = await client.chat.completions.create(**asked(temperature=0.5))
        assert whole.choices[0].message.content
        async with served.http() as plain:
            text = (await plain.post("/v1/chat/completions", json=asked(stream=True, temperature=0.7))).text
        assert "[DONE]" in text  # the one who recites has failed before: its stand-in said it all


async def follow(stream: openai.AsyncStream[ChatCompletionChunk], said: list[str]) -> None:
    async for chunk in stream:
        said += [chunk.choices[0].delta.content or ""]


async def test_a_client_that_leaves_ends_the_work(retriever: grpc.aio.Channel) -> None:
    llm = world.Reciter(pauses_after=12)
    async with serving(retriever, llm=llm) as served:
        stream = await served.openai().chat.completions.create(**asked(), stream=True)
        async for _ in stream:
            break
        await stream.close()
        await llm.closed.wait()


async def test_earlier_messages_are_turns_and_parts_are_read(served: Served) -> None:
    messages = [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "Hello!"},
        {"role": "user", "content": [{"type": "text", "text": KESTREL}]},
    ]
    made = await served.openai().chat.completions.create(model="default:short", messages=messages)  # type: ignore[arg-type]
    assert "two-year" in (made.choices[0].message.content or "")


async def test_a_profile_and_the_extension_choose_how(served: Served) -> None:
    client = served.openai()
    shown = {"ragline": {"passages": True}}
    for model, count in (("ragline", 4), ("ragline:short", 1), ("default:short", 1), ("ragline:default", 4)):
        made = await client.chat.completions.create(**asked() | {"model": model}, extra_body=shown)
        assert len((made.model_extra or {})["ragline"]["passages"]) == count, model
    chosen = {"ragline": {"passages": True, "top_k": 2, "filter": {"kind": "museum"}}}
    made = await client.chat.completions.create(**asked() | {"model": "ragline:short"}, extra_body=chosen)
    more = (made.model_extra or {})["ragline"]
    assert [each["document_id"] for each in more["passages"]] == ["museum"]
    assert more["abstained"]


async def test_what_cannot_change_the_answer_is_taken(served: Served) -> None:
    made = await served.openai().chat.completions.create(
        **asked(),
        top_p=0.9,
        seed=1,
        stop=["\n"],
        presence_penalty=0.1,
        frequency_penalty=0.1,
        n=1,
        user="u",
        logit_bias={},
        tools=[],
        tool_choice="none",
        logprobs=False,
        max_completion_tokens=100_000,
        store=False,
        metadata={"a": "b"},
    )
    assert made.choices[0].message.content


CASES: list[tuple[dict[str, Any], type[openai.APIStatusError], int, str, str | None]] = [
    ({"model": "gpt-4o"}, openai.NotFoundError, 404, "model", "model_not_found"),
    ({"model": "default:none"}, openai.NotFoundError, 404, "model", "model_not_found"),
    ({"model": "../etc"}, openai.BadRequestError, 400, "model", None),
    ({"messages": []}, openai.BadRequestError, 400, "messages", None),
    ({"messages": [{"role": "user", "content": " "}]}, openai.BadRequestError, 400, "messages", None),
    (
        {"messages": [{"role": "user", "content": "x" * 201}]},
        openai.APIStatusError,
        413,
        "messages",
        "too_large",
    ),
    (
        {"messages": [{"role": "assistant", "content": "x"}]},
        *(openai.BadRequestError, 400, "messages[0].role", None),
    ),
    (
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]},
        *(openai.BadRequestError, 400, "messages[0].content[0]", None),
    ),
    (
        {"messages": [{"role": "tool", "tool_call_id": "1", "content": "x"}]},
        *(openai.BadRequestError, 400, "messages[0].role", None),
    ),
    (
        {"messages": [{"role": "system", "content": "x" * 401}, {"role": "user", "content": "x"}]},
        *(openai.APIStatusError, 413, "messages", "too_large"),
    ),
    ({"n": 2}, openai.BadRequestError, 400, "n", None),
    ({"tools": [{"type": "function"}]}, openai.BadRequestError, 400, "tools", None),
    ({"logprobs": True}, openai.BadRequestError, 400, "logprobs", None),
    ({"modalities": ["audio"]}, openai.BadRequestError, 400, "modalities", None),
    ({"stream_options": {"include_usage": True}}, openai.BadRequestError, 400, "stream_options", None),
    ({"temperature": 3}, openai.BadRequestError, 400, "temperature", None),
    ({"max_tokens": 0}, openai.BadRequestError, 400, "max_tokens", None),
    ({"extra_body": {"colour": "red"}}, openai.BadRequestError, 400, "colour", None),
    ({"extra_body": {"ragline": {"topk": 2}}}, openai.BadRequestError, 400, "ragline.topk", None),
    ({"extra_body": {"ragline": {"top_k": 99}}}, openai.BadRequestError, 400, "ragline.top_k", None),
    (
        {"extra_body": {"ragline": {"filter": {"colour": "red"}}}},
        *(openai.BadRequestError, 400, "ragline.filter.colour", None),
    ),
    (
        {"response_format": {"type": "json_schema"}},
        *(openai.BadRequestError, 400, "response_format.json_schema", None),
    ),
]


@pytest.mark.parametrize("stream", [False, True])
async def test_the_client_raises_its_own_exceptions(served: Served, *, stream: bool) -> None:
    client = served.openai()
    for change, kind, status, param, code in CASES:
        if stream and "stream_options" in change:
            continue
        with pytest.raises(kind) as raised:
            await client.chat.completions.create(**{**asked(), **change}, stream=stream)
        error = raised.value
        assert (error.status_code, error.param, error.code) == (status, param, code), change
        assert error.type == "invalid_request_error"
        assert error.request_id
        assert error.response.headers["content-type"] == "application/json"


async def test_a_full_house_says_when_to_come_back(retriever: grpc.aio.Channel) -> None:
    llm = world.Reciter(pauses_after=1)
    async with serving(retriever, llm=llm, waiting=1) as served:
        client = served.openai()
        stream = await client.chat.completions.create(**asked(), stream=True)
        with pytest.raises(openai.RateLimitError) as raised:
            await client.chat.completions.create(**asked("Who is the mayor of Brell?"))
        assert raised.value.type == "rate_limit_error"
        assert int(raised.value.response.headers["retry-after"]) >= 1
        llm.go.set()
        await stream.close()


async def test_failures_of_every_layer_have_the_same_shape(served: Served, retriever: grpc.aio.Channel) -> None:
    async with served.http() as client:
        big = await client.post("/v1/chat/completions", json={"x": "y" * 1_100_000})
        broken = await client.post(
            "/v1/chat/completions", content=b"{", headers={"content-type": "application/json"}
        )
        late = await client.post("/v1/chat/completions", json=asked(), headers={"x-request-timeout-s": "no"})
        wrong = await client.get("/v1/chat/completions")
        bare = await client.post("/chat/completions", json=asked())
    for response, status in ((big, 413), (broken, 400), (late, 400), (wrong, 405)):
        assert response.status_code == status
        assert set(response.json()["error"]) == {"message", "type", "param", "code"}
    assert bare.status_code == 404
    assert bare.json()["title"] == "Not found"


async def test_models_are_collections_and_profiles(served: Served) -> None:
    client = served.openai()
    listed = {each.id: each async for each in client.models.list()}
    names = [
        f"{name}{profile}" for name in ("ragline", "default", "empty") for profile in ("", ":short", ":words")
    ]
    assert list(listed) == [*names, "some-embedder", "overlap"]
    assert (listed["default:short"].model_extra or {})["ragline"] == {
        "kind": "chat",
        "collection": "default",
        "profile": "short",
        "documents": 4,
    }
    assert (await client.models.retrieve("default:short")).id == "default:short"
    with pytest.raises(openai.NotFoundError) as raised:
        await client.models.retrieve("nowhere")
    assert raised.value.code == "model_not_found"
    for name in names:
        model = (listed[name].model_extra or {})["ragline"]
        assert model["collection"] in {"default", "empty"}


async def test_the_description_has_examples_that_work(served: Served) -> None:
    async with served.http() as client:
        schema = (await client.get("/openapi.json")).json()
        assert "/v1/chat/completions" in schema["paths"]
        assert "/chat/completions" not in schema["paths"]
        operation = schema["paths"]["/v1/chat/completions"]["post"]
        assert operation["responses"]["default"] == {"$ref": "#/components/responses/Fault"}
        for example in schema["components"]["schemas"]["ChatBody"]["examples"]:
            response = await client.post("/v1/chat/completions", json=example)
            assert response.status_code == 200, response.text
        assert json.dumps(schema["components"]["schemas"]["CompletionBody"])
