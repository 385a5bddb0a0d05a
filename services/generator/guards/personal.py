"""Finds e-mail addresses, telephone and account numbers, cards, national ids and addresses on the network."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from typing import Literal

import phonenumbers

from ragline.settings import SettingsError
from services.generator.guards import STAGES, Match, Parts, Stage
from services.generator.guards._numbers import NATIONAL, card, iban

Kind = Literal["e-mail", "phone", "iban", "card", "national id", "ip"]
KINDS: tuple[Kind, ...] = ("e-mail", "phone", "iban", "card", "national id", "ip")

_EMAIL = re.compile(
    r"(?<![\w.+-])[\w.+-]{1,64}(?:@|\s?[\[(]at[\])]\s?)(?:[\w-]{1,63}(?:\.|\s?[\[(]dot[\])]\s?)){1,8}[^\W\d_]{2,24}(?![\w-])",
    re.IGNORECASE,
)
_IBAN = re.compile(r"\b[A-Z]{2}\d{2}(?:[ -]?[A-Z0-9]{4}){2,7}(?:[ -]?[A-Z0-9]{1,4})?\b")
_CARD = re.compile(r"(?<![\d.-])\d(?:[ -]?\d){12,18}(?![\d-])")
_IP = re.compile(
    r"(?<![\w.:])(?:\d{1,3}(?:\.\d{1,3}){3}|[0-9a-f]{0,4}(?::[0-9a-f]{0,4}){2,7})(?![\w:]|\.\d)", re.IGNORECASE
)
_PHONE_LIKE = re.compile(r"\d(?:[\s().\-/\u00a0]{0,3}\d){5}|\+\d")


def load(parts: Parts, *, kinds: list[Kind] | None = None, regions: list[str] | None = None) -> Personal:
    """``kinds`` to look for, all by default; ``regions``, as in ["US", "DE"], whose telephone numbers are known
    without their country's code: none by default, since nearly any row of digits is one somewhere."""
    known = phonenumbers.SUPPORTED_REGIONS
    for region in regions or ():
        if region not in known:
            raise SettingsError(
                f"GENERATOR_GUARDS: {region!r} is no region of personal; it is one such as US or DE."
            )
    return Personal(tuple(kinds or KINDS), tuple(regions or ()))


class Personal:
    """Numbers count only where their check digits are right, or their shape is nobody else's."""

    stages: tuple[Stage, ...] = STAGES
    reach = 200

    def __init__(self, kinds: tuple[Kind, ...] = KINDS, regions: tuple[str, ...] = ()) -> None:
        self.kinds = kinds
        self.regions: tuple[str | None, ...] = (None, *regions)
        self.finders = {
            "e-mail": emails,
            "iban": ibans,
            "card": cards,
            "national id": nationals,
            "ip": addresses,
            "phone": self.phones,
        }

    def find(self, text: str, stage: Stage) -> list[Match]:
        """Each with its kind as the place holder."""
        return [
            Match(start, end, kind, f"[{kind}]") for kind in self.kinds for start, end in self.finders[kind](text)
        ]

    def phones(self, text: str) -> Iterator[tuple[int, int]]:
        """Numbers that can be called, by the rules of Google's libphonenumber."""
        if not _PHONE_LIKE.search(text):
            return
        yield from {
            (found.start, found.end)
            for region in self.regions
            for found in phonenumbers.PhoneNumberMatcher(text, region)
        }


def emails(text: str) -> Iterator[tuple[int, int]]:
    """Addresses, also with (at) and (dot)."""
    if "@" in text or "at)" in text.lower() or "at]" in text.lower():
        yield from (match.span() for match in _EMAIL.finditer(text))


def ibans(text: str) -> Iterator[tuple[int, int]]:
    """Account numbers; of what runs on into other words, the part that is one."""
    for match in _IBAN.finditer(text):
        end = match.end()
        while end > match.start() + 14:
            if iban(text[match.start() : end]):
                yield match.start(), end
                break
            end -= 1


def cards(text: str) -> Iterator[tuple[int, int]]:
    """Numbers of payment cards."""
    yield from (match.span() for match in _CARD.finditer(text) if card(match.group()))


def nationals(text: str) -> Iterator[tuple[int, int]]:
    """Numbers that states give to people, of seven countries."""
    for pattern, check in NATIONAL:
        yield from (match.span() for match in pattern.finditer(text) if check(match.group()))


def addresses(text: str) -> Iterator[tuple[int, int]]:
    """IPv4 and IPv6 addresses."""
    for match in _IP.finditer(text):
        try:
            found = ipaddress.ip_address(match.group())
        except ValueError:
            continue
        if not found.is_unspecified:
            yield match.span()
