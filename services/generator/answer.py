"""The read path on one screen: search, rerank, find evidence, prompt, generate, cite and check, or abstain."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import asdict, dataclass, replace

from ragline.context import bind, new_id
from ragline.errors import Internal, Unavailable
from ragline.v1.retriever_pb2 import SearchResponse
from services.generator.checks import abstain
from services.generator.checks.checking import Checker, Guard
from services.generator.clock import Clock
from services.generator.draft import Draft
from services.generator.events import (
    Anew,
    Done,
    Event,
    Finding,
    Outcome,
    Passages,
    Policy,
    Question,
    Ranked,
    Spent,
    Token,
)
from services.generator.explaining import explanation
from services.generator.format import Form, allow
from services.generator.fusing import Wording
from services.generator.keeping import Answers
from services.generator.prompts import shipped
from services.generator.prompts.writing import Writing
from services.generator.ranking import evidence, judge, rank
from services.generator.roster import Roster
from services.generator.sources import Sources
from services.generator.spending import Spending
from services.generator.steps import BARE, Steps


@dataclass(frozen=True)
class Choices:
    """How answers are made: see the settings of the same names."""

    rerank_pool: int
    evidence_sentences: int
    prompt_tokens: int
    abstain_below: float
    unsupported: Policy = "drop"


@dataclass(frozen=True)
class Begun:
    """A question as it was ``heard``: let by the guards; and as it is ``asked``: so that it stands alone."""

    heard: Question
    asked: Question
    findings: tuple[Finding, ...]
    away: tuple[str, ...]


class Answerer:
    """Answers questions from a collection's passages, with citations that code has checked.

    Of ``llms`` the one that needs no model answers where the others are away or say what nothing supports.
    """

    def __init__(
        self,
        sources: Sources,
        llms: Roster,
        answers: Answers,
        choices: Choices,
        steps: Steps = BARE,
    ) -> None:
        self.sources, self.llms, self.answers = sources, llms, answers
        self.choices = choices
        self.steps = steps
        self.writing = steps.writing or Writing(shipped(), choices.prompt_tokens)

    async def answer(self, question: Question) -> Done:
        """The whole answer at once."""
        async with aclosing(self.events(question)) as events:
            async for event in events:
                if isinstance(event, Done):
                    return event
        raise Internal

    async def stream(self, question: Question) -> AsyncGenerator[Event, None]:
        """The answer as it is written; ``Done`` is the last event.

        Raises Unavailable where the LLM breaks off after something was said: half an answer is none.
        """
        async with aclosing(self.events(question)) as events:
            async for event in events:
                if isinstance(event, Anew):
                    raise Unavailable(f"The answer broke off: {event.reason} Forget its beginning and ask again.")
                yield event

    async def events(self, question: Question) -> AsyncGenerator[Event | Anew, None]:
        """The answer as it is written; ``Done`` is the last event, and what came before ``Anew`` is void.

        Equal questions at the same generation share one stream, and later ones the kept answer: the search
        comes first, so an answer from passages that have since changed can never be served.
        """
        clock, spending = Clock(), Spending()
        begun = await self.begin(question, clock, spending)
        asked = begun.asked
        found, wordings = await self.search(asked, clock, spending)
        events = self.answers.get(asked, found, self.variant(asked), lambda: self.write(asked, found))
        cached, like = False, ""
        ranked: tuple[Ranked, ...] = ()
        async with aclosing(events):
            async for event in events:
                if isinstance(event, Spent):
                    cached, like = event.cached, event.like
                    yield replace(event, usage=spending.usage + event.usage)
                    continue
                if isinstance(event, Passages):
                    ranked = await self.shown(event.ranked)
                    yield Passages(ranked)
                    continue
                if not isinstance(event, Outcome):
                    yield event
                    continue
                done = Done(
                    new_id(),
                    made(event, begun, wordings, spending),
                    clock.total(event.timings_ms),
                    found.generation,
                    cached,
                    query=asked.query if asked.query != question.query else "",
                    session_id=question.session_id,
                    like=like,
                    findings=(*begun.findings, *event.findings),
                )
                yield await self.end(begun.heard, done, ranked)

    def variant(self, question: Question) -> str:
        """What else an answer depends on: who writes it or stands in, asked how, and what may be said."""
        line = [named.llm for named in self.llms.line(question.llm)]
        asked = " ".join(f"{llm.name} {self.writing.variant(question, llm)}" for llm in line)
        guards = self.steps.guards.variant if self.steps.guards else ""
        return f"{asked} {self.choices} {guards}"

    async def begin(self, question: Question, clock: Clock, spending: Spending) -> Begun:
        """The question as the guards let it be asked, and as it stands alone."""
        findings: tuple[Finding, ...] = ()
        away: tuple[str, ...] = ()
        self.llms.line(question.llm)  # or it is refused before anything is done for it
        self.writing.chosen(question, self.llms.chosen(question.llm))
        allow(question, self.llms.chosen(question.llm))
        if self.steps.guards:
            with clock.stage("guard"):
                question, findings = await self.steps.guards.question(question)
        asked = question
        if self.steps.conversation:
            with clock.stage("rewrite"), spending.stage("rewrite"), bind(caller=question.caller):
                asked, away = await self.steps.conversation.begin(question)
        return Begun(question, asked, findings, away)

    async def shown(self, ranked: tuple[Ranked, ...]) -> tuple[Ranked, ...]:
        """The passages as the guards let them be shown: those of a kept answer come as they were found."""
        return await self.steps.guards.again(ranked) if self.steps.guards else ranked

    def guard(self) -> Guard | None:
        """A guard for one answer, where there are guards."""
        return self.steps.guards.answer() if self.steps.guards else None

    async def search(
        self, question: Question, clock: Clock, spending: Spending
    ) -> tuple[SearchResponse, tuple[Wording, ...]]:
        """The passages that match the question, or another wording of it; and which found what."""
        # Passages that were chosen to be unlike each other are kept as they are: a pool would undo the choice.
        wide = self.sources.reranker and not question.retrieval.diversity
        pool = self.choices.rerank_pool if wide else 0
        others: list[str] = []
        if self.steps.expansion and question.expand:
            with clock.stage("expand"), spending.stage("expand"), bind(caller=question.caller):
                others = await self.steps.expansion.wordings(question)
        with clock.stage("retrieve"):
            found, wordings = await self.sources.search(question, max(question.top_k, pool), others)
        clock.move("retrieve", "embed", found.timings_ms.get("embed", 0.0))
        return found, wordings

    async def end(self, question: Question, done: Done, ranked: tuple[Ranked, ...]) -> Done:
        """Remember the answer where that is wanted, before the client has its id."""
        if self.steps.conversation and (away := await self.steps.conversation.end(question, done, ranked)):
            degraded = tuple(dict.fromkeys((*done.outcome.degraded, *away)))
            done = replace(done, outcome=replace(done.outcome, degraded=degraded))
        if self.steps.records:
            await self.steps.records.keep(question, done, ranked)
        return done

    async def write(
        self, question: Question, found: SearchResponse
    ) -> AsyncGenerator[Event | Anew | Outcome, None]:
        """Everything after the search; ``Outcome`` is the last event."""
        clock, spending = Clock(), Spending()
        with clock.stage("rerank"):
            ranking = await rank(self.sources, question, found.results[0])
        findings: tuple[Finding, ...] = ()
        if self.steps.guards:
            with clock.stage("guard"):
                best, findings = await self.steps.guards.passages(ranking.best)
            ranking = replace(ranking, best=best)
        shown = Passages(ranking.best, ranking.trial)
        yield shown
        limit = self.choices.evidence_sentences
        held = await evidence(self.sources, question.query, found.results[0], ranking, limit, clock)
        given = [each.passage for each in ranking.best]
        judging = judge(self.sources, ranking, found.results[0])
        policy = question.unsupported or self.choices.unsupported
        sizes = await self.writing.sizes(self.llms.chosen(question.llm), given)
        draft = Draft(
            question,
            lambda llm: self.writing.ask(question, llm, given, held.sentences, sizes),
            lambda: checker_of(question)(given, held.sentences, clock, self.guard(), judging, policy),
            clock,
        )
        chain = self.llms.chain(question.llm)
        if held.sentences and held.chance >= self.choices.abstain_below:
            with spending.stage("generate"):
                async for event in chain.write(lambda llm: draft.write(chain, llm)):
                    yield event
                    if isinstance(event, Anew):
                        yield shown  # who comes late begins here
        checker = draft.checker
        asked = draft.prompt or draft.ask(self.llms.chosen(question.llm))
        if abstained := not checker.said:
            yield Token(checker.say(abstain.refusal(question.collection, checker.passages)))
        yield Spent(spending.usage)
        yield Outcome(
            answer=checker.answer,
            citations=tuple(checker.citations),
            abstained=abstained,
            degraded=tuple(dict.fromkeys((*found.degraded, *held.degraded, *chain.degraded, *checker.degraded))),
            usage=spending.usage,
            model=checker.model or self.llms.chosen(question.llm).name,
            finish=checker.finish,
            prompt=asked.id,
            unsupported=tuple(checker.unsupported),
            pointers=checker.pointers,
            findings=(*findings, *checker.findings),
            timings_ms=clock.times_ms,
            explain=explanation(question, ranking, held, asked, checker, self.choices.abstain_below)
            if question.explain
            else None,
        )


def checker_of(question: Question) -> type[Checker]:
    """What looks at an answer: at its sentences, or at the leaves of its JSON."""
    return Form if question.schema_json else Checker


def made(outcome: Outcome, begun: Begun, wordings: tuple[Wording, ...], spending: Spending) -> Outcome:
    """The outcome with what is this request's own: what was away and spent before it, and what each wording found.

    ``explain`` tells what each stage took.
    """
    stages = {name: asdict(usage) for name, usage in (*spending.stages.items(), ("generate", outcome.usage))}
    outcome = replace(outcome, degraded=(*outcome.degraded, *begun.away), usage=spending.usage + outcome.usage)
    if outcome.explain is None:
        return outcome
    told = {"wordings": [{"wording": each.text, "passages": list(each.passages)} for each in wordings]}
    return replace(outcome, explain={**outcome.explain, "usage": stages, **(told if wordings else {})})
