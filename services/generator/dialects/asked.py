"""Turns what OpenAI's clients send into a question."""

from __future__ import annotations

from collections.abc import Sequence

from ragline.errors import InvalidRequest, TooLarge
from services.generator import asking
from services.generator.dialects.bodies import ChatBody, Message, Options
from services.generator.dialects.naming import Chosen, chosen
from services.generator.events import Question, Retrieval, Turn
from services.generator.profiles import Profiles

SYSTEM = ("system", "developer")


def question(body: ChatBody, profiles: Profiles, limits: asking.Limits, tenant: str) -> Question:
    """The question that a conversation ends with; raises InvalidRequest, TooLarge or NotFound."""
    body.check()
    options = body.ragline or Options()
    found = chosen(body.model, profiles)
    profile = found.profile
    asked, instructions, turns = spoken(body.messages)
    made = Question(
        tenant=tenant,
        collection=found.collection,
        query=asked,
        top_k=options.top_k or profile.top_k,
        max_tokens=most_tokens(body, found, limits),
        temperature=body.temperature or 0.0,
        filter_json=asking.as_json(options.filter),
        explain=options.explain,
        scorer=options.scorer or profile.scorer,
        retrieval=Retrieval(mode=options.mode or profile.mode, wait_for=options.wait_for),
        llm=options.llm or profile.llm,
        prompt=options.prompt or profile.prompt,
        unsupported=options.unsupported or profile.unsupported,
        schema_json=asking.as_json(body.response_format.schema_of() if body.response_format else None),
        session_id=options.session_id or "",
        turns=() if options.session_id else turns,
        expand=options.expand,
        instructions=instructions,
    )
    if len(instructions) > limits.turn_chars:
        raise TooLarge(
            f"The system's messages have {len(instructions)} characters, over the {limits.turn_chars} of "
            "GENERATOR_MAX_TURN_CHARS.",
            field="messages",
        )
    return asking.question(made, limits)


def most_tokens(body: ChatBody, found: Chosen, limits: asking.Limits) -> int:
    """The most tokens of the answer; 0 for the default.

    Clients that know nothing of the limit ask for more than it, and are not refused: it is a most, and where it
    cuts an answer its finish reason says so.
    """
    wanted = body.max_completion_tokens or body.max_tokens or found.profile.max_tokens
    return min(wanted, limits.answer_tokens)


def spoken(messages: Sequence[Message]) -> tuple[str, str, tuple[Turn, ...]]:
    """The last message, what the client's system says, and what was said before; raises InvalidRequest."""
    instructions: list[str] = []
    turns: list[Turn] = []
    last = len(messages) - 1
    for at, message in enumerate(messages):
        text = message.text(at)
        if message.role in SYSTEM:
            instructions.append(text)
        elif message.role == "user":
            turns.append(Turn(text, ""))
        elif message.role == "assistant":
            # What an assistant says before anything was asked is a greeting.
            if turns:
                before = turns.pop()
                turns.append(Turn(before.question, "\n".join(filter(None, (before.answer, text)))))
        else:
            raise InvalidRequest(
                f"messages[{at}] is of a {message.role}, and no tools are called here.",
                field=f"messages[{at}].role",
            )
    if messages[last].role != "user":
        raise InvalidRequest(
            f"The last message is of the {messages[last].role}; end with the user's question.",
            field=f"messages[{last}].role",
        )
    return turns[-1].question, "\n".join(instructions), tuple(turns[:-1])
