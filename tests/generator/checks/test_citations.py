"""Citations are assigned by code: whatever an LLM writes, a marker resolves and a quote is literal."""

import asyncio
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragline.sentences import sentences
from ragline.v1.passage_pb2 import Passage
from services.generator.checks import evidence
from services.generator.checks.attribution import Attribution
from services.generator.checks.checking import Checker, Guard
from services.generator.checks.citations import Citer
from services.generator.checks.markers import shown, unmarked
from services.generator.clock import Clock
from services.generator.events import Cited, Finding, Policy, Token
from tests.generator import world

PASSAGES = [world.passage(name) for name in world.SOURCES]
SENTENCES = evidence.split(PASSAGES, 100)
MARKER = re.compile(r"\[\s?\d+\]")


def citer() -> Citer:
    return Citer(PASSAGES, SENTENCES)


def quoted(claim: str) -> str | None:
    made = citer()
    support = made.support(claim)
    cited = support and made.cite(support)
    return cited[0].quote if cited else None


def said(text: str, style: str = "passages", policy: Policy = "drop", guard: Guard | None = None) -> Checker:
    checker = Checker(PASSAGES, SENTENCES, Clock(), guard, unsupported=policy)
    claims = [text[start:end] for start, end in sentences(text)]
    tokens = asyncio.run(checker.passed(claims, "extract" if style == "extract" else "passages"))
    assert "".join(event.text for event in tokens if isinstance(event, Token)) == checker.answer
    assert [event.citation for event in tokens if isinstance(event, Cited)] == checker.citations
    return checker


def consistent(checker: Checker) -> None:
    assert set(re.findall(r"\[\d+\]", checker.answer)) == {each.marker for each in checker.citations}
    for number, each in enumerate(checker.citations, 1):
        assert each.marker == f"[{number}]"
        assert each.quote == world.SOURCES[each.document_id][1][each.start : each.end] != ""
        assert 0 < each.score <= 1


@pytest.mark.parametrize(
    ("claim", "quote"),
    [
        (
            "The town of Brell lies on the north shore of Lake Orvan.",
            "The town of Brell lies on the north\nshore of",
        ),
        ("Brell has 4200 inhabitants.", "It has 4,200 inhabitants."),
        ("The Kestrel router's warranty is two years.", "The Kestrel router comes with a two-year warranty."),
        ("The Kestrel router comes with a 2-year warranty.", "The Kestrel router comes with a two-year warranty."),
        ("Restoring factory settings: hold the reset button for 10 seconds", "Hold the reset button for ten"),
        (
            "After three failures a message goes to the dead-letter queue, and dead letters can be replayed.",
            "After",
        ),
    ],
)
def test_a_supported_claim_is_quoted_from_the_source(claim: str, quote: str | None) -> None:
    found = quoted(claim)
    assert found is None if quote is None else found is not None and found.startswith(quote)


@pytest.mark.parametrize(
    "claim",
    [
        "The Kestrel router comes with a 12-month warranty.",
        "The Kestrel router comes with a three-year warranty.",
        "The town of Brell lies on the north shore of Lake Geneva.",
        "Berlin lies on the north shore of Lake Orvan.",
        "The mayor of Brell is Karl Marx.",
        "Ferries run in winter.",
        "The Kestrel router does not come with a two-year warranty.",
        "Entry costs 6,000 euros for adults.",
        "I am a large language model.",
        "Yes.",
        "[1] [2] [3]",
        "",
    ],
)
def test_an_invented_claim_is_dropped(claim: str) -> None:
    assert quoted(claim) is None


def test_page_and_ids_come_from_the_passage() -> None:
    made = Citer([world.passage("queue", page=4)], evidence.split([world.passage("queue")], 9))
    support = made.support("Dead letters can be listed and replayed.")
    assert support is not None
    cited = made.cite(support)
    assert cited is not None
    assert (cited[0].page, cited[0].passage_id, cited[0].document_id) == (4, "queue#0", "queue")


def test_a_quote_is_on_the_page_where_it_begins() -> None:
    passage = world.passage("queue", page=4)
    second = passage.text.index("Dead letters")
    passage.page_starts.extend([second - 10, second])
    made = Citer([passage], evidence.split([passage], 9))
    pages = {}
    for claim in (
        "A lost message is sent again after a back-off of five seconds.",
        "Dead letters can be replayed.",
    ):
        support = made.support(claim)
        cited = support and made.cite(support)
        pages[claim[:4]] = cited and cited[0].page
    assert pages == {"A lo": 4, "Dead": 6}


