"""Opens the records of answers and the feedback on them as the settings say."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from fastapi import APIRouter
from pydantic import SecretStr

import ragline.entries
from ragline.entries import Entries
from ragline.settings import SettingsError
from services.generator.feedback import api
from services.generator.feedback.records import AnswerRecords
from services.generator.feedback.votes import Votes
from services.generator.feedback.writer import Writer
from services.generator.settings import Settings
from services.generator.steps import Guards

MB = 1_000_000
FILE = "records.db"


@dataclass(frozen=True)
class Opened:
    """``records`` is None where none are kept; the routes are there all the same, and say so."""

    records: AnswerRecords | None
    router: APIRouter
    entries: Entries | None

    async def stop(self) -> None:
        """Write what waits, and let go of the store."""
        if self.records:
            await self.records.close()
        if self.entries:
            await self.entries.close()


def open_records(settings: Settings, guards: Guards | None) -> Opened:
    """The records, or none where ``records_url`` is empty. Raises SettingsError for a store that cannot be."""
    token = admin_token(settings)
    url = settings.records_url
    if url is None:
        url = f"sqlite://{quote(str(settings.data_dir.absolute() / FILE))}"
    if not url:
        return Opened(None, api.router(None, token), None)
    entries = ragline.entries.open(url)
    writer = Writer(entries, settings.records_ttl_s, settings.records_waiting_mb * MB)
    records = AnswerRecords(entries, settings.records_ttl_s, writer)
    votes = Votes(entries, records, settings.feedback_ttl_s, settings.max_feedback, guards)
    return Opened(records, api.router(votes, token), entries)


def admin_token(settings: Settings) -> SecretStr | None:
    """The token that reads feedback, from its setting or the file that another names."""
    file: Path | None = settings.admin_token_file
    if file is None:
        return settings.admin_token
    if settings.admin_token:
        raise SettingsError("set GENERATOR_ADMIN_TOKEN or GENERATOR_ADMIN_TOKEN_FILE, not both.")
    try:
        return SecretStr(file.read_text().strip())
    except OSError as error:
        raise SettingsError(f"GENERATOR_ADMIN_TOKEN_FILE cannot be read: {error.strerror}.") from error
