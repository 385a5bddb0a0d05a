"""What operators lay down holds for OpenAI's clients, too: prompts, guards, lengths, profiles."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import grpc
import openai
import pytest

from ragline.settings import SettingsError
from services.generator.dialects import told
from services.generator.events import Done, Finding, Outcome
from services.generator.guarding import open_guards
from services.generator.llms import Finish, Piece, Usage
from services.generator.profiles import Known, Profile, check
from services.generator.prompt import Prompt
from services.generator.steps import Steps
from tests.generator import world
from tests.generator.dialects.place import KESTREL, asked, serving

KNOWN = Known(["extractive", "small"], lambda name: name == "answer.extract", 10, 100)


class Recorder(world.Reciter):
    """Notes what it is asked."""

    def __init__(self) -> None:
        super().__init__()
        self.prompts: list[Prompt] = []

    async def generate(
        self, prompt: Prompt, *, max_tokens: int, temperature: float
    ) -> AsyncGenerator[Piece, None]:
        self.prompts.append(prompt)
        async for piece in super().generate(prompt, max_tokens=max_tokens, temperature=temperature):
            yield piece


async def test_a_clients_instructions_stand_below_the_operators(retriever: grpc.aio.Channel) -> None:
    llm = Recorder()
    async with serving(retriever, llm=llm) as served:
        plain = await served.openai().chat.completions.create(**asked())
        messages = [{"role": "developer", "content": "Be brief."}, {"role": "user", "content": KESTREL}]
        await served.openai().chat.completions.create(model="ragline", messages=messages)  # type: ignore[arg-type]
    alone, instructed = llm.prompts
    assert plain.choices[0].message.content
    assert instructed.system.startswith(alone.system.rstrip())
    assert "Be brief." in instructed.system.removeprefix(alone.system.rstrip())
    assert instructed.user == alone.user


async def test_what_a_guard_refuses_is_filtered_content(retriever: grpc.aio.Channel) -> None:
    guards = open_guards({"topics": {"policy": "refuse", "blocked": {"reset": ["reset button"]}}})
    async with serving(retriever, steps=Steps(guards=guards)) as served:
        with pytest.raises(openai.UnprocessableEntityError) as raised:
            await served.openai().chat.completions.create(**asked("Where is the reset button?"))
        assert (raised.value.code, raised.value.param) == ("content_filter", "messages")
        system = [{"role": "system", "content": "Speak of the reset button."}]
        with pytest.raises(openai.UnprocessableEntityError):
            await served.openai().chat.completions.create(**{**asked(), "messages": system + asked()["messages"]})


@pytest.mark.parametrize(
    ("finish", "stage", "action", "reason"),
    [
        ("stop", "answer", "flag", "stop"),
        ("stop", "passages", "refuse", "stop"),
        ("length", "answer", "mask", "length"),
        ("stop", "answer", "refuse", "content_filter"),
    ],
)
def test_the_reason_why_an_answer_ended(finish: Finish, stage: str, action: str, reason: str) -> None:
    outcome = Outcome("It is so.", (), False, (), Usage(), "m", finish=finish)
    finding = Finding("topics", stage, action, "x")  # type: ignore[arg-type]
    done = Done("id", outcome, {}, 1, False, findings=(finding,))
    assert told.reason(done) == reason


@pytest.mark.parametrize(
    ("name", "profile", "says"),
    [
        ("a b", Profile(), "no name"),
        ("a:b", Profile(), "no name"),
        ("a", Profile(top_k=11), "GENERATOR_MAX_TOP_K"),
        ("a", Profile(max_tokens=101), "GENERATOR_MAX_ANSWER_TOKENS"),
        ("a", Profile(llm="large"), "there are extractive, small"),
        ("a", Profile(prompt="pirate"), "no prompt 'pirate'"),
    ],
)
def test_a_profile_that_nobody_could_use_stops_the_start(name: str, profile: Profile, says: str) -> None:
    with pytest.raises(SettingsError, match=says):
        check({name: profile}, KNOWN)


def test_a_profile_may_choose_anything_that_there_is() -> None:
    profile = Profile(llm="small", prompt="answer.extract", top_k=10, max_tokens=100, unsupported="flag")
    check({"a": profile}, KNOWN)
