"""Finds keys, tokens, passwords and private keys, by the patterns of detect-secrets and a few of its own."""

from __future__ import annotations

import re
from collections.abc import Iterator

from detect_secrets.plugins import (
    aws,
    azure_storage_key,
    basic_auth,
    discord,
    github_token,
    gitlab_token,
    ibm_cloud_iam,
    ibm_cos_hmac,
    jwt,
    mailchimp,
    npm,
    openai,
    pypi_token,
    sendgrid,
    slack,
    square_oauth,
    stripe,
    telegram_token,
    twilio,
)

from services.generator.guards import STAGES, Match, Parts, Stage

# Those whose shape nothing else has. Its detectors of high entropy and of words near an equals sign find commit
# ids, checksums and prose, which documents are full of.
_DETECTORS = (
    aws.AWSKeyDetector,
    azure_storage_key.AzureStorageKeyDetector,
    discord.DiscordBotTokenDetector,
    github_token.GitHubTokenDetector,
    gitlab_token.GitLabTokenDetector,
    ibm_cloud_iam.IbmCloudIamDetector,
    ibm_cos_hmac.IbmCosHmacDetector,
    jwt.JwtTokenDetector,
    mailchimp.MailchimpDetector,
    npm.NpmDetector,
    openai.OpenAIDetector,
    pypi_token.PypiTokenDetector,
    sendgrid.SendGridDetector,
    slack.SlackDetector,
    square_oauth.SquareOAuthDetector,
    stripe.StripeDetector,
    telegram_token.TelegramBotTokenDetector,
    twilio.TwilioKeyDetector,
)
_NEWER = (
    r"\bAIza[0-9A-Za-z_-]{35}",
    r"\bgithub_pat_[0-9A-Za-z_]{22,255}",
    r"\bsk-(?:proj|ant|svcacct|admin|or)-[0-9A-Za-z_-]{16,255}",
    r"\bhf_[A-Za-z]{30,40}\b",
    r"\bxapp-\d-[0-9A-Za-z-]{20,255}",
    r"\b(?:r|s|p)k_(?:live|test)_[0-9a-zA-Z]{16,255}",
    r"\bAGE-SECRET-KEY-1[0-9A-Z]{58}",
    r"\bdop_v1_[0-9a-f]{64}",
    r"\bhvs\.[0-9A-Za-z_-]{24,255}",
)
# A key in PEM ends where it says so, or, cut short, where the text does.
_PRIVATE = re.compile(
    r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----"
    r"(?:.*?-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----|.*)"
    r"|PuTTY-User-Key-File-\d:.*",
    re.DOTALL,
)
_CALLED = (
    r"pass(?:word|wd|phrase|code)?|pwd|passwort|kennwort|mot de passe|contrase[nñ]a|senha|api[ _-]?key"
    r"|client[ _-]?secret|secret(?:[ _-]?(?:access)?[ _-]?key)?|access[ _-]?(?:key|token)|auth[ _-]?token"
    r"|private[ _-]?token|credentials?"
)
_LINK = r"\s{0,3}(?:[:=]|:=|=>)\s{0,3}|\s(?:is|was|ist|est|es)\s(?:now\s|still\s|set to\s|currently\s)?|\s"
_NAMED = re.compile(
    rf"(?:\b|_)(?:{_CALLED})\b[\"'`*]{{0,3}}(?:{_LINK})[\"'`*(]{{0,3}}(?P<value>[^\s\"'`<>\u2588]{{6,200}})",
    re.IGNORECASE,
)
_BEARER = re.compile(
    r"\b(?:authorization:\s{0,3})?(?:bearer|basic)\s(?P<value>[A-Za-z0-9+/_.=-]{16,2000})", re.IGNORECASE
)
_REST = re.compile(r"(?:[\w+/=-]|\.(?=[\w-]))*")
_DIGIT = re.compile(r"\d")
_SIGN = re.compile(r"[!@#$%^&*+=~?]")
_LETTER = re.compile(r"[A-Za-z]")
_TRAILING = ".,;:!?)]}*"
LONGEST = 8192


def load(parts: Parts, *, passwords: bool = True) -> Secrets:
    """``passwords``: also look for what is called a password or a key and looks like one."""
    return Secrets(passwords)


class Secrets:
    """A secret is masked whole; what is only called one must hold a digit or a sign."""

    stages: tuple[Stage, ...] = STAGES
    reach = LONGEST

    def __init__(self, passwords: bool = True) -> None:
        self.passwords = passwords
        self.patterns = [
            (str(detector.secret_type).lower(), pattern)
            for detector in _DETECTORS
            for pattern in detector.denylist
        ] + [("token", re.compile(pattern)) for pattern in _NEWER]
        self.logins = list(basic_auth.BasicAuthDetector.denylist)

    def find(self, text: str, stage: Stage) -> list[Match]:
        """The secrets; of a URL with a password the password alone."""
        found = [
            Match(match.start(), rest(text, match.end()), kind, "[secret]")
            for kind, pattern in self.patterns
            for match in pattern.finditer(text)
        ]
        if "://" in text:
            found += [
                Match(*match.span(1), "password in a URL", "[password]")
                for pattern in self.logins
                for match in pattern.finditer(text)
            ]
        if "PRIVATE KEY" in text or "PuTTY-" in text:
            found += [Match(*match.span(), "private key", "[private key]") for match in _PRIVATE.finditer(text)]
        return [*found, *named(text)] if self.passwords else found


def rest(text: str, at: int) -> int:
    """Where what began as a secret ends: some patterns find no more than they need to know it by."""
    found = _REST.match(text, at)
    return found.end() if found else at


def named(text: str) -> Iterator[Match]:
    """What is called a password or a key, and what is sent as one."""
    for match in _NAMED.finditer(text):
        value = match["value"].rstrip(_TRAILING)
        strong = _DIGIT.search(value) and _LETTER.search(value)
        signed = (
            len(_SIGN.findall(value)) > 0
            and _LETTER.search(value)
            and not value.startswith(("http", "$", "%", "{"))
        )
        if len(value) >= 6 and (strong or signed) and "/" not in value[:1] and "(" not in value:
            start = match.start("value")
            yield Match(start, start + len(value), "password", "[password]")
    for match in _BEARER.finditer(text):
        value = match["value"]
        if _DIGIT.search(value) and _LETTER.search(value):
            yield Match(*match.span("value"), "bearer token", "[secret]")
