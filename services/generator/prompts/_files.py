"""Reads the files of prompts: ``<name>@<version>.jinja``, a few fields, then a message in each section.

A section begins with a line such as ``=== system``. The file is cut into sections before anything is filled in, so
no value, whatever it holds, can begin another message.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from jinja2 import TemplateError
from jinja2.exceptions import SecurityError

from ragline.settings import SettingsError
from services.generator.prompt import Prompt, Said, Style, Task
from services.generator.prompts._sandbox import MAX_SOURCE_CHARS, Text
from services.generator.prompts.values import SAMPLES, cleaned, names

Order = Literal["best_first", "ends", "document", "best_last"]

ENDING = ".jinja"
FILE = re.compile(r"([a-z][a-z0-9_-]*(?:\.[a-z0-9_-]+)*)@([1-9][0-9]{0,8})")
_FIELD = re.compile(r"([a-z]+):[ \t]*(.*)")
_SECTION = re.compile(r"===[ \t]*([a-z]*)[ \t]*")
FIELDS = ("task", "style", "order", "description")
SECTIONS = ("system", "turns", "user")


@dataclass(frozen=True)
class Template:
    """One version of a prompt. ``style`` is empty for tasks that know no styles.

    ``order`` says how passages stand: "best_first", "ends" (the best at both ends and the worst in between),
    "document" (as they stand in their documents) or "best_last".
    ``digest`` is of the file, so that what was made by another text of the same version is not taken for its.
    """

    name: str
    version: int
    task: Task
    style: Style | Literal[""]
    order: Order
    description: str
    digest: str
    texts: Mapping[str, Text] = field(repr=False)
    turns: bool = False

    @property
    def id(self) -> str:
        """How responses and traces name it."""
        return f"{self.name}@{self.version}"

    @property
    def ref(self) -> str:
        """What keys of caches hold: the id, and which text goes by it."""
        return f"{self.id} {self.digest}"

    def prompt(self, said: tuple[Said, ...] = (), **values: Any) -> Prompt:
        """What the LLM is asked, with its values: see ``values``; ``said`` are the turns of the conversation.

        Raises TooLarge or Internal where it cannot be written.
        """
        given = {name: cleaned(value) for name, value in values.items()}
        system = self.texts["system"].render(given) if "system" in self.texts else ""
        user = self.texts["user"].render(given)
        return Prompt(self.task, system, user, said=said if self.turns else (), id=self.id)

    def messages(self, said: tuple[Said, ...] = (), **values: Any) -> list[dict[str, str]]:
        """The same as chat messages."""
        return self.prompt(said, **values).messages


def read(file: Path) -> Template:
    """The prompt in a file; raises SettingsError naming the file and the line of what is wrong."""
    named = FILE.fullmatch(file.name.removesuffix(ENDING))
    if not named:
        raise SettingsError(f"{file}: a prompt's file is called name@version{ENDING}, such as support@2{ENDING}.")
    try:
        source = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{file} cannot be read: {error}.") from None
    if len(source) > MAX_SOURCE_CHARS:
        raise SettingsError(f"{file} has {len(source)} characters; a prompt may have {MAX_SOURCE_CHARS}.")
    fields, sections = cut(source.splitlines(), file)
    task, style = kind(fields, file)
    known = names(task, style)
    texts = {name: Text(body, file, line, known) for name, (line, body) in sections.items() if name != "turns"}
    made = Template(
        name=named[1],
        version=int(named[2]),
        task=task,
        style=style,
        order=order(fields, file),
        description=fields.get("description", (0, ""))[1],
        digest=hashlib.sha256(source.encode()).hexdigest()[:16],
        texts=texts,
        turns="turns" in sections,
    )
    tried(made, file)
    return made


def cut(lines: list[str], file: Path) -> tuple[dict[str, tuple[int, str]], dict[str, tuple[int, str]]]:
    """The fields with their lines, and the sections with the lines at which they begin."""
    fields: dict[str, tuple[int, str]] = {}
    sections: dict[str, tuple[int, list[str]]] = {}
    for number, line in enumerate(lines, 1):
        if begun := _SECTION.fullmatch(line):
            if begun[1] not in SECTIONS or begun[1] in sections:
                raise SettingsError(f"{file}:{number}: sections are {', '.join(SECTIONS)}, each once.")
            sections[begun[1]] = number + 1, []
        elif sections:
            next(reversed(sections.values()))[1].append(line)
        elif line.strip():
            given = _FIELD.fullmatch(line)
            if not given or given[1] not in FIELDS:
                raise SettingsError(
                    f"{file}:{number}: a field is one of {', '.join(FIELDS)}, such as task: answer."
                )
            fields[given[1]] = number, given[2].strip()
    if "user" not in sections:
        raise SettingsError(f"{file}:{len(lines)}: there is no section === user.")
    if "turns" in sections and any(map(str.strip, sections["turns"][1])):
        raise SettingsError(
            f"{file}:{sections['turns'][0]}: the section turns stands for the messages of the conversation; "
            "it has no text."
        )
    return fields, {name: (line, "\n".join(body)) for name, (line, body) in sections.items()}


def kind(fields: Mapping[str, tuple[int, str]], file: Path) -> tuple[Task, Style | Literal[""]]:
    """The task and the style; raises SettingsError for what is none."""
    task = chosen(fields, "task", tuple(SAMPLES), file)
    styles = tuple(SAMPLES[task])
    style = chosen(fields, "style", styles, file, "" if "" in styles else None)
    for known in get_args(Task):
        if known == task:
            return known, "extract" if style == "extract" else "passages" if style == "passages" else ""
    raise SettingsError(f"{file}: task must be one of {', '.join(get_args(Task))}.")


def order(fields: Mapping[str, tuple[int, str]], file: Path) -> Order:
    """How passages stand; raises SettingsError for what is no order."""
    orders: tuple[Order, ...] = get_args(Order)
    wanted = chosen(fields, "order", orders, file, "best_first")
    return next(known for known in orders if known == wanted)


def chosen(
    fields: Mapping[str, tuple[int, str]],
    name: str,
    allowed: tuple[str, ...],
    file: Path,
    default: str | None = None,
) -> str:
    """The value of a field; raises SettingsError for one that is not allowed, or missing and has no default."""
    line, value = fields.get(name, (1, default))
    if value is None or value not in allowed:
        there = " or ".join(each for each in allowed if each) or "left out"
        raise SettingsError(f"{file}:{line}: {name} must be {there}.")
    return value


def tried(template: Template, file: Path) -> None:
    """Write it with samples, so that what fails does so at the start; raises SettingsError."""
    for sample in SAMPLES[template.task][template.style]:
        for text in template.texts.values():
            try:
                text.written(sample)
            except (SecurityError, TemplateError, TypeError, ValueError, LookupError) as error:
                line = text.line_of(error)
                raise SettingsError(f"{file}:{line}: it cannot be written: {error}.") from None
