"""Runs the guards that are set up over a question, its passages and its answer, each by its policy."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from ragline import backends, metrics
from ragline.errors import Refused
from ragline.settings import SettingsError
from services.generator.events import Finding, Question, Ranked, Turn
from services.generator.guards import POLICIES, STAGES, Guard, Match, Parts, Policy, Stage
from services.generator.guards._masking import masked, merged, rewritten

GUARDS = "services.generator.guards"
# What stands above a passage wherever it is shown.
HEADING = ("title", "section")
# So many texts are remembered with what a guard found in them: the same passages are found again and again.
REMEMBERED = 2048


@dataclass(frozen=True)
class Watch:
    """A guard under its name, with its policy at each stage where it looks."""

    name: str
    guard: Guard
    policies: Mapping[Stage, Policy]
    find: Callable[[str, Stage], Sequence[Match]]


@dataclass(frozen=True)
class Looked:
    """What the guards make of a text: what to mask, what was found, and the guard that refuses it, if one does."""

    masks: list[Match]
    findings: tuple[Finding, ...]
    refused: str = ""


class Chain:
    """All guards that are set up, in their order. ``variant`` says which, for the key of kept answers."""

    def __init__(self, watches: Sequence[Watch], variant: str) -> None:
        self.watches = watches
        self.variant = variant
        self.counted = metrics.counter(
            "ragline_guard_findings", "What guards found, by what was done about it.", ("guard", "stage", "action")
        )

    async def question(self, question: Question) -> tuple[Question, tuple[Finding, ...]]:
        """The question and what came with it, masked; raises Refused naming the guard."""
        query, findings = self.asked(question.query, "query")
        turns = []
        for at, turn in enumerate(question.turns):
            said, first = self.asked(turn.question, f"turns[{at}].question")
            answered, second = self.asked(turn.answer, f"turns[{at}].answer")
            turns.append(Turn(said, answered))
            findings += first + second
        instructions, found = self.asked(question.instructions, "instructions")
        masked_question = replace(question, query=query, turns=tuple(turns), instructions=instructions)
        return masked_question, added(findings + found)

    def asked(self, text: str, field: str) -> tuple[str, tuple[Finding, ...]]:
        """One text of a question; nothing where there is none."""
        if not text:
            return "", ()
        looked = self.look(text, "question")
        said = masked(text, looked.masks).strip()
        # What is left of a question once all of it is masked asks nothing.
        if looked.refused or (field == "query" and not said):
            raise refusal(looked, field)
        return said, looked.findings

    async def passages(self, ranked: Sequence[Ranked]) -> tuple[tuple[Ranked, ...], tuple[Finding, ...]]:
        """The passages, masked; those that a guard refuses are left out."""
        kept: list[Ranked] = []
        findings: tuple[Finding, ...] = ()
        for each in ranked:
            texts = (each.passage.text, *(getattr(each.passage, name) for name in HEADING))
            looked = [self.look(text, "passages") for text in texts if text]
            findings += tuple(finding for one in looked for finding in one.findings)
            if not any(one.refused for one in looked):
                kept.append(self.shown(each))
            await asyncio.sleep(0)  # many long passages hold nobody else up
        return tuple(kept), added(findings)

    async def again(self, ranked: Sequence[Ranked]) -> tuple[Ranked, ...]:
        """Passages that an answer was made from before, as they were shown then."""
        return tuple([self.shown(each) for each in ranked])

    def masks(self, text: str) -> list[Match]:
        """What of a passage is masked."""
        return merged(
            match
            for watch in self.watches
            if (policy := watch.policies.get("passages"))
            for match in watch.find(text, "passages")
            if policy == "mask" or (policy == "flag" and match.always)
        )

    def shown(self, ranked: Ranked) -> Ranked:
        """A passage as it may be shown. What only an answer masks is blanked where the source is quoted."""
        text = ranked.passage.text
        masks = self.masks(text)
        heads = {name: getattr(ranked.passage, name) for name in HEADING}
        heads = {name: masked(head, found) for name, head in heads.items() if (found := self.masks(head))}
        quoted = [
            match
            for watch in self.watches
            if watch.policies.get("answer") == "mask" and watch.policies.get("passages") != "mask"
            for match in watch.find(text, "answer")
        ]
        if not masks and not quoted and not heads:
            return ranked
        hit = rewritten(ranked.hit, masks, merged(quoted))
        for name, head in heads.items():
            setattr(hit.passage, name, head)
        # What the reranker matched are places in the text as it was.
        return replace(ranked, hit=hit, matches=())

    def answer(self) -> Speech:
        """The guard of one answer's sentences, to be shown them in order."""
        return Speech(self)

    @property
    def whole(self) -> bool:
        """Whether an answer must be seen to its end before any of it may be sent."""
        return any(watch.policies.get("answer") == "refuse" for watch in self.watches)

    def look(self, text: str, stage: Stage, since: Callable[[Watch], Iterable[Match]] | None = None) -> Looked:
        """What the guards find in a text and say about it; ``since`` finds it where that is another text."""
        masks: list[Match] = []
        refused = ""
        counts: Counter[tuple[str, Policy, str]] = Counter()
        for watch in self.watches:
            policy = watch.policies.get(stage)
            if policy is None:
                continue
            for match in since(watch) if since else watch.find(text, stage):
                action: Policy = "mask" if match.always and policy == "flag" else policy
                counts[watch.name, action, match.kind] += 1
                if action == "mask":
                    masks.append(match)
                elif action == "refuse":
                    refused = refused or watch.name
        for (name, action, _), count in counts.items():
            self.counted.labels(name, stage, action).inc(count)
        findings = tuple(
            Finding(name, stage, action, kind, count) for (name, action, kind), count in counts.items()
        )
        return Looked(merged(masks), findings, refused)


