"""What preprocess can be told: PREPROCESS_* variables."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, ValidationInfo, field_validator
from pydantic_settings import SettingsConfigDict

from ragline import settings


class Settings(settings.Settings):
    """Settings of preprocess. A URL that is empty means a file or folder under ``data_dir``."""

    model_config = SettingsConfigDict(env_prefix="PREPROCESS_", frozen=True, extra="forbid")

    role: Literal["all", "door", "worker"] = Field(
        "all", description="door takes requests, worker takes documents off the queue, all does both"
    )
    host: str = Field("127.0.0.1", description="address that REST and gRPC listen on")
    port: int = Field(8001, ge=0, le=65535, description="port of REST; 0 takes a free one")
    grpc_port: int = Field(50051, ge=0, le=65535, description="port of gRPC; 0 takes a free one")

    retriever_address: str = Field("127.0.0.1:50052", description="the retriever's gRPC door, host:port")
    retriever_timeout_s: float = Field(60.0, gt=0, description="seconds that one call to the retriever may take")
    cache_url: str = Field(
        "", description="cache of vectors, shared with the reranker; empty: cache.db in data_dir"
    )
    retriever_wait_s: float = Field(
        5.0,
        ge=0,
        description="seconds that a write waits at the door for a retriever that is away; then it is queued",
    )
    jobs_url: str = Field("", description="progress of jobs, sqlite:// or a Redis URL; empty: jobs.db in data_dir")
    blob_url: str = Field("", description="where raw documents are kept (fsspec URL); empty: blobs in data_dir")

    embedder: str = Field(
        "onnx",
        min_length=1,
        description="what embeds: onnx, sentence_transformer, hashing, or a module:Class of your own",
    )
    embedder_options: dict[str, Any] = Field(default={}, description="options of the embedder, as JSON")
    next_embedder: str = Field(
        "", description="what is to embed from the next `ragline reembed` on, loaded beside embedder; empty: none"
    )
    next_embedder_options: dict[str, Any] = Field(default={}, description="options of the next embedder, as JSON")
    token_vectors: bool = Field(
        True, description="keep the token vectors of passages and queries for the reranker"
    )
    max_batch_tokens: int = Field(1024, ge=1, description="most word pieces in one run of the model")
    max_queue_tokens: int = Field(524_288, ge=1, description="most word pieces that wait for the model")
    max_inputs: int = Field(1024, ge=1, description="most texts in one request to embed")
    max_chars: int = Field(100_000, ge=1, description="longest text to embed, in characters")

    chunker: str = Field("headings", min_length=1, description="how texts are cut into passages")
    chunker_options: dict[str, Any] = Field(default={}, description="options of the chunker, as JSON")
    max_tokens: int = Field(200, ge=16, description="longest passage, in the model's word pieces")
    overlap_tokens: int = Field(32, ge=0, description="word pieces that neighbouring passages share, about")
    parse_processes: int = Field(1, ge=1, description="processes that parse and cut documents")
    parse_timeout_s: float = Field(60.0, gt=0, description="seconds that parsing one document may take")
    parse_memory_mb: int = Field(2048, ge=256, description="memory that parsing one document may take, in MB")
    max_text_chars: int = Field(10_000_000, ge=1, description="longest text that one file may hold, in characters")
    max_passages: int = Field(50_000, ge=1, description="most passages of one document")

    max_documents: int = Field(1000, ge=1, description="most documents in one request")
    max_document_mb: int = Field(32, ge=1, description="largest document, in MB")
    worker_concurrency: int = Field(16, ge=1, description="documents that are ingested at a time")
    part_concurrency: int = Field(4, ge=1, description="documents of one JSONL or CSV file in hand at a time")
    max_attempts: int = Field(5, ge=1, description="times that a document is tried before it is given up")
    hold_s: float = Field(
        600.0, gt=0, description="seconds that a worker keeps a message; longer work goes on at the next delivery"
    )
    job_ttl_s: float = Field(7 * 86400.0, gt=0, description="seconds that a job is remembered after its end")
    orphan_age_s: float = Field(
        3600.0, ge=0, description="age in seconds from which bytes that no document needs are removed"
    )

    @field_validator("overlap_tokens")
    @classmethod
    def less_than_a_passage(cls, value: int, info: ValidationInfo) -> int:
        """Passages that share all they hold would never end."""
        if value >= info.data.get("max_tokens", value + 1):
            raise ValueError("it must be less than PREPROCESS_MAX_TOKENS")
        return value
