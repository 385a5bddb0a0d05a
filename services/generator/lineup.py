"""Loads the LLMs that the settings name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import SecretStr

from ragline import backends, threads
from ragline.models import ModelStore
from ragline.rates import Rates
from ragline.settings import SettingsError
from services.generator.accounting import Tenants, counted
from services.generator.llms import LLM, Parts
from services.generator.roster import LAST, Roster
from services.generator.settings import Settings

LLMS = "services.generator.llms"


@dataclass(frozen=True)
class Loaded:
    """The LLMs, and the counters of what their servers are asked."""

    roster: Roster
    rates: Rates

    async def close(self) -> None:
        """Let go of both."""
        await self.roster.close()
        await self.rates.close()


def load_llms(settings: Settings, rates: Rates) -> Loaded:
    """All LLMs, ready to write; raises SettingsError for one that cannot be had or a name that stands for none."""
    named = settings.llms
    if LAST in named:
        raise SettingsError(f"GENERATOR_LLMS has {LAST!r}, which is there in any case; choose another name.")
    if unknown := sorted(set(settings.llm_fallbacks) - {*named, LAST}):
        raise SettingsError(
            f"GENERATOR_LLM_FALLBACKS has {unknown[0]!r}, which is none of GENERATOR_LLMS: "
            f"{', '.join(sorted(named)) or 'it is empty'}."
        )
    if settings.llm in named and settings.llm_options:
        raise SettingsError(
            f"GENERATOR_LLM is {settings.llm!r} of GENERATOR_LLMS: put GENERATOR_LLM_OPTIONS there."
        )
    parts = parts_of(settings, rates)
    tenants = Tenants(settings.metric_tenants)

    def load(kind: str, options: dict[str, Any] | None = None) -> LLM:
        llm: LLM = backends.load(LLMS, kind, parts, options)
        return counted(llm, tenants)

    llms = {name: load(chosen.llm, chosen.options) for name, chosen in named.items()}
    if settings.llm not in named:
        llms[settings.llm] = load(settings.llm, settings.llm_options)
    if LAST not in llms:
        llms[LAST] = load(LAST)
    return Loaded(Roster(llms, [settings.llm, *settings.llm_fallbacks], settings.llm_timeout_s), rates)


def parts_of(settings: Settings, rates: Rates) -> Parts:
    """What every LLM is handed."""
    return Parts(
        model=ModelStore(settings.models_dir).resolve,
        api_key=key(settings),
        threads=settings.threads or threads.available(),
        timeout_s=settings.llm_timeout_s,
        rates=rates,
    )


def key(settings: Settings) -> SecretStr | None:
    """The LLM server's key, from its setting or the file that another names."""
    if settings.llm_api_key_file is None:
        return settings.llm_api_key
    if settings.llm_api_key:
        raise SettingsError("set GENERATOR_LLM_API_KEY or GENERATOR_LLM_API_KEY_FILE, not both.")
    try:
        return SecretStr(settings.llm_api_key_file.read_text().strip())
    except OSError as error:
        raise SettingsError(f"GENERATOR_LLM_API_KEY_FILE cannot be read: {error.strerror}.") from error