class Speech:
    """Guards the sentences of one answer as they come, each together with what was said before it."""

    def __init__(self, chain: Chain) -> None:
        self.chain = chain
        self.whole = chain.whole
        self.spaced = self.solid = ""
        self.refused = False

    def __call__(self, text: str) -> tuple[str, tuple[Finding, ...]]:
        """The sentence as it may be said; empty where it may not, and from then on."""
        if self.refused or not text:
            return "", ()
        looked = self.chain.look(text, "answer", lambda watch: self.found(watch, text))
        self.spaced = f"{self.spaced} {text}" if self.spaced else text
        self.solid += text
        self.refused = bool(looked.refused)
        return "" if self.refused else masked(text, looked.masks).strip(), looked.findings

    def found(self, watch: Watch, text: str) -> list[Match]:
        """What a guard finds that ends in ``text``, as places in it.

        What was cut in two is looked for with a space at the cut and without: the part that is not said yet is
        kept back. Without a space, what was already found before the cut ended there.
        """
        result: set[Match] = set()
        for before in dict.fromkeys((f"{self.spaced} " if self.spaced else "", self.solid)):
            seen = before[-watch.guard.reach :] if watch.guard.reach else ""
            known = {match.start for match in watch.find(seen, "answer")} if before == self.solid else set()
            for match in watch.find(seen + text, "answer"):
                if match.end > len(seen) and (match.start >= len(seen) or match.start not in known):
                    start = max(0, match.start - len(seen))
                    result.add(replace(match, start=start, end=match.end - len(seen)))
        return list(result)


def refusal(looked: Looked, field: str) -> Refused:
    """The error that says who refuses a text of a request, and for what kind of thing."""
    guard = looked.refused or looked.findings[0].guard
    kinds = ", ".join(each.detail for each in looked.findings if each.guard == guard)
    said = f"The guard {guard} refuses {field} for what it holds: {kinds}; ask without it."
    return Refused(said, field=field, guard=guard)


def added(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Equal findings as one, with their counts added up."""
    counts: Counter[Finding] = Counter()
    for each in findings:
        counts[replace(each, count=0)] += each.count
    return tuple(replace(each, count=count) for each, count in counts.items())


def open_guards(given: Mapping[str, Mapping[str, Any]]) -> Chain | None:
    """The guards of GENERATOR_GUARDS: by name a policy, or one for each stage, and the guard's options.

    None where there are none. Raises SettingsError for an unknown guard, stage, policy or option.
    """
    if not given:
        return None
    watches = [watch(name, chosen) for name, chosen in given.items()]
    return Chain(watches, repr({name: dict(chosen) for name, chosen in given.items()}))


def watch(name: str, chosen: Mapping[str, Any]) -> Watch:
    """One guard with its policies."""
    options = {option: value for option, value in chosen.items() if option != "policy"}
    guard: Guard = backends.load(GUARDS, name, Parts(), options)
    policies = policies_of(name, chosen.get("policy"), guard.stages)
    return Watch(name, guard, policies, lru_cache(REMEMBERED)(guard.find))


def policies_of(name: str, given: Any, stages: Sequence[Stage]) -> dict[Stage, Policy]:
    """The policy at each stage: a word for all where the guard can look, or an object by stage."""
    wanted = given if isinstance(given, Mapping) else dict.fromkeys(stages, given)
    for stage, policy in wanted.items():
        if stage not in stages:
            known = ", ".join(stages)
            raise SettingsError(f"GENERATOR_GUARDS: {name} does not look at {stage!r}, but at {known}.")
        if policy not in POLICIES:
            raise SettingsError(
                f"GENERATOR_GUARDS: the policy of {name} is {policy!r}; it must be one of {', '.join(POLICIES)}, "
                f"or an object that says one of them for {', '.join(STAGES)}."
            )
    return {stage: wanted[stage] for stage in stages if stage in wanted}
