"""Opens what conversations and other wordings need, as the settings say."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote

from fastapi import APIRouter

import ragline.entries
from ragline.entries import Entries
from ragline.errors import InvalidRequest
from ragline.settings import SettingsError
from services.generator.conversations import api
from services.generator.conversations.conversation import Conversations
from services.generator.conversations.sessions import Sessions
from services.generator.conversations.standalone import Standalone
from services.generator.events import Question
from services.generator.expansion import Expansions
from services.generator.llms import LLM
from services.generator.prompts import Prompts
from services.generator.roster import Roster
from services.generator.settings import Settings


@dataclass(frozen=True)
class Opened:
    """The two steps, the routes of sessions, and their store."""

    conversations: Conversations
    expansions: Expansions
    router: APIRouter
    entries: Entries

    async def stop(self) -> None:
        """Let go of the store."""
        await self.entries.close()


def open_conversations(settings: Settings, llms: Roster, prompts: Prompts) -> Opened:
    """Sessions at ``sessions_url``, and who rewrites and words questions; raises SettingsError."""
    name = settings.rewrite_llm
    try:
        llms.chosen(name)
    except InvalidRequest as error:
        raise SettingsError(f"GENERATOR_REWRITE_LLM: {error.detail}") from None

    def writer(question: Question) -> LLM:
        return llms.chosen(name or question.llm)

    entries = ragline.entries.open(
        settings.sessions_url or f"sqlite://{quote(str(settings.data_dir.absolute()))}/sessions.db"
    )
    sessions = Sessions(entries, settings.session_ttl_s, settings.session_turns)
    standalone = Standalone(writer, prompts, settings.rewrite, settings.rewrite_timeout_s)
    return Opened(
        Conversations(sessions, standalone, settings.max_turns),
        Expansions(writer, prompts, settings.expand_by, settings.rewrite_timeout_s),
        api.router(sessions),
        entries,
    )
