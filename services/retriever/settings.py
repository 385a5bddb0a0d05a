"""What the retriever can be told: RETRIEVER_* variables."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, SecretStr
from pydantic_settings import SettingsConfigDict

from ragline import settings


class Settings(settings.Settings):
    """Settings of the retriever."""

    model_config = SettingsConfigDict(env_prefix="RETRIEVER_", frozen=True, extra="forbid")

    host: str = Field("127.0.0.1", description="address that REST and gRPC listen on")
    port: int = Field(8002, ge=0, le=65535, description="port of REST; 0 takes a free one")
    grpc_port: int = Field(50052, ge=0, le=65535, description="port of gRPC; 0 takes a free one")

    store: str = Field(
        "embedded", min_length=1, description="where passages are kept: embedded, milvus, or module:Class"
    )
    store_options: dict[str, Any] = Field(default={}, description="options of the store, as JSON")
    milvus_url: SecretStr = Field(
        SecretStr(""),
        description="the Milvus of the store milvus, such as http://user:password@host:19530/database",
    )
    state_url: SecretStr = Field(
        SecretStr(""), description="what retrievers over one Milvus share, such as redis://host:6379/0"
    )
    sparse: str = Field("tantivy", min_length=1, description="index of words: tantivy, whoosh, or module:Class")
    sparse_options: dict[str, Any] = Field(default={}, description="options of the sparse index, as JSON")
    dense: str = Field(
        "tiered", min_length=1, description="index of vectors: tiered, flat (always exact), or module:Class"
    )
    dense_options: dict[str, Any] = Field(default={}, description="options of the dense index, as JSON")

    fusion: Literal["weighted", "rrf"] = Field(
        "weighted",
        description="how the two rankings become one: weighted (of normalised scores) or rrf (of ranks)",
    )
    candidates: int = Field(
        100, ge=1, le=10_000, description="passages that each side offers for fusion, at least"
    )
    rerank_pool: int = Field(50, ge=1, le=1000, description="passages sent to the reranker where a request asks")

    collapse_overlap: float = Field(
        0.8, gt=0, le=1, description="share of runs of three words from which two passages say nearly the same"
    )
    collapse_cosine: float = Field(
        0.98, gt=0, le=1, description="cosine of two passages from which they say nearly the same"
    )
    max_wait_s: float = Field(30.0, gt=0, description="longest wait for a request's wait_for, in seconds")

    preprocess_address: str = Field("127.0.0.1:50051", min_length=1, description="host:port of preprocess's gRPC")
    reranker_address: str = Field("127.0.0.1:50053", min_length=1, description="host:port of the reranker's gRPC")
    embed_timeout_s: float = Field(
        10.0, gt=0, description="seconds for the queries' vectors; then hybrid search goes on without"
    )
    rerank_timeout_s: float = Field(
        10.0, gt=0, description="seconds for one reranking; then the fused order stands"
    )

    cache_url: str = Field("memory://?max_mb=64", description="cache of what searches found; empty: none")
    cache_ttl_s: float = Field(3600.0, gt=0, description="seconds that a search's result is kept")

    max_top_k: int = Field(100, ge=1, le=10_000, description="most passages a query")
    max_queries: int = Field(1000, ge=1, description="most queries in a request")
    max_query_chars: int = Field(4096, ge=1, description="longest query, in characters")
    max_filter_terms: int = Field(1000, ge=1, le=10_000, description="most values that a filter compares with")
    max_inflight_queries: int = Field(4000, ge=1, description="most queries at work; one more is refused")
    max_passages: int = Field(100_000, ge=1, description="most passages in a document")
    max_page: int = Field(1000, ge=1, description="most documents in one page of a listing")

    max_queued_writes: int = Field(1024, ge=1, description="most writes that wait; one more is refused")
    max_queued_mb: int = Field(256, ge=1, description="most MB of writes that wait; more are refused")
    max_group_mb: int = Field(64, ge=1, description="most MB of writes in one transaction")
    max_collections: int = Field(1000, ge=1, description="most collections, over all tenants")
    max_removed_mb: int = Field(
        16, ge=0, description="most MB of removed texts that a write's answer names, for caches to purge"
    )
    max_names: int = Field(1_000_000, ge=1, description="most ids, URIs or numbers in one call of gRPC")
    tombstone_ttl_s: float = Field(
        30 * 86_400.0, gt=0, description="seconds that the order of writes to a deleted document is remembered"
    )
