"""LangChain's clients, unmodified, against a running suite: ``python ask_langchain.py URL COLLECTION``."""

from __future__ import annotations

import asyncio
import sys

import openai
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from langchain_openai import ChatOpenAI, OpenAIEmbeddings

QUESTION = "How long does the warranty of the P-100 pump last?"


def main(url: str, collection: str) -> None:
    """Ask whole, streamed, with what was said before; embed; fail."""
    chat = ChatOpenAI(base_url=f"{url}/v1", api_key="-", model=collection, stream_usage=True)
    made = chat.invoke(QUESTION)
    assert "four years" in made.text, made
    assert made.response_metadata["finish_reason"] == "stop"
    assert made.usage_metadata is not None
    pieces = list(chat.stream([SystemMessage("Be kind."), HumanMessage(QUESTION)]))
    joined = pieces[0]
    for piece in pieces[1:]:
        joined += piece
    assert joined.text == made.text, joined
    assert joined.response_metadata["finish_reason"] == "stop"
    assert joined.usage_metadata is not None
    before = [HumanMessage(QUESTION), AIMessage(made.text), HumanMessage("How much paid leave is there a year?")]
    assert "30 days" in asyncio.run(chat.ainvoke(before)).text
    embed(url)
    code = None
    try:
        chat.model_copy(update={"model_name": "nowhere"}).invoke(QUESTION)
    except openai.NotFoundError as error:
        code = error.code
    assert code == "model_not_found"


def embed(url: str) -> None:
    """Texts, rather than numbers of tokens, which another tokenizer made."""
    embeddings = OpenAIEmbeddings(
        base_url=f"{url}/v1", api_key="-", model="all-MiniLM-L6-v2", check_embedding_ctx_length=False
    )
    vectors = embeddings.embed_documents(["A pump.", "Leave."])
    assert [len(vector) for vector in vectors] == [384, 384]
    query = embeddings.embed_query("A pump.")
    assert max(abs(a - b) for a, b in zip(query, vectors[0], strict=True)) < 1e-4


if __name__ == "__main__":
    main(*sys.argv[1:])
