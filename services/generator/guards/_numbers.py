"""Checks the digits by which the numbers of cards, accounts and people can be told from other numbers."""

from __future__ import annotations

import re
from collections.abc import Callable

# Characters of an IBAN by country, of those that use it (the SWIFT registry).
_LENGTHS = (
    "AD24 AE23 AL28 AT20 AZ28 BA20 BE16 BG22 BH22 BR29 BY28 CH21 CR22 CY28 CZ24 DE22 DK18 DO28 EE20 EG29 "
    "ES24 FI18 FO18 FR27 GB22 GE22 GI23 GL18 GR27 GT28 HR21 HU28 IE22 IL23 IQ23 IS26 IT27 JO30 KW30 KZ20 "
    "LB28 LC32 LI21 LT20 LU20 LV21 LY25 MC27 MD24 ME22 MK19 MR27 MT31 MU30 NL18 NO15 PK24 PL28 PS29 PT25 "
    "QA29 RO24 RS22 SA24 SC31 SD18 SE24 SI19 SK24 SM27 ST25 SV28 TL23 TN24 TR26 UA29 VA22 VG24 XK20 "
)
_IBAN = {each[:2]: int(each[2:]) for each in re.findall(r"\w+", _LENGTHS)}
_DNI = "TRWAGMYFPDXBNJZSQVHLCKE"
_ODD = dict(
    zip(
        "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ",
        (
            1,
            0,
            5,
            7,
            9,
            13,
            15,
            17,
            19,
            21,
            1,
            0,
            5,
            7,
            9,
            13,
            15,
            17,
            19,
            21,
            2,
            4,
            18,
            20,
            11,
            3,
            6,
            8,
            12,
            14,
            16,
            10,
            22,
            25,
            24,
            23,
        ),
        strict=True,
    )
)


def bare(given: str) -> str:
    """Digits and letters alone, in capitals."""
    return re.sub(r"[^0-9A-Za-z]", "", given).upper()


def card(given: str) -> bool:
    """A payment card: a known first digit and the check digit of ISO/IEC 7812 (Luhn)."""
    digits = bare(given)
    if not 13 <= len(digits) <= 19 or digits[0] not in "23456" or len(set(digits)) < 2:
        return False
    doubled = [int(digit) * (1 + at % 2) for at, digit in enumerate(reversed(digits))]
    return sum(each - 9 * (each > 9) for each in doubled) % 10 == 0


def iban(given: str) -> bool:
    """An IBAN: its country's length and the check digits of ISO 13616."""
    number = bare(given)
    return (
        _IBAN.get(number[:2]) == len(number)
        and int("".join(str(int(c, 36)) for c in number[4:] + number[:4])) % 97 == 1
    )


def spain(given: str) -> bool:
    """A Spanish DNI or NIE: its letter says the rest divided by 23."""
    number = bare(given)
    digits = number[:-1].translate(str.maketrans("XYZ", "012"))
    return digits.isdecimal() and _DNI[int(digits) % 23] == number[-1]


def france(given: str) -> bool:
    """A French NIR: the key is 97 less the rest divided by 97."""
    number = bare(given).replace("2A", "19").replace("2B", "18")
    return number.isdecimal() and 97 - int(number[:13]) % 97 == int(number[13:])


def italy(given: str) -> bool:
    """An Italian codice fiscale: its last letter is the sum of the others, those at odd places by a table."""
    number = bare(given)
    total = sum(_ODD[c] if at % 2 == 0 else int(c, 36) - 10 * c.isalpha() for at, c in enumerate(number[:15]))
    return chr(total % 26 + ord("A")) == number[15]


def brazil(given: str) -> bool:
    """A Brazilian CPF: two check digits, weighted sums by 11."""
    digits = [int(digit) for digit in bare(given)]
    if len(set(digits)) < 2:
        return False
    for length in (9, 10):
        total = sum(digit * (length + 1 - at) for at, digit in enumerate(digits[:length]))
        if total * 10 % 11 % 10 != digits[length]:
            return False
    return True


def poland(given: str) -> bool:
    """A Polish PESEL: a weighted sum by 10, and a month that there is."""
    digits = [int(digit) for digit in bare(given)]
    total = sum(digit * weight for digit, weight in zip(digits, (1, 3, 7, 9, 1, 3, 7, 9, 1, 3, 1), strict=True))
    return total % 10 == 0 and 1 <= int(bare(given)[2:4]) % 20 <= 12 and 1 <= int(bare(given)[4:6]) <= 31


def always(given: str) -> bool:
    """Its shape is enough."""
    return True


NATIONAL: tuple[tuple[re.Pattern[str], Callable[[str], bool]], ...] = (
    (re.compile(r"(?<![\w-])(?!000|666|9\d\d)\d{3}-(?!00)\d{2}-(?!0000)\d{4}(?![\w-])"), always),  # US: SSN
    (
        re.compile(r"\b(?!BG|GB|KN|NK|NT|TN|ZZ)[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z] ?\d{2} ?\d{2} ?\d{2} ?[A-D]\b"),
        always,
    ),  # UK: NINO
    (re.compile(r"\b(?:\d{8}|[XYZ]-?\d{7})-?[A-Z]\b"), spain),
    (
        re.compile(r"(?<!\d)[12] ?\d{2} ?(?:0[1-9]|1[0-2]|[2-9]\d) ?(?:\d{2}|2[AB]) ?\d{3} ?\d{3} ?\d{2}(?!\d)"),
        france,
    ),
    (re.compile(r"\b[A-Z]{6}\d{2}[A-EHLMPRST]\d{2}[A-Z]\d{3}[A-Z]\b"), italy),
    (re.compile(r"(?<!\d)\d{3}\.\d{3}\.\d{3}-\d{2}(?!\d)"), brazil),
    (re.compile(r"(?<![\d.])\d{11}(?![\d.]\d|\d)"), poland),
)
