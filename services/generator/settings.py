"""What the generator can be told: GENERATOR_* variables."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr
from pydantic_settings import SettingsConfigDict

from ragline import settings
from services.generator.profiles import Profile

NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,39}$"


class NamedLLM(BaseModel):
    """One of ``llms``: what kind it is, and its options."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    llm: Annotated[str, Field(min_length=1)]
    options: dict[str, Any] = {}


class Settings(settings.Settings):
    """Settings of the generator."""

    model_config = SettingsConfigDict(env_prefix="GENERATOR_", frozen=True, extra="forbid")

    role: Literal["all", "door", "worker"] = Field(
        "all", description="all; door: answers requests, works on no batch; worker: works on batches alone"
    )
    host: str = Field("127.0.0.1", description="address that REST and gRPC listen on")
    port: int = Field(8004, ge=0, le=65535, description="port of REST; 0 takes a free one")
    grpc_port: int = Field(50054, ge=0, le=65535, description="port of gRPC; 0 takes a free one")
    retriever_address: str = Field("127.0.0.1:50052", description="host:port of the retriever's gRPC")
    reranker_address: str = Field("127.0.0.1:50053", description="host:port of the reranker's gRPC; empty: none")

    llm: str = Field(
        "extractive",
        min_length=1,
        description="what writes answers: extractive, llamacpp, openai, a module:Class, or a name of llms",
    )
    llm_options: dict[str, Any] = Field(default={}, description="options of the LLM, as JSON")
    llm_api_key: SecretStr | None = Field(None, description="key for the LLM's server, where it wants one")
    llm_api_key_file: Path | None = Field(None, description="file that holds the key instead")
    llm_timeout_s: float = Field(
        120.0, gt=0, description="longest that the LLM and those that stand in for it may take for one text"
    )
    llms: dict[Annotated[str, Field(pattern=NAME)], NamedLLM] = Field(
        default={}, description='more LLMs by name, as JSON: {"small": {"llm": "llamacpp", "options": {}}}'
    )
    llm_fallbacks: list[str] = Field(
        default=[], description="names of llms that stand in, in this order, for one that fails, as JSON"
    )
    metric_tenants: int = Field(
        100, ge=0, description="tenants whose tokens and cost are counted by name; the rest together"
    )

    rerank_pool: int = Field(50, ge=1, le=1000, description="passages that are retrieved to be reranked")
    evidence_sentences: int = Field(
        16, ge=1, le=1000, description="sentences of the best passages that the reranker scores for an answer"
    )
    prompt_tokens: int = Field(1600, ge=64, description="most tokens of passages in a prompt")
    prompt: str = Field("", description="name or name@version of the prompt for answers; empty: the shipped one")
    prompts_dir: Path | None = Field(None, description="folder of prompts of your own, name@version.jinja")
    collection_prompts: dict[str, str] = Field(
        default={}, description="prompts of collections, as JSON: name of the collection to that of the prompt"
    )
    abstain_below: float = Field(
        0.2, ge=0, le=1, description="abstain where the chance that the passages hold an answer is below this"
    )
    unsupported: Literal["drop", "flag"] = Field(
        "drop", description="sentences that no passage supports: drop; flag: they stay, and the answer lists them"
    )

    guards: dict[str, dict[str, Any]] = Field(
        default={
            "injection": {"policy": {"question": "flag", "passages": "mask", "answer": "flag"}},
            "secrets": {"policy": "mask"},
        },
        description="guards by name, each with a policy (flag, mask, refuse) and its options, as JSON; {}: none",
    )

    max_query_chars: int = Field(4096, ge=1, description="longest query, in characters")
    max_filter_chars: int = Field(16_384, ge=2, description="longest filter, in characters of JSON")
    max_schema_chars: int = Field(16_384, ge=2, description="longest JSON schema for an answer, in characters")
    max_expand: int = Field(4, ge=0, le=16, description="most other wordings of a question to search for")
    max_turns: int = Field(10, ge=1, description="turns of a conversation that are looked at, the latest ones")
    sessions_url: str = Field(
        "", description="where conversations are kept, the same for all; empty: sessions.db in data_dir"
    )
    session_ttl_s: float = Field(
        7 * 86_400.0, gt=0, description="seconds that a conversation is kept, from its last question"
    )
    session_turns: int = Field(100, ge=1, description="turns of a conversation that are kept, the latest ones")
    rewrite: Literal["auto", "llm", "rules", "off"] = Field(
        "auto",
        description="what makes follow-ups stand alone: the LLM, rules or nothing; auto: an LLM if it can",
    )
    rewrite_llm: str = Field(
        "", description="who rewrites follow-ups and words questions: a name of llms; empty: who answers"
    )
    rewrite_timeout_s: float = Field(
        5.0, gt=0, description="longest that an LLM may take to rewrite or to word a question; then rules do"
    )
    expand_by: Literal["auto", "llm", "rules"] = Field(
        "auto", description="what words a question in other ways (expand); auto: an LLM that can, else rules"
    )
    max_turn_chars: int = Field(16_384, ge=1, description="longest turn of a conversation, in characters")
    max_top_k: int = Field(100, ge=1, le=1000, description="most passages that an answer may be made from")
    max_answer_tokens: int = Field(1024, ge=1, description="largest max_tokens that a request may ask for")
    max_summary_chars: int = Field(2_000_000, ge=1, description="longest text to summarise, in characters")
    max_summary_documents: int = Field(100, ge=1, description="most documents summarised in one request")
    max_summary_parallel: int = Field(4, ge=1, description="parts of one text that are summarised at once")
    max_waiting: int = Field(
        256, ge=1, description="most answers and summaries in the making; one more is refused"
    )

    profiles: dict[str, Profile] = Field(
        default={},
        description="ways of answering that OpenAI's clients may name as COLLECTION:PROFILE, as JSON: "
        "name -> prompt, top_k, mode, llm, scorer, max_tokens, unsupported",
    )
    max_chats: int = Field(256, ge=1, description="WebSocket connections at once; one more is refused")
    max_chat_questions: int = Field(4, ge=1, description="questions of one connection that are answered at once")
    max_chat_message_kb: int = Field(256, ge=1, le=1024, description="longest message of a WebSocket, in KB")
    max_chat_messages_per_minute: int = Field(
        240, ge=1, description="messages of one connection in a minute; one more is refused"
    )

    retrieve_timeout_s: float = Field(10.0, gt=0, description="longest wait for the retriever")
    rerank_timeout_s: float = Field(10.0, gt=0, description="longest wait for the reranker, then go on without")
    cache_url: str = Field("memory://?max_mb=64", description="cache of answers; empty: none")
    cache_ttl_s: float = Field(86_400.0, gt=0, description="how long an answer is kept")
    semantic_cache: bool = Field(False, description="answer a question that asks the same as a kept one from that")
    semantic_cosine: float = Field(
        0.8, ge=0, le=1, description="how near a kept question must be, by the embedder, to be looked at"
    )
    semantic_agreement: float = Field(
        0.65, ge=0, le=1, description="how well two questions must match each other, by the reranker"
    )
    semantic_words: float = Field(
        0.65, ge=0, le=1, description="how well a word that only one of them has must match one of the other's"
    )
    semantic_entries: int = Field(256, ge=1, le=4096, description="kept questions looked through, the latest ones")
    semantic_scorer: str = Field("late_interaction", description="the reranker's scorer that compares questions")

    records_url: str | None = Field(
        None, description="where what led to answers is kept; empty: nowhere; unset: records.db in data_dir"
    )
    records_ttl_s: float = Field(7 * 86_400.0, gt=0, description="seconds that an answer can be given feedback on")
    records_waiting_mb: int = Field(
        16, ge=1, description="records of answers that wait to be written; above it the oldest are dropped"
    )
    feedback_ttl_s: float = Field(365 * 86_400.0, gt=0, description="seconds that feedback is kept")
    max_feedback: int = Field(20, ge=1, description="most pieces of feedback on one answer")
    admin_token: SecretStr | None = Field(
        None, description="what reading feedback wants as a bearer token; none: only this machine may read it"
    )
    admin_token_file: Path | None = Field(None, description="file that holds the token instead")

    batch_url: str = Field(
        "", description="where batches are kept (fsspec URL), the same for all; empty: batches in data_dir"
    )
    retriever_url: str = Field(
        "", description="the retriever's REST door, for batches; empty: in this process, or 127.0.0.1:8002"
    )
    preprocess_url: str = Field(
        "", description="the REST door of preprocess, for batches; empty: in this process, or 127.0.0.1:8001"
    )
    max_batch_mb: int = Field(256, ge=1, description="largest batch, in MB")
    max_batch_lines: int = Field(100_000, ge=1, le=1_000_000, description="most requests in a batch")
    max_batch_line_kb: int = Field(1024, ge=1, le=65_536, description="longest line of a batch, in KB")
    max_batch_uploads: int = Field(4, ge=1, description="batches that are taken in at once; one more is refused")
    batch_chunk_lines: int = Field(32, ge=1, le=1000, description="lines of a batch that are one message")
    batch_chunks: int = Field(2, ge=1, description="chunks of batches that a worker has in hand")
    batch_parallel: int = Field(2, ge=1, description="requests of batches that a worker has in flight")
    batch_attempts: int = Field(
        10, ge=1, description="tries at a line that fails for an outage, unless broker_url says max_attempts"
    )
    batch_hold_s: float = Field(
        300.0, gt=0, description="seconds after which a chunk is put back; it goes on where it was"
    )
    batch_timeout_s: float = Field(
        60.0, gt=0, description="longest wait for the retriever and preprocess on behalf of a batch"
    )
    batch_ttl_s: float = Field(7 * 86400.0, gt=0, description="seconds that a batch is kept, from when it came")