def test_the_same_quote_keeps_its_marker() -> None:
    checker = said(
        "Entry costs 6 euros for adults. Dead letters can be replayed. Adults pay 6 euros for entry costs."
    )
    assert MARKER.findall(checker.answer) == ["[1]", "[2]", "[1]"]
    consistent(checker)


def test_markers_that_the_llm_wrote_are_not_believed() -> None:
    checker = said("1. Entry costs 6 euros for adults [7][2, 3] 【4】. Dead letters can be replayed.[[9]9]")
    assert checker.answer == "Entry costs 6 euros for adults. [1] Dead letters can be replayed. [2]"
    consistent(checker)


def test_a_bracketed_number_of_the_source_is_no_marker() -> None:
    checker = said("The mayor of Brell is Ada Lund.", "extract")
    assert checker.answer == "The mayor of Brell is Ada Lund[ 3 ]. [1]"
    assert checker.citations[0].quote == "The mayor of Brell is Ada Lund[3]."
    consistent(checker)


WORDS = st.sampled_from(
    [*" ".join(text for _, text in world.SOURCES.values()).split(), "[1]", "[99]", "42", "not", "\n"]
)
TEXT = st.one_of(
    st.text(max_size=300),
    st.lists(WORDS, max_size=60).map(" ".join),
    st.lists(st.sampled_from([each.text for each in SENTENCES]), max_size=5).map(" ".join),
    st.lists(st.one_of(WORDS, st.text(max_size=12)), max_size=40).map(" ".join),
)


@given(TEXT, st.sampled_from(["extract", "passages"]))
def test_no_output_yields_a_citation_that_does_not_resolve(text: str, style: str) -> None:
    consistent(said(text, style))


@given(
    st.lists(st.text(alphabet="aé漢.! \n\t[1]٣𝟙\u0301\U0001f600", min_size=1, max_size=80), min_size=1, max_size=3)
)
def test_quotes_are_literal_in_any_source(sources: list[str]) -> None:
    passages = []
    for at, source in enumerate(sources):
        text, offsets = world.cleaned(source)
        passages.append(Passage(id=f"{at}#0", document_id=str(at), text=text, start=10, end=10 + len(source)))
        if text != source:
            passages[-1].source = source
            shifted = [value if place % 2 == 0 else value + 10 for place, value in enumerate(offsets)]
            passages[-1].offsets.extend(shifted)
    found = evidence.split(passages, 50)
    checker = Checker(passages, found, Clock())
    asyncio.run(checker.passed([each.text for each in found], "extract"))
    for made in checker.citations:
        assert made.quote == sources[int(made.document_id)][made.start - 10 : made.end - 10]
    assert set(re.findall(r"\[\d+\]", checker.answer)) == {each.marker for each in checker.citations}


def test_huge_output_is_checked_in_linear_time() -> None:
    consistent(said("Entry costs 6 euros for adults. " * 400 + "x" * 100_000))


@given(TEXT, st.sampled_from(["extract", "passages"]), st.booleans())
def test_what_is_flagged_is_exactly_what_carries_no_citation(text: str, style: str, masks: bool) -> None:
    checker = said(text, style, "flag", Masking() if masks else None)
    consistent(checker)
    flagged = [checker.answer[each.start : each.end] for each in checker.unsupported]
    assert flagged == [each.text for each in checker.claims if each.fate == "flagged"]
    assert all(each.reason for each in checker.unsupported)
    rest, at = "", 0
    for each in checker.unsupported:
        assert at <= each.start < each.end
        rest, at = rest + checker.answer[at : each.start], each.end
    rest += checker.answer[at:]
    cited = [f"{each.text} {each.marker}" for each in checker.claims if each.fate == "said"]
    assert " ".join(rest.split()) == " ".join(" ".join(cited).split())


class Masking:
    """Takes out numbers, so that a text gets shorter; refuses what speaks of ferries."""

    whole = refused = False

    def __call__(self, text: str) -> tuple[str, tuple[Finding, ...]]:
        if "erries" in text:
            return "", (Finding("ferries", "answer", "refuse", "ferries"),)
        masked = re.sub(r"\d+", "#", text)
        return masked, (Finding("digits", "answer", "mask", "number"),) if masked != text else ()


def test_a_flagged_sentence_stays_without_a_marker_and_says_what_no_passage_has() -> None:
    text = "Entry costs 6 euros for adults. Entry costs 9 euros for children [1]. Brell is twinned with Oslo."
    checker = said(text, policy="flag")
    assert checker.answer == (
        "Entry costs 6 euros for adults. [1] Entry costs 9 euros for children. Brell is twinned with Oslo."
    )
    assert [(checker.answer[each.start : each.end], each.reason) for each in checker.unsupported] == [
        ("Entry costs 9 euros for children.", "no passage has the number 9"),
        ("Brell is twinned with Oslo.", "no passage has the name Oslo"),
    ]
    assert said(text).answer == "Entry costs 6 euros for adults. [1]"


