"""Renders the text of a prompt, which an operator wrote: it can show what it is given and nothing else.

A template may print values, branch and loop. What could read more than that (calls, imports, attributes with
underscores), grow without end (assignments, products) or go on for ever is refused when it is read; what is left
is counted while it runs. So one that was taken cannot hang or fill the memory of who renders it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

from jinja2 import StrictUndefined, Template, TemplateError, TemplateSyntaxError, nodes, pass_context
from jinja2.exceptions import SecurityError
from jinja2.meta import find_undeclared_variables
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment

from ragline.errors import Internal, TooLarge
from ragline.settings import SettingsError

MAX_SOURCE_CHARS = 32_768
MAX_CHARS = 4_000_000
MAX_STEPS = 100_000
MAX_DEPTH = 40
_COUNT = "_steps"

ALLOWED = (
    nodes.Template,
    nodes.Output,
    nodes.TemplateData,
    nodes.If,
    nodes.For,
    nodes.Name,
    nodes.Const,
    nodes.Getattr,
    nodes.Getitem,
    nodes.Filter,
    nodes.Test,
    nodes.Compare,
    nodes.Operand,
    nodes.And,
    nodes.Or,
    nodes.Not,
    nodes.CondExpr,
    nodes.Concat,
    nodes.Add,
    nodes.Sub,
)


class Steps:
    """So many turns of loops are left."""

    def __init__(self) -> None:
        self.left = MAX_STEPS

    def take(self) -> None:
        """One more turn; raises SecurityError where it is one too many."""
        self.left -= 1
        if self.left < 0:
            raise SecurityError(f"its loops take more than {MAX_STEPS} turns")


@pass_context
def counted(context: Context, items: Iterable[Any]) -> Iterator[Any]:
    """The items of a loop, each paid for."""
    steps = context[_COUNT]
    for item in items:
        steps.take()
        yield item


def joined(items: Iterable[Any], separator: str = "") -> str:
    """The items as text, one after the other; raises SecurityError where that would be too long."""
    texts = [str(item) for item in items]
    return within(
        separator.join(texts) if sum(map(len, texts)) + len(separator) * len(texts) <= MAX_CHARS else None
    )


def within(text: str | None) -> str:
    """A text that is not too long."""
    if text is None or len(text) > MAX_CHARS:
        raise SecurityError(f"it writes more than {MAX_CHARS} characters")
    return text


FILTERS = {
    "join": joined,
    "length": len,
    "lower": lambda text: str(text).lower(),
    "oneline": lambda text: " ".join(str(text).split()),
    "tojson": lambda value: within(json.dumps(value, ensure_ascii=False)),
    "trim": lambda text: str(text).strip(),
    "upper": lambda text: within(str(text).upper()),
}
TESTS = ("defined", "none", "eq", "ne", "gt", "ge", "lt", "le", "in", "odd", "even")


def environment() -> ImmutableSandboxedEnvironment:
    """What templates are made in: no loader, no functions, few filters, and a missing value is a failure."""
    made = ImmutableSandboxedEnvironment(
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,  # it writes plain text; what is quoted in it was escaped before
    )
    made.globals.clear()
    made.filters.clear()
    made.filters.update(FILTERS | {_COUNT: counted})
    kept = {name: made.tests[name] for name in TESTS}
    made.tests.clear()
    made.tests.update(kept)
    return made


class Text:
    """The text of one message; ``line`` is where it begins in its file, so that faults are reported there."""

    def __init__(self, source: str, file: Path, line: int, names: frozenset[str]) -> None:
        """Raises SettingsError for what is no template, or is none that is allowed, or asks for other values."""
        self.file = file
        env = environment()
        try:
            tree = env.parse("\n" * (line - 1) + source, filename=str(file))
            self.check(tree, names)
            for loop in tree.find_all(nodes.For):
                loop.iter = nodes.Filter(loop.iter, _COUNT, [], [], None, None, lineno=loop.lineno)
            code = env.compile(tree, filename=str(file))
        except TemplateSyntaxError as error:
            raise SettingsError(f"{file}:{error.lineno}: {error.message}.") from None
        except RecursionError:
            raise SettingsError(f"{file}:{line}: it is nested too deeply.") from None
        self.template = Template.from_code(env, code, {})

    def check(self, tree: nodes.Template, names: frozenset[str]) -> None:
        """Refuse what a prompt has no use for."""
        for node in every(tree):
            if not isinstance(node, ALLOWED):
                raise TemplateSyntaxError(
                    f"a prompt may not use {type(node).__name__.lower()}", node.lineno, filename=str(self.file)
                )
            named = getattr(node, "attr", None) or getattr(node, "name", None)
            if isinstance(named, str) and named.startswith("_"):
                raise TemplateSyntaxError(
                    f"{named!r} begins with an underscore", node.lineno, filename=str(self.file)
                )
        unknown = find_undeclared_variables(tree) - names
        for node in tree.find_all(nodes.Name):
            if node.name in unknown:
                there = ", ".join(sorted(names))
                raise TemplateSyntaxError(
                    f"there is no {node.name!r}; there are {there}", node.lineno, filename=str(self.file)
                )

    def render(self, values: Mapping[str, Any]) -> str:
        """The text with its values; raises TooLarge for more than ``MAX_CHARS`` characters, else Internal."""
        try:
            return self.written(values)
        except SecurityError as error:
            raise TooLarge(f"The prompt {self.file.name} cannot be written: {error}.") from None
        except (TemplateError, TypeError, ValueError, LookupError) as error:
            raise Internal(f"The prompt {self.file.name} cannot be written; its template is wrong.") from error

    def written(self, values: Mapping[str, Any]) -> str:
        """The text with its values; raises jinja2's errors."""
        chars, pieces = 0, []
        for piece in self.template.generate({**values, _COUNT: Steps()}):
            chars += len(piece)
            if chars > MAX_CHARS:
                raise SecurityError(f"it writes more than {MAX_CHARS} characters")
            pieces.append(piece)
        return "".join(pieces).strip()

    def line_of(self, error: BaseException) -> int:
        """The line of the file at which a failure of ``written`` arose."""
        found, at = 0, error.__traceback__
        while at is not None:
            if at.tb_frame.f_code.co_filename == str(self.file):
                found = at.tb_lineno
            at = at.tb_next
        return found


def every(node: nodes.Node) -> Iterator[nodes.Node]:
    """A node and all below it; raises TemplateSyntaxError where they go too deep."""
    level: list[nodes.Node] = [node]
    for _ in range(MAX_DEPTH):
        yield from level
        level = list(chain.from_iterable(each.iter_child_nodes() for each in level))
        if not level:
            return
    raise TemplateSyntaxError("it is nested too deeply", level[0].lineno)
