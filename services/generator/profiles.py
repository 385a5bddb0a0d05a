"""Ways of answering that have a name, for clients that can choose nothing but a model."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from ragline.settings import SettingsError
from services.generator.events import Policy

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
DEFAULT = "default"
SETTING = "GENERATOR_PROFILES"


class Profile(BaseModel):
    """What a request leaves open is answered like this; what is absent here has the usual default."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    prompt: str = ""
    top_k: Annotated[int, Field(ge=0)] = 0
    mode: Literal["hybrid", "dense", "sparse", "auto"] = "hybrid"
    llm: str = ""
    scorer: str = ""
    max_tokens: Annotated[int, Field(ge=0)] = 0
    unsupported: Policy | Literal[""] = ""


Profiles = Mapping[str, Profile]


@dataclass(frozen=True)
class Known:
    """What a profile may name, and the limits of its numbers."""

    llms: Collection[str]
    prompt: Callable[[str], bool]
    top_k: int
    max_tokens: int


def check(profiles: Profiles, known: Known) -> None:
    """Raise SettingsError for a profile that no request could use.

    Scorers are the reranker's to know: one that is not loaded is refused when it is asked for.
    """
    for name, profile in profiles.items():
        if not NAME.fullmatch(name):
            raise SettingsError(
                f"{SETTING}: {name!r} is no name; use 1 to 64 letters, digits, dots, dashes and underscores."
            )
        if profile.llm and profile.llm not in known.llms:
            there = ", ".join(sorted(known.llms))
            raise SettingsError(f"{SETTING}: llm {profile.llm!r} of {name} is not set up; there are {there}.")
        if profile.prompt and not known.prompt(profile.prompt):
            raise SettingsError(
                f"{SETTING}: there is no prompt {profile.prompt!r} for answers, which {name} asks for."
            )
        for field, given, limit in (
            ("top_k", profile.top_k, known.top_k),
            ("max_tokens", profile.max_tokens, known.max_tokens),
        ):
            if given > limit:
                setting = "GENERATOR_MAX_TOP_K" if field == "top_k" else "GENERATOR_MAX_ANSWER_TOKENS"
                raise SettingsError(f"{SETTING}: {field} of {name} is {given}, over the {limit} of {setting}.")
