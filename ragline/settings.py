"""Base of every Settings class: frozen, from the environment, an unknown or bad value stops the start."""

from __future__ import annotations

import difflib
import os
from pathlib import Path
from typing import Any, TypeVar

from dotenv import dotenv_values
from pydantic import Field, SecretBytes, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from ragline.origins import origins

SHARED_PREFIX = "RAGLINE_"
ENV_FILE = Path(".env")

S = TypeVar("S", bound="Settings")


class SettingsError(Exception):
    """A setting is unknown or bad; the text is one sentence for the person who starts the service."""


class SharedSource(EnvSettingsSource):
    """Reads ``RAGLINE_*`` for the fields that all services share."""

    def get_field_value(self, field: Any, field_name: str) -> tuple[Any, str, bool]:
        """Only the fields of ``Settings`` itself may come from the shared prefix."""
        if field_name not in Settings.model_fields:
            return None, field_name, False
        return super().get_field_value(field, field_name)


class Settings(BaseSettings):
    """What every service can be told. ``PREFIX_NAME`` wins over ``RAGLINE_NAME`` for the fields here."""

    model_config = SettingsConfigDict(frozen=True, extra="forbid", validate_default=True)

    data_dir: Path = Field(Path(".ragline"), description="folder of everything durable")
    models_dir: Path = Field(Path("~/.cache/ragline/models"), description="folder of the model weights")
    log_level: str = Field("info", pattern="^(debug|info|warning|error)$", description="least level logged")
    log_format: str = Field("json", pattern="^(json|text)$", description="json for machines, text for people")
    threads: int = Field(0, ge=0, description="threads for models and indexes; 0 takes what the cgroup allows")
    drain_s: float = Field(10.0, ge=0, description="seconds that requests in flight get when the service stops")
    max_message_mb: int = Field(128, ge=1, description="largest gRPC message, in MB")
    connection_age_s: float = Field(
        5.0, ge=1, description="seconds after which gRPC clients connect anew, and so find new replicas"
    )
    token_bits: int = Field(
        1, description="bits a dimension, 1, 2, 4 or 8, of kept token vectors; preprocess and reranker alike"
    )
    token_dimensions: int = Field(
        0, ge=0, description="dimensions of kept token vectors; 0: all; preprocess and reranker alike"
    )
    broker_url: str = Field("", description="queues of work; empty: queue.db in data_dir")
    max_body_mb: int = Field(64, ge=1, description="largest body of a REST request, in MB")
    max_requests_per_minute: int = Field(0, ge=0, description="REST requests a minute of one tenant; 0: no limit")
    cors_origins: str = Field(
        "", description="origins of pages that may call from browsers, separated by commas, or *; empty: none"
    )
    rates_url: str = Field("memory://", description="where those are counted; a redis:// that all replicas share")

    @field_validator("data_dir", "models_dir")
    @classmethod
    def expand_home(cls, folder: Path) -> Path:
        """``~`` means the same here as in a shell."""
        return folder.expanduser()

    @field_validator("cors_origins")
    @classmethod
    def origins_alone(cls, given: str) -> str:
        """Schemes, hosts and ports, without paths."""
        origins(given)
        return given

    @field_validator("token_bits")
    @classmethod
    def whole_parts_of_a_byte(cls, bits: int) -> int:
        """The numbers of bits that there is a layout for."""
        if bits not in {1, 2, 4, 8}:
            raise ValueError("it must be 1, 2, 4 or 8")
        return bits

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Values given in code, then the service's own variables, then the shared ones."""
        return init_settings, env_settings, SharedSource(settings_cls, env_prefix=SHARED_PREFIX)

    def make_data_dir(self) -> None:
        """Make sure that what is durable has its folder; raises SettingsError."""
        try:
            self.data_dir.mkdir(parents=True, exist_ok=True)
            fault = "" if os.access(self.data_dir, os.W_OK | os.X_OK) else "Permission denied"
        except OSError as error:
            fault = error.strerror or str(error)
        if fault:
            raise SettingsError(
                f"{variable(type(self), 'data_dir')}={str(self.data_dir)!r} is no good: {fault}; "
                "name a folder that can be written to."
            )

    @classmethod
    def prefix(cls) -> str:
        """The start of this class's variables, such as ``RERANKER_``."""
        return cls.model_config.get("env_prefix", "")


def load(settings: type[S], **values: Any) -> S:
    """Settings from ``.env``, the environment and ``values`` (which win); raises SettingsError."""
    for name, value in dotenv_values(ENV_FILE).items():
        os.environ.setdefault(name, value or "")
    refuse_unknown(settings)
    try:
        return settings(**values)
    except ValidationError as error:
        raise SettingsError(sentence(settings, error)) from None


def refuse_unknown(settings: type[Settings]) -> None:
    """Raise for a variable that has the prefix and no field: a misspelt name is never silently ignored."""
    prefix = settings.prefix()
    if not prefix:
        return
    known = {(prefix + name).upper() for name in settings.model_fields}
    for name in os.environ:
        if name.startswith(prefix) and name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(sorted(known))}."
            raise SettingsError(f"{name} is no setting; {hint}")


def sentence(settings: type[Settings], error: ValidationError) -> str:
    """One line that names each bad variable, what it held (unless that is secret) and why that is wrong."""
    parts = []
    for fault in error.errors():
        name = variable(settings, "_".join(str(part) for part in fault["loc"]))
        held = "" if is_secret(settings, str(fault["loc"][0])) else f"={fault['input']!r}"
        parts.append(
            f"{name} is not set"
            if fault["type"] == "missing"
            else f"{name}{held} is no good: {fault['msg'].removeprefix('Value error, ')}"
        )
    return "; ".join(parts) + "."


def variable(settings: type[Settings], field: str) -> str:
    """The variable that a field was read from, or would be."""
    own, shared = (settings.prefix() + field).upper(), (SHARED_PREFIX + field).upper()
    return shared if own not in os.environ and shared in os.environ else own


def is_secret(settings: type[Settings], field: str) -> bool:
    """Whether what a field holds must not be shown."""
    kind = str(settings.model_fields[field].annotation) if field in settings.model_fields else ""
    return any(secret.__name__ in kind for secret in (SecretStr, SecretBytes))
