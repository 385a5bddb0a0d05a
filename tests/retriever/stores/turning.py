"""Turns a collection from one embedder to another and back, with writes between, until it is killed.

Run as a process by test_turning_crash.py. Each line on stdout is a step that was acknowledged.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import numpy as np

from ragline import log
from services.retriever.stores import Vectorised
from services.retriever.stores.embedded import EmbeddedStore
from tests.retriever.parts import KEY, content, open_store, token_ids, vector

EMBEDDERS = {"words-16": 16, "words-24": 24}
DOCUMENTS = {f"d{n}": [f"passage {i} of d{n}" for i in range(1 + n % 3)] for n in range(8)}


def say(step: str) -> None:
    """One line, at once."""
    sys.stdout.write(step + "\n")
    sys.stdout.flush()


async def fill(store: EmbeddedStore) -> None:
    """Write all documents by the embedder that the collection has, or the first."""
    fingerprint = store.view(KEY).fingerprint or "words-16"
    dimensions = EMBEDDERS[fingerprint]
    made = [content(n, texts, fingerprint=fingerprint, dimensions=dimensions) for n, texts in DOCUMENTS.items()]
    await asyncio.gather(*(store.upsert(KEY, each) for each in made))
    say("filled")


async def stage(store: EmbeddedStore, name: str, fingerprint: str) -> None:
    """Stage a document as it is now."""
    kept = store.document(KEY, name, brief=False)
    texts = [passage.text for passage in kept.passages]
    vectors = np.array([vector(text, EMBEDDERS[fingerprint]) for text in texts], dtype=np.float32)
    await store.stage(KEY, name, kept.seq, Vectorised(fingerprint, vectors, [token_ids(text) for text in texts]))
    say(f"staged {name}")


async def main(folder: Path) -> None:
    """Turn for ever."""
    store = open_store(folder)
    await fill(store)
    while True:
        (following,) = EMBEDDERS.keys() - {store.view(KEY).fingerprint}
        done = await store.switch(KEY, following)
        while not done.switched:
            await asyncio.gather(*(stage(store, name, following) for name in done.missing))
            say("switching")
            done = await store.switch(KEY, following)
        say(f"switched {following}")
        await store.delete(KEY, "d1")
        await fill(store)


if __name__ == "__main__":
    log.configure("warning", "json")  # to stderr: stdout is for what was acknowledged
    asyncio.run(main(Path(sys.argv[1])))
