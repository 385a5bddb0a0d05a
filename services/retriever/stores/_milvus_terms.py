"""Our own analysis, written out for Milvus: passages as terms with spaces between, queries likewise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ragline.v1.passage_pb2 import Passage
from services.retriever.sparse._analysis import analyzer, cut
from services.retriever.sparse._query import QueryAnalysis, Terms

NAME_BONUS = 1.25  # of a passage that holds a name as it is written, for each such


@dataclass(frozen=True)
class Asked:
    """A query as Milvus is asked: ``words`` to score by, a condition, and phrases to look for in what it finds."""

    words: str
    condition: str = ""
    required: Sequence[str] = ()
    together: Sequence[str] = ()

    def factor(self, terms: str) -> float:
        """By how much a passage's score counts more; 0 where it lacks what is required."""
        lines = [f" {line} " for line in terms.split("\n")]
        if not all(any(phrase in line for line in lines) for phrase in self.required):
            return 0.0
        return NAME_BONUS ** sum(any(phrase in line for line in lines) for phrase in self.together)


class Analysis:
    """Makes terms; any thread may use it."""

    def __init__(self) -> None:
        self.analyzer = analyzer()
        self.queries = QueryAnalysis()

    def passage(self, title: str, passage: Passage) -> str:
        """Text, title, section and single characters, a line each."""
        texts = [cut(text) for text in (passage.text, title, passage.section)]
        lines = [" ".join(self.analyzer.analyze(each.words)) for each in texts]
        return "\n".join([*lines, " ".join(each.characters for each in texts if each.characters)])

    def query(self, query: str) -> list[Asked]:
        """What to ask, and what else where that finds nothing; nothing for a query without a letter or digit."""
        terms = self.queries.terms(query)
        if not terms:
            return []
        return [asked(terms), asked(terms.unquoted())] if terms.quotes else [asked(terms)]


def asked(terms: Terms) -> Asked:
    """The terms as Milvus takes them."""
    required = [spaced(phrase) for phrase in terms.quoted] + [spaced([each]) for each in terms.quoted_characters]
    needed = dict.fromkeys([*(each for phrase in terms.quoted for each in phrase), *terms.quoted_characters])
    return Asked(
        words=" ".join([*terms.words, *terms.characters]),
        condition=" and ".join(f'text_match(terms, "{each}")' for each in needed if each.isalnum()),
        required=required,
        together=[spaced(phrase) for phrase in terms.together],
    )


def spaced(phrase: Sequence[str]) -> str:
    """A phrase as it stands among a passage's terms."""
    return f" {' '.join(phrase)} "
