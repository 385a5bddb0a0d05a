"""Makes the corpus of a size, or finds it: real texts, then mixtures of them; invented ones without data."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from bench.retrieval import embedding, invented, mixing, sources
from bench.retrieval.corpus import Block, Corpus, Vectors, write
from bench.retrieval.sources import Sources, Text
from ragline import threads
from ragline.encoder import Encoder
from ragline.models import ModelStore
from ragline.settings import Settings, load

CACHE = Path(__file__).parents[1] / ".cache"
QUESTIONS = 200
MODEL = "all-MiniLM-L6-v2"
VERSION = 1  # of how it is made; another one finds nothing that was kept


def corpus(
    passages: int,
    questions: int = QUESTIONS,
    data: Path = sources.DATA,
    cache: Path = CACHE,
    texts: int = sources.MOST,
) -> Corpus:
    """A corpus of ``passages``, at most ``texts`` of them real ones; the same in every run, kept in ``cache``."""
    kind = f"real{texts}" if sources.there(data) else "invented"
    folder = cache / f"{kind}-{passages}-{questions}-v{VERSION}"
    if (folder / "about.json").exists():
        return Corpus(folder)
    if kind == "invented":
        return invented.make(folder, passages, questions)
    found = sources.read(min(passages, texts), questions, data)
    encoder = Encoder.open(ModelStore(load(Settings).models_dir).path(MODEL), threads=threads.available())
    asked = embedding.embed(encoder, [question.text for question in found.questions], cache / "vectors")
    vectors = embedding.embed(encoder, [text.whole for text in found.texts], cache / "vectors")
    real = len(found.texts)
    about = {"origin": f"{real:,} real texts, {passages - real:,} mixtures", "passages": passages, "real": real}
    pairs = [(question.text, dict(question.grades)) for question in found.questions]
    return write(folder, about, blocks(found, vectors, passages), pairs, asked)


def blocks(found: Sources, vectors: Vectors, passages: int) -> Iterator[Block]:
    """The real texts, then mixtures of those that no question is judged by."""
    yield Block([(text.title, text.body) for text in found.texts], vectors)
    yield from mixing.mixed(bodies(found.texts[found.judged :]), vectors[found.judged :], passages - len(vectors))


def bodies(texts: Sequence[Text]) -> list[str]:
    """What the texts say, without titles."""
    return [text.body for text in texts]
