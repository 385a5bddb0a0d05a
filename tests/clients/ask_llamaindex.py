"""LlamaIndex's clients, unmodified, against a running suite: ``python ask_llamaindex.py URL COLLECTION``."""

from __future__ import annotations

import asyncio
import sys

import openai
from llama_index.core.llms import ChatMessage
from llama_index.embeddings.openai_like import OpenAILikeEmbedding
from llama_index.llms.openai_like import OpenAILike

QUESTION = "How long does the warranty of the P-100 pump last?"


def main(url: str, collection: str) -> None:
    """Ask whole, streamed, with what was said before; embed; fail."""
    llm = OpenAILike(
        model=collection,
        api_base=f"{url}/v1",
        api_key="-",
        is_chat_model=True,
        context_window=8192,
        max_retries=0,
    )
    made = llm.chat([ChatMessage(role="user", content=QUESTION)])
    assert "four years" in (made.message.content or ""), made
    assert "four years" in llm.complete(QUESTION).text
    pieces = list(llm.stream_chat([ChatMessage(role="user", content=QUESTION)]))
    assert pieces[-1].message.content == made.message.content
    assert "".join(piece.delta or "" for piece in pieces) == made.message.content
    before = [
        ChatMessage(role="system", content="Be kind."),
        ChatMessage(role="user", content=QUESTION),
        ChatMessage(role="assistant", content=made.message.content),
        ChatMessage(role="user", content="How much paid leave is there a year?"),
    ]
    assert "30 days" in (asyncio.run(llm.achat(before)).message.content or "")
    embedding = OpenAILikeEmbedding(model_name="all-MiniLM-L6-v2", api_base=f"{url}/v1", api_key="-")
    vectors = embedding.get_text_embedding_batch(["A pump.", "Leave."])
    assert [len(vector) for vector in vectors] == [384, 384]
    query = embedding.get_query_embedding("A pump.")
    assert max(abs(a - b) for a, b in zip(query, vectors[0], strict=True)) < 1e-4
    llm.model = "nowhere"
    code = None
    try:
        llm.complete(QUESTION)
    except openai.NotFoundError as error:
        code = error.code
    assert code == "model_not_found"


if __name__ == "__main__":
    main(*sys.argv[1:])
