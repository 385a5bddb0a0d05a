"""What ``model`` means to OpenAI's clients: a collection and a profile."""

from __future__ import annotations

from dataclasses import dataclass

from ragline.errors import NotFound
from services.generator import profiles
from services.generator.profiles import Profile, Profiles

OWN = "ragline"
COLLECTION = "default"


@dataclass(frozen=True)
class Chosen:
    """What a model's name stands for."""

    collection: str
    profile: Profile


def chosen(model: str, known: Profiles) -> Chosen:
    """``collection``, ``collection:profile``, or ``ragline`` for the default collection.

    Without a profile it is the one that is called default, where there is one. Raises NotFound for a profile that
    there is not; who searches knows whether there is the collection.
    """
    collection, colon, name = model.partition(":")
    if colon and name not in {*known, profiles.DEFAULT}:
        there = ", ".join(sorted({*known, profiles.DEFAULT}))
        raise NotFound(
            f"There is no profile {name[:100]!r} (GENERATOR_PROFILES); there are {there}.", field="model"
        )
    profile = known.get(name or profiles.DEFAULT, Profile())
    return Chosen(COLLECTION if collection == OWN else collection, profile)
