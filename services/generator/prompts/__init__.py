"""What LLMs are asked: versioned files, chosen by request, by collection or by the settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Literal

from ragline.errors import InvalidRequest
from ragline.settings import SettingsError
from services.generator.prompt import Style, Task
from services.generator.prompts._files import ENDING, FILE, Order, Template, read

SHIPPED = Path(__file__).parent
MOST_FILES = 1000
# Without a choice: the name a task and style has.
DEFAULTS: Mapping[tuple[str, str], str] = {
    ("answer", "extract"): "answer.extract",
    ("answer", "passages"): "answer.passages",
    ("summary", ""): "summary",
    ("standalone", ""): "conversation.standalone",
    ("expand", ""): "query.expand",
}

__all__ = ["SHIPPED", "Order", "Prompts", "Template", "shipped"]


class Prompts:
    """The shipped prompts and an operator's own. A name without a version means the newest."""

    def __init__(
        self, folders: Sequence[Path] = (), default: str = "", collections: Mapping[str, str] | None = None
    ) -> None:
        """Reads all files of ``folders`` beside the shipped ones; raises SettingsError naming file and line.

        ``default`` asks for answers unless ``collections`` says another for the collection.
        """
        self.by_name: dict[str, dict[int, Template]] = {}
        for folder in (SHIPPED, *folders):
            self.add(folder)
        self.default = default
        self.collections = dict(collections or {})
        for setting, name in [("GENERATOR_PROMPT", default), *self.named()]:
            found = self.find(name)
            if name and (found is None or found.task != "answer"):
                raise SettingsError(f"{setting}: there is no prompt {name!r}; there are {self.listed('answer')}.")

    def named(self) -> list[tuple[str, str]]:
        """The collections' prompts, with what to call the setting where one is wrong."""
        return [(f"GENERATOR_COLLECTION_PROMPTS, {where}", name) for where, name in self.collections.items()]

    def add(self, folder: Path) -> None:
        """Read the files of a folder; raises SettingsError."""
        try:
            files = sorted(file for file in folder.iterdir() if file.suffix == ENDING)
        except OSError as error:
            raise SettingsError(f"GENERATOR_PROMPTS_DIR, {folder}, cannot be read: {error.strerror}.") from None
        if len(files) > MOST_FILES:
            raise SettingsError(f"GENERATOR_PROMPTS_DIR, {folder}, has {len(files)} prompts, over {MOST_FILES}.")
        for made in map(read, files):
            versions = self.by_name.setdefault(made.name, {})
            if made.version in versions:
                raise SettingsError(
                    f"{folder / made.id}{ENDING}: {made.id} is there twice; give it a new version."
                )
            versions[made.version] = made

    def find(self, name: str) -> Template | None:
        """The prompt of a name, or of a name@version; None where there is none."""
        versioned = FILE.fullmatch(name)
        versions = self.by_name.get(versioned[1] if versioned else name, {})
        if versioned:
            return versions.get(int(versioned[2]))
        return versions[max(versions)] if versions else None

    def choose(self, name: str, task: Task, style: Style | Literal[""] = "", collection: str = "") -> Template:
        """The prompt for a task: the one named, else the collection's, else the settings', else the shipped one.

        The collection's and the settings' are passed over where the LLM is of another style. Raises InvalidRequest
        for a name that there is not, or not for this.
        """
        found = self.suited(name, task, style, collection)
        if name and found is not self.find(name):
            raise InvalidRequest(
                f"There is no prompt {name!r} for this; there are {self.listed(task, style)}.", field="prompt"
            )
        return found

    def suited(self, name: str, task: Task, style: Style | Literal[""] = "", collection: str = "") -> Template:
        """The first of those that ``choose`` looks at that suits the task and the style."""
        wished = (self.collections.get(collection, ""), self.default) if task == "answer" else ()
        for each in (name, *wished, DEFAULTS[task, style]):
            found = self.find(each)
            if found and (found.task, found.style) == (task, style):
                return found
        raise SettingsError(f"There is no prompt for {task} {style}.")  # not without the shipped files

    def listed(self, task: Task, style: str | None = None) -> str:
        """The prompts for a task by name, for messages."""
        every = [each for versions in self.by_name.values() for each in versions.values()]
        return ", ".join(sorted(t.id for t in every if t.task == task and style in (None, t.style)))

    def render(self, name: str, **values: Any) -> list[dict[str, str]]:
        """The chat messages of a prompt; raises InvalidRequest for a name that there is not."""
        found = self.find(name)
        if found is None:
            raise InvalidRequest(
                f"There is no prompt {name!r}; there are {', '.join(sorted(self.by_name))}.", field="prompt"
            )
        return found.messages(**values)


@cache
def shipped() -> Prompts:
    """The shipped prompts alone, read once."""
    return Prompts()
