"""Wires the cache of answers to questions that ask the same, where the settings want it."""

from __future__ import annotations

from ragline.cache import Cache
from ragline.settings import SettingsError
from services.generator.semantic import Choices, Semantic
from services.generator.settings import Settings
from services.generator.sources import Sources


def open_semantic(settings: Settings, cache: Cache | None, sources: Sources) -> Semantic | None:
    """The cache, or None where it is off; raises SettingsError where what it needs is not there."""
    if not settings.semantic_cache:
        return None
    if cache is None or sources.reranker is None:
        raise SettingsError(
            "GENERATOR_SEMANTIC_CACHE needs a cache (GENERATOR_CACHE_URL) and a reranker "
            "(GENERATOR_RERANKER_ADDRESS) that says whether two questions ask the same."
        )
    choices = Choices(
        cosine=settings.semantic_cosine,
        agreement=settings.semantic_agreement,
        words=settings.semantic_words,
        entries=settings.semantic_entries,
        scorer=settings.semantic_scorer,
    )
    return Semantic(cache, sources, choices, settings.cache_ttl_s)
