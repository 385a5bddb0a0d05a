"""What the command line and the all-in-one can be told."""

from __future__ import annotations

import os
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import SettingsConfigDict

from ragline import settings
from ragline.addresses import joined

RETRIEVER_GRPC_PORT = 50052  # the retriever's default


class Settings(settings.Settings):
    """``RAGLINE_*``: where the one REST port is, for the server and for its clients."""

    model_config = SettingsConfigDict(env_prefix="RAGLINE_")

    host: str = Field("127.0.0.1", description="address that the all-in-one listens on")
    port: int = Field(8000, ge=0, le=65535, description="port that the all-in-one listens on")
    url: str = Field("", description="where the command line finds the suite; empty means host and port above")
    retriever_address: str = Field(
        "",
        description="host:port of the retriever's gRPC for what looks after it; "
        "empty: RETRIEVER_GRPC_PORT on this machine",
    )
    reranker_url: str = Field(
        "", description="where `ragline reranker` finds the reranker's REST port; empty: the suite's"
    )
    reranker_token: SecretStr | None = Field(None, description="the reranker's RERANKER_ADMIN_TOKEN, for that")
    generator_url: str = Field(
        "", description="where `ragline feedback` finds the generator's REST port; empty: the suite's"
    )
    generator_token: SecretStr | None = Field(None, description="the generator's GENERATOR_ADMIN_TOKEN, for that")
    log_format: str = Field("text", pattern="^(json|text)$", description="json for machines, text for people")
    log_level: str = Field("warning", pattern="^(debug|info|warning|error)$", description="least level logged")

    @field_validator("url")
    @classmethod
    def whole(cls, url: str) -> str:
        """A URL without its scheme, or with half a port, would only fail later and say less."""
        parts = urlsplit(url)
        if url and (parts.scheme not in {"http", "https"} or not parts.hostname or parts.port == 0):
            raise ValueError("write it as http://host:port")
        return url

    @property
    def retriever(self) -> str:
        """Where the retriever's gRPC is: as in the all-in-one, whose port is the retriever's own setting."""
        return (
            self.retriever_address or f"127.0.0.1:{os.environ.get('RETRIEVER_GRPC_PORT') or RETRIEVER_GRPC_PORT}"
        )

    @property
    def base_url(self) -> str:
        """The REST door, without a slash at its end."""
        return (self.url or f"http://{joined(self.host, self.port)}").rstrip("/")