def test_a_reason_does_not_tell_what_a_guard_took_out() -> None:
    checker = said("The code of the safe in Brell is 90210.", policy="flag", guard=Masking())
    assert checker.answer == "The code of the safe in Brell is #."
    assert [each.reason for each in checker.unsupported] == ["no passage says this"]
    assert [each.action for each in checker.findings] == ["mask"]


def test_a_refusal_of_the_llm_is_never_flagged() -> None:
    checker = said("NO ANSWER", policy="flag")
    assert (checker.answer, checker.declined, checker.unsupported) == ("", True, [])


@pytest.mark.parametrize(
    ("claim", "reason"),
    [
        ("The Kestrel router comes with a 12-month warranty.", "no passage has the number 12"),
        ("The mayor of Brell is Karl Marx.", "no passage has the names Karl, Marx"),
        ("The Kestrel router has 4,200 lamps.", "no sentence has all of Kestrel, 4,200"),
        ("Ferries run in winter.", "the passage says it with a negation"),
        ("The Kestrel router never came with a two-year warranty.", "the passage says it without a negation"),
        ("Brell lies on the south shore of Lake Orvan.", "the passage says 'north', not 'south'"),
        ("Fishermen love herring.", "the closest sentence lacks the words Fishermen, love, herring"),
        ("So it is.", "it says nothing that a passage could support"),
    ],
)
def test_a_reason_says_what_is_missing(claim: str, reason: str) -> None:
    checker = said(claim, policy="flag")
    assert [each.reason for each in checker.unsupported] == [reason]


def test_names_may_not_change_places() -> None:
    text = "The French army under Louis defeated the Saxon army under Otto."
    passage = Passage(id="a#0", document_id="a", text=text, start=0, end=len(text))
    attribution = Attribution(Citer([passage], evidence.split([passage], 9)))
    turned = "The French army under Otto defeated the Saxon army under Louis."
    passive = "The Saxon army under Otto was defeated by the French army under Louis."
    verdicts = asyncio.run(attribution.check([text, turned, passive]))
    assert [verdict.support is not None for verdict in verdicts] == [True, False, True]
    assert verdicts[1].reason == "the passage has the names in another order"


@pytest.mark.parametrize(
    "marker",
    [
        "[1]", "[ 2 ]", "[1, 2]", "[1][2]", "[[1]]", "[[1], [2]]", "[1\u20133]",
        "[1-3]", "[1...3]", "[^4]", "\u301012\u3011",
        "\uff3b\uff11\uff3d", "[\u00b9]", "[\u2460]", "[1 and 2]", "[Source 1]", "[source: 1; source: 2]",
        "[see 3]", "[\u200b1]",
        "[1\u200d]", "[\u0663]", "[1[2]3]", "[[[7]]]", "\u30141\u3015",
    ],
)  # fmt: skip
def test_no_invented_marker_is_left(marker: str) -> None:
    assert said(f"Entry costs 6 euros for adults {marker}.").answer == "Entry costs 6 euros for adults. [1]"
    flagged = said(f"Entry is dear {marker}.", policy="flag").answer
    assert flagged == "Entry is dear."


@given(st.text(alphabet="[]\u3010\u3011\uff3b0123\u0661\u00b2^,-\u2013; \u200b\u200dab.", max_size=40))
def test_what_is_left_holds_no_marker_however_they_are_nested(text: str) -> None:
    assert not re.search(r"\[\d+\]", unmarked(text))
    assert unmarked(unmarked(text)) == unmarked(text)


@pytest.mark.parametrize(
    "text", ["x = [] and [y]", "from [12:30] on", "an area of 5 m\u00b2", "a[i]", "[citation needed]"]
)
def test_what_is_no_marker_stays(text: str) -> None:
    assert unmarked(text) == text


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("**Note** the `**kwargs` of 2**3.", "Note the `**kwargs` of 2**3."),
        ("**Note this.", "Note this."),
        ("It ends** here.", "It ends here."),
        ("- It is **so**.", "It is so."),
        ("call f(**options)", "call f(**options)"),
    ],
)
def test_halves_of_bold_type_are_not_shown(source: str, text: str) -> None:
    assert shown(source) == text


def test_tidying() -> None:
    assert unmarked("  3. Answer: It is so [1], [2]. ") == "It is so,."
    assert unmarked("The answer to your question is: it is so.") == "it is so."
    assert unmarked("The answer is no: it is so.") == "The answer is no: it is so."
    assert shown("a[0] and\n b[12]") == "a[ 0 ] and b[ 12 ]"
