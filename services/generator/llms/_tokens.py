"""Counts tokens by the model's own tokenizer, which llama.cpp's server has behind its port on loopback."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

import httpx

from ragline.errors import Unavailable

TIMEOUT_S = 2.0
BETWEEN = "\n"  # texts are counted in one request, and this is no part of a word


class Tokenizer:
    """Asks the server at ``address`` (``http://127.0.0.1:port``), whose key is ``key``."""

    def __init__(self, address: str, key: str) -> None:
        self.address = address
        self.key = key
        self.client: httpx.AsyncClient | None = None

    async def count(self, texts: Sequence[str]) -> list[int]:
        """The tokens of each text; raises Unavailable where the server does not say."""
        if self.client is None:
            headers = {"Authorization": f"Bearer {self.key}"}
            self.client = httpx.AsyncClient(base_url=self.address, headers=headers, timeout=TIMEOUT_S)
        body = {"content": BETWEEN.join(texts), "with_pieces": True}
        try:
            answer = await self.client.post("/tokenize", json=body)
            answer.raise_for_status()
            pieces = [length(token["piece"]) for token in answer.json()["tokens"]]
        except (httpx.HTTPError, ValueError, LookupError, TypeError) as error:
            raise Unavailable(f"The LLM does not count tokens: {error!r}.") from error
        return shares(texts, pieces)

    async def close(self) -> None:
        """Close the connections."""
        if self.client:
            await self.client.aclose()


def length(piece: str | list[int]) -> int:
    """The bytes of a token: text, or the bytes themselves where they are part of a character."""
    return len(piece.encode()) if isinstance(piece, str) else len(piece)


def shares(texts: Sequence[str], pieces: Sequence[int]) -> list[int]:
    """How many tokens begin in each text, from the bytes of all of them in order."""
    ends = list(accumulate(len(text.encode()) + len(BETWEEN) for text in texts))
    counts = [0] * len(texts)
    at = text = 0
    for piece in pieces:
        while text < len(texts) - 1 and at >= ends[text]:
            text += 1
        counts[text] += 1
        at += piece
    return counts
