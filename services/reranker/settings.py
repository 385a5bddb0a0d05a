"""What the reranker can be told: RERANKER_* variables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator
from pydantic_settings import SettingsConfigDict

from ragline import settings
from services.reranker.scorers._calibration import Logistic


class Choice(BaseModel):
    """A scorer to load: its file's name, an entry point or module:Class, and its options."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    scorer: str
    options: dict[str, Any] = {}


class Trial(Choice):
    """A scorer to try on a share of the requests; without a ``name`` it is called by its own."""

    name: str | None = Field(None, pattern=r"^[\w.-]{1,64}$")
    share: float = Field(gt=0, le=1)
    probe: bool = True


class Shadowed(Trial):
    """A scorer to try behind the answers' back; ``judge`` is a loaded one that says whose order is better."""

    judge: str | None = None


class Settings(settings.Settings):
    """Settings of the reranker."""

    model_config = SettingsConfigDict(env_prefix="RERANKER_", frozen=True, extra="forbid")

    host: str = Field("127.0.0.1", description="address that REST and gRPC listen on")
    port: int = Field(8003, ge=0, le=65535, description="port of REST; 0 takes a free one")
    grpc_port: int = Field(50053, ge=0, le=65535, description="port of gRPC; 0 takes a free one")

    scorer: str = Field(
        "late_interaction",
        min_length=1,
        description="what scores passages: late_interaction, overlap, cross_encoder, sentence_transformer, http, "
        "llm, or a module:Class of your own",
    )
    scorer_options: dict[str, Any] = Field(default={}, description="options of the scorer, as JSON")
    extra_scorers: dict[str, Choice] = Field(
        default={},
        description="more scorers that a request may choose, as JSON: names, or name to "
        '{"scorer": …, "options": {…}}',
    )
    calibration: dict[str, Logistic] = Field(
        default={},
        description='what makes a chance of a scorer\'s raw score, as JSON: its name to {"slope": …, "middle": …}',
    )
    fallback: tuple[str, ...] = Field(
        (), description="loaded scorers to ask next where one fails, as JSON; after the last: the order given"
    )
    budget_s: float = Field(5.0, gt=0, description="longest that all scorers of a request may take together")
    breaker_failures: int = Field(
        5, ge=1, description="failures in a row after which a scorer is left alone for a while"
    )
    canary: Trial | None = Field(
        None, description='a scorer that serves a share, as JSON: {"scorer": …, "options": {…}, "share": 0.05}'
    )
    canary_max_p95_s: float | None = Field(
        None, gt=0, description="95th percentile of its seconds over which a canary withdraws; empty: no limit"
    )
    shadow: Shadowed | None = Field(
        None,
        description="a scorer that scores a share after the answers, as JSON: "
        '{"scorer": …, "options": {…}, "share": 0.1, "judge": …}',
    )
    shadow_concurrency: int = Field(1, ge=1, description="most requests that a shadow is at; others are dropped")
    shadow_timeout_s: float = Field(10.0, gt=0, description="longest that a shadow may take for a request")
    cache_url: str = Field(
        "", description="cache of the passages' token vectors, shared with preprocess; empty: a file in data_dir"
    )

    scores_url: str = Field("memory://?max_mb=64", description="cache of scores; empty: none")
    scores_ttl_s: float = Field(86_400.0, gt=0, description="seconds that a score is kept")

    max_passages: int = Field(1000, ge=1, description="most passages in a request")
    max_passage_chars: int = Field(100_000, ge=1, description="longest passage, in characters")
    max_query_chars: int = Field(4096, ge=1, description="longest query, in characters")
    max_total_chars: int = Field(10_000_000, ge=1, description="most characters of all passages of a request")
    max_spans: int = Field(10_000, ge=1, description="most pieces of passages to score by themselves in a request")
    max_waiting: int = Field(
        256, ge=1, description="most rerankings of a scorer at work or waiting; one more is refused"
    )
    max_batch_tokens: int = Field(8192, ge=1, description="most word pieces in one run of a model")
    max_queue_tokens: int = Field(262_144, ge=1, description="most word pieces that wait for a model")

    load_timeout_s: float = Field(120.0, gt=0, description="longest that loading a scorer live may take")
    load_memory_factor: float = Field(
        3.0, ge=0, description="memory that a model loaded live may need, as a multiple of its weights' size"
    )
    hold_s: float = Field(60.0, ge=0, description="seconds that the scorer before a switch stays loaded")
    max_loaded: int = Field(
        8, ge=2, description="most scorers that are loaded at a time for loading one more live"
    )
    probes: Path | None = Field(
        None, description="JSONL file of questions that a scorer loaded live must answer; empty: the shipped ones"
    )
    probe_limit_ms: float = Field(
        2000.0, gt=0, description="longest that such a scorer may take for 20 short passages"
    )
    admin_token: SecretStr | None = Field(
        None, description="what /admin/reranker wants as a bearer token; none: only this machine may use it"
    )
    admin_token_file: Path | None = Field(None, description="file that holds the token instead")

    @field_validator("extra_scorers", mode="before")
    @classmethod
    def names(cls, value: Any) -> Any:
        """A list of names stands for scorers without options, each called by its own name."""
        return {name: {"scorer": name} for name in value} if isinstance(value, list) else value
