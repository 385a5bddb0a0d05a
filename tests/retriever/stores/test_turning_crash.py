"""Kills (-9) a process that turns a collection to another embedder and back: it is whole, by one of the two."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path

from services.retriever.stores.embedded import EmbeddedStore
from tests.retriever.parts import KEY, open_store, vector
from tests.retriever.stores import turning

ROOT = Path(__file__).parents[3]
KILLS = 6


def test_a_kill_leaves_vectors_of_one_embedder(tmp_path: Path) -> None:
    dice = random.Random(11)
    said: list[str] = []
    for _ in range(KILLS):
        command = [sys.executable, "-m", "tests.retriever.stores.turning", str(tmp_path)]
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        assert process.stdout is not None
        wanted = dice.randrange(1, 30)
        last = ""
        for line in process.stdout:
            said.append(line.strip())
            last = line.split()[1] if line.startswith("switched") else last
            wanted -= 1
            if wanted <= 0 and line.startswith(("switching", "filled")):
                break
        time.sleep(dice.random() / 50)  # somewhere within the next step
        process.kill()
        rest = process.stdout.read()
        process.stdout.close()
        assert process.wait() == -9, "it died before it was killed"
        acknowledged = [line.split()[1] for line in rest.splitlines() if line.startswith("switched")]
        check(tmp_path, last=acknowledged[-1] if acknowledged else last)
    assert any(line.startswith("switched") for line in said)


def check(folder: Path, *, last: str) -> None:
    """Every text is found by its vector, as the embedder in use makes it; an acknowledged switch has happened."""
    store = open_store(folder)
    view = store.view(KEY)
    dimensions = turning.EMBEDDERS[view.fingerprint]
    held = {each.id for each in store.documents(KEY, 100, "")}
    texts = [text for name, passages in turning.DOCUMENTS.items() if name in held for text in passages]
    assert view.passages == len(texts)
    for text in texts:
        found = view.dense(vector(text, dimensions)[None], 1, None)[0]
        assert [p.text for p in view.fetch(found.rows.tolist()).values()] == [text]
        assert round(float(found.scores[0]), 4) == 1.0
    if last:  # the next one may have come since, but was not told
        assert view.fingerprint == last or not store.reader.db.execute("SELECT 1 FROM staged").fetchone()
    assert sizes(store) <= {4 * dimensions}
    store.writer.healthy = False  # the next process finds the files as the kill left them
    store.close()


def sizes(store: EmbeddedStore) -> set[int]:
    """How long the living vectors are."""
    query = (
        "SELECT DISTINCT length(vector) FROM vectors v JOIN documents d "
        "ON v.row >= d.first_row AND v.row < d.first_row + d.passages WHERE d.died IS NULL"
    )
    return {size for (size,) in store.reader.db.execute(query)}
