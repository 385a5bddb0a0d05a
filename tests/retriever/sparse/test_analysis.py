# ruff: noqa: RUF001 - letters that look alike are what is tested
"""Which words are the same word, in every script; each index must agree."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.retriever.sparse import Entry, Searcher
from services.retriever.sparse._query import QueryAnalysis
from tests.retriever.sparse.conftest import TEXTS as TEXTS_OF_ALL
from tests.retriever.sparse.conftest import shipped

BACKENDS = shipped()
ANALYSIS = QueryAnalysis()


@pytest.mark.parametrize(
    ("text", "query"),
    [
        ("Café crème", "cafe creme"),
        ("cafe", "cafe\u0301"),  # composed or not
        ("Straße nach Köln", "STRASSE koln"),
        ("Smörgåsbord på Åland", "smorgasbord pa aland"),
        ("naïve façade", "naive facade"),
        ("ﬁne ﬂow", "fine flow"),  # ligatures
        ("\uff21\uff30\uff29 ｶﾞｲﾄﾞ", "API ガイド"),  # wide and narrow forms
        ("ΟΔΟΣ καφές", "οδός καφες"),  # final sigma
        ("ёлка", "елка"),
        ("İstanbul", "istanbul"),
        ("infor\u00admation over\u200bload", "information overload"),  # soft hyphen, zero-width space
        ("हिन्दी भाषा", "हिन्दी"),
        ("שָׁלוֹם", "שלום"),
        ("كِتَاب", "كتاب"),
        ("中文检索", "检"),
        ("中文检索", "文检"),
        ("中文检索", "文检索"),
        ("東京タワー", "タワー"),
        ("ก่อนหน้านี้", "หน้า"),
        ("한국어 형태소", "형태소"),
        ("pi is 3.14", "3.14"),
        ("release v1.2.3", "v1.2.3"),
        ("call foo_bar.baz()", "foo_bar.baz"),
        ("call foo_bar.baz()", "bar baz"),
        ("mail to ann.lee@example.org", "ann.lee@example.org"),
        ("written in C++ and C#", "c++"),
        ("written in C++ and C#", "C#"),
        ("written in C++17", "C++"),
        ("the .NET runtime", ".net"),
        ("rock'n'roll", "rock’n’roll"),
        ("O’Brien’s", "O'Brien's"),
        ("state-of-the-art", "state of the art"),
        ("a" * 5000, "a" * 5000),
        ("sha " + "0123456789abcdef" * 8, "0123456789abcdef" * 8),
        ("m² and ½ and ①", "m2 1"),
        ("The Who", "the who"),
        ("vitamin d", "vitamin d"),
    ],
)
def test_the_same(text: str, query: str) -> None:
    asked = ANALYSIS.terms(query)
    there = ANALYSIS.terms(" ".join(re.split(r"\s+", text)))
    characters = set("".join(word for word in text))
    assert asked
    assert set(asked.words) <= {*there.words, *stems(text)}
    assert set(asked.characters) <= characters


def stems(text: str) -> set[str]:
    """All terms of a text, stop words included."""
    return {term for phrase in ANALYSIS.terms(f'"{text}"').quoted for term in phrase}


@pytest.mark.parametrize(
    ("text", "query"),
    [("plan C", "C++"), ("C#", "C++"), ("C major", "C#"), ("organ", "organic chemistry"), ("検索", "索検")],
)
def test_not_the_same(text: str, query: str) -> None:
    assert not stems(text) & set(ANALYSIS.terms(query).words)


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("Don't they know it's the dogs' house?", ("know", "dog", "hous")),
        ("Who won the war? They won't say", ("won", "war", "say")),
        ("T cells and vitamin d", ("t", "cell", "vitamin", "d")),
        ("WHO guidelines", ("who", "guidelin")),
        ("cats AND dogs", ("cat", "dog")),
        ("WHO IS IT", ("who", "is", "it")),
        ("it's", ("it", "s")),
        ("dogs dog DOG dog's", ("dog",)),
        ("the 检索", ("检索",)),
    ],
)
def test_what_of_a_question_counts(query: str, words: tuple[str, ...]) -> None:
    assert ANALYSIS.terms(query).words == words


@pytest.mark.parametrize(
    ("query", "quoted"),
    [
        ('"to be or not to be"', (("to", "be", "or", "not", "to", "be"),)),
        ('a "b c" d “e f” „g h“', (("b", "c"), ("e", "f"), ("g", "h"))),
        ('say "hello', ()),
        ('"" "?!" " "', ()),
        ('"one"', (("one",),)),
        ('"x y" "x y"', (("x", "y"),)),
        ('a 5" disk and a 7" one', ()),
        ('使用"检索系统"缓存', (("检索", "索系", "系统"),)),
    ],
)
def test_what_is_quoted(query: str, quoted: tuple[tuple[str, ...], ...]) -> None:
    assert ANALYSIS.terms(query).quoted == quoted


@pytest.mark.parametrize(
    ("query", "together"),
    [
        ("foo_bar.baz of v1.2.3", (("foo", "bar", "baz"), ("v1", "2", "3"))),
        ("IL-6 in well-known cells", (("il", "6"),)),
        ("and/or don't", ()),
        ("me@example.org", (("me", "exampl", "org"),)),
    ],
)
def test_what_is_written_together(query: str, together: tuple[tuple[str, ...], ...]) -> None:
    assert ANALYSIS.terms(query).together == together


def test_a_lone_surrogate_is_no_word() -> None:
    assert ANALYSIS.terms("a\ud800b \udfff").words == ("ab",)


# Letters of many scripts, marks, signs, punctuation, and quotation marks that are no quotation.
LETTERS = st.sampled_from(
    "abcstWHOCéßæøİſΣςёйשّ١٢कि्中文检日本ー語ก่า한국ﬁＡ①²½'’-_.@/+#&0123456789\u00ad\u200b\u0301😀"
)
WORDS = st.text(LETTERS | st.characters(categories=("L", "N", "M")), min_size=1, max_size=8)
TEXTS = st.lists(WORDS, min_size=1, max_size=8).map(" ".join)


@given(texts=st.lists(TEXTS, min_size=1, max_size=5), data=st.data())
@settings(max_examples=60, deadline=None)
def test_every_passage_is_found_by_its_words_and_quotations(texts: list[str], data: st.DataObject) -> None:
    entries = [Entry(row, "", "", text) for row, text in enumerate(texts)]
    row = data.draw(st.sampled_from(range(len(texts))))
    words = texts[row].split()
    at = data.draw(st.sampled_from(range(len(words))))
    asked = [words[at], f'"{words[at]}"', f'"{" ".join(words[at : at + 2])}"']
    for backend in BACKENDS:
        with tempfile.TemporaryDirectory() as folder:
            index = backend.build(Path(folder) / "i", [entries])
            for query in asked:
                rows = index.searcher().search(query, len(texts))[0].tolist()
                assert row in rows or not ANALYSIS.terms(query), query
            index.close()


@pytest.fixture(scope="module")
def searchers(tmp_path_factory: pytest.TempPathFactory) -> list[Searcher]:
    entries = [Entry(row, "", "", text) for row, text in TEXTS_OF_ALL.items()]
    folder = tmp_path_factory.mktemp("indexes")
    return [backend.build(folder / str(n), [entries]).searcher() for n, backend in enumerate(BACKENDS)]


@given(query=st.text(max_size=200) | st.text('"“”„ abc中文', max_size=40))
@settings(max_examples=150, deadline=None)
def test_any_text_is_a_query_and_all_find_the_same(searchers: list[Searcher], query: str) -> None:
    found = [set(searcher.search(query, 100)[0].tolist()) for searcher in searchers]
    assert all(each == found[0] for each in found)
