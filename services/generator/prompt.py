"""What an LLM is asked, and an estimate of how many tokens that is."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

from services.generator.checks.evidence import Sentence

# How an LLM is asked for an answer. "extract" lets a small model copy the one sentence that answers;
# "passages" gives a capable one the numbered passages to write from.
Style = Literal["extract", "passages"]
# What it is asked for: an answer, a summary, a question that stands alone, other wordings of one.
Task = Literal["answer", "summary", "standalone", "expand"]
# A question of a conversation, and its answer.
Said = tuple[str, str]

NO_ANSWER = "NO ANSWER"


@dataclass(frozen=True)
class Prompt:
    """What an LLM is asked. ``sentences``, best first, is what one without a model chooses from.

    ``said`` is what was said before, oldest first; ``id`` the name@version of the template that it was made by.
    ``schema`` is a JSON schema that the text is to follow, for servers that can hold to one.
    """

    task: Task
    system: str
    user: str
    sentences: tuple[Sentence, ...] = ()
    said: tuple[Said, ...] = ()
    id: str = ""
    schema: Any = None

    @property
    def response_format(self) -> dict[str, Any]:
        """What a request in the OpenAI dialect says of the schema; nothing where there is none."""
        if self.schema is None:
            return {}
        shape = {"name": "answer", "schema": self.schema}
        return {"response_format": {"type": "json_schema", "json_schema": shape}}

    @property
    def messages(self) -> list[dict[str, str]]:
        """As chat messages; what is the same in every request comes first, so that prefixes are kept."""
        spoken = [("system", self.system)] if self.system else []
        for question, answer in self.said:
            spoken += [("user", question), ("assistant", answer)]
        return [{"role": role, "content": text} for role, text in (*spoken, ("user", self.user))]


def tokens(text: str) -> int:
    """An estimate of a text's tokens that errs to the high side, whatever the tokenizer."""
    narrow = len(text.encode("latin-1", "ignore"))
    return math.ceil(narrow / 3.5 + (len(text) - narrow) * 1.2)
