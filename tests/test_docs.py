"""What the pages say is so: commands run, settings and routes exist, examples parse, links lead somewhere."""

import ast
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import typer

from ragline.cli.__main__ import app
from ragline.settings import Settings, load
from tests.env_example import CLASSES
from tests.suite import Suite

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
URL = "http://127.0.0.1:8000"
# Commands that are not run here, and where they are.
ELSEWHERE = {
    "git clone": "needs the published repository; .ci/run begins with a clone",
    "make run": "tests/stack/test_make_run.py",
    "make test": "is what runs this",
    "make check": "run by .ci/run",
    "make eval": "takes hours; its numbers are in the README",
    "python -m eval": "takes minutes to hours; tests/eval has what it is made of",
    "make bench": "takes minutes and a quiet machine; its numbers are in the README",
    "make chaos": "run by .ci/run; a short form is in tests/stack/test_life.py",
    "ragline reembed": "needs a second embedder; tests/stack/test_reembed.py",
    "ragline up": "tests/stack/test_make_run.py, through make run",
    "ragline migrate": "needs two retrievers; tests/retriever/test_restore.py",
    "docker ": "needs Docker; tests/deploy holds the files to the settings, its scripts ask a running stack",
    "kubectl ": "needs a cluster; tests/deploy/test_kubernetes.py holds paths and names to deploy/k8s",
    "deploy/upgrade.sh": "needs Docker; tests/deploy/spread.py",
}
RUN = ("ragline ", "curl ", "python ", "printf ")
COMMANDS = (*RUN, "make ", "git ", "docker ", "kubectl ", "deploy/")
SHELL = {"", "sh", "bash", "console"}
FENCED = re.compile(r"^```([^\n]*)\n(.*?)^```\s*$", re.MULTILINE | re.DOTALL)
INDENTED = re.compile(r"^ {4}(\S.*)$", re.MULTILINE)
INLINE = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
ASSIGNMENT = re.compile(r"([A-Z][A-Z0-9_]*)=(.*)")
PREFIXES = "|".join(settings.prefix().rstrip("_") for settings in CLASSES)
SETTING = re.compile(rf"\b(?:{PREFIXES})_[A-Z0-9_]*[A-Z0-9]\b(?!\*)")
PROBLEM = re.compile(r'"status":[45]\d\d')
ROUTE = re.compile(r"\b(GET|POST|PUT|DELETE) (/[\w/{}.-]*)")


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    page: Path
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks() -> Iterator[Block]:
    for page in PAGES:
        text = page.read_text()
        for match in FENCED.finditer(text):
            yield Block(page, text.count("\n", 0, match.start()) + 1, match[1].strip(), match[2])


BLOCKS = list(blocks())


def commands(block: Block) -> Iterator[str]:
    """The commands of a shell block, those over several lines joined; what else stands there is their output."""
    waiting = ""
    for line in block.text.splitlines():
        begun = line.strip().removeprefix("$ ")
        if waiting:
            waiting += "\n" + line
        elif begun.startswith(COMMANDS):
            waiting = begun
        if waiting and whole(waiting):
            yield waiting
            waiting = ""
    assert not waiting, f"{block}: {waiting!r} does not end"


def whole(command: str) -> bool:
    """Whether all quotation marks are closed and no line is to be continued."""
    try:
        shlex.split(command, comments=True)
    except ValueError:
        return False
    return not command.endswith("\\")


def elsewhere(command: str) -> bool:
    return command.startswith(tuple(ELSEWHERE))


@pytest.mark.models
@pytest.mark.stack
def test_commands_work_in_the_order_of_the_pages(suite: Suite, tmp_path: Path) -> None:
    """Each command of a page, for real, in a copy of what a clone holds."""
    copy_tracked(tmp_path)
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "RAGLINE_URL": suite.url,
        "RETRIEVER_GRPC_PORT": suite.environment["RETRIEVER_GRPC_PORT"],
        "COLUMNS": "200",
    }
    for block in BLOCKS:
        for command in commands(block) if block.language in SHELL else ():
            if elsewhere(command) or not command.startswith(RUN):
                continue
            if command.startswith("curl ") and not shutil.which("curl"):
                continue
            line = command.replace(URL, suite.url).replace("curl ", "curl --fail-with-body -sS ", 1)
            shell = ["/bin/bash", "-o", "pipefail", "-c", line]
            ended = subprocess.run(
                shell, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
            )
            said = f"{block}: {command}\n{ended.stdout}\n{ended.stderr}"
            if problem := shown_problem(block, command):
                assert problem in ended.stdout, said
            else:
                assert ended.returncode == 0, said


def shown_problem(block: Block, command: str) -> str:
    """The status of the problem that a page shows as the answer to a command; empty where it shows none."""
    output = block.text.partition(command)[2].partition("\n$ ")[0]
    found = PROBLEM.search(output)
    return found[0] if found else ""


def copy_tracked(folder: Path) -> None:
    """What a clone would hold, as it is now."""
    command = [shutil.which("git") or "git", "ls-files", "-z"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, folder / name)


@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_commands_are_known(block: Block) -> None:
    for command in commands(block) if block.language in SHELL else ():
        assert elsewhere(command) or command.startswith(RUN), f"{command!r} is run nowhere; name it in ELSEWHERE"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_verbs_are_in_the_makefile(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for code in code_of(page):
        for verb in re.findall(r"^\s*make ([a-z][a-z-]*)", code, re.MULTILINE):
            assert verb in targets, f"make {verb}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_of_the_command_line_are_there(page: Path) -> None:
    group: Any = typer.main.get_command(app)
    for code in code_of(page):
        for line in code.splitlines():
            words = line.strip().removeprefix("$ ").split()
            if words[:1] == ["ragline"] and len(words) > 1 and re.fullmatch("[a-z]+", words[1]):
                assert words[1] in group.commands, line


def code_of(page: Path) -> list[str]:
    """What stands in a page as code, in a line, a block or an indented line."""
    text = page.read_text()
    return [match[2] for match in FENCED.finditer(text)] + INDENTED.findall(text) + INLINE.findall(text)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_settings_that_are_named_are_there(page: Path) -> None:
    known = {(settings.prefix() + name).upper() for settings in CLASSES for name in settings.model_fields}
    named = set(SETTING.findall(page.read_text())) - {"RAGLINE_DATA"}
    assert named <= known, named - known


ENVIRONMENTS = [
    block
    for block in BLOCKS
    if block.language in {"", "env", "dotenv"}
    and all(ASSIGNMENT.fullmatch(line) for line in block.text.splitlines() if line.strip())
]


@pytest.mark.parametrize("block", ENVIRONMENTS, ids=str)
def test_environments_are_accepted(block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_text(block.text)
    for line in block.text.splitlines():
        name = line.partition("=")[0]
        monkeypatch.setenv(name, "")  # so that it is gone again after the test
        monkeypatch.delenv(name)
    for settings in CLASSES:
        assert isinstance(load(settings), Settings)


def test_the_example_environment_is_accepted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every line of .env.example, uncommented, is the default; only logs are quieter in the all-in-one."""
    lines = [line.removeprefix("# ") for line in (ROOT / ".env.example").read_text().splitlines()]
    chosen = [line for line in lines if ASSIGNMENT.fullmatch(line)]
    for line in chosen:
        monkeypatch.delenv(line.partition("=")[0], raising=False)
    before = {settings: load(settings) for settings in CLASSES}
    monkeypatch.chdir(tmp_path)
    for line in chosen:
        name, _, value = line.partition("=")
        if value:
            monkeypatch.setenv(name, value)
    assert len(chosen) > 50
    logs = {"log_level", "log_format"}
    for settings, defaults in before.items():
        assert load(settings).model_dump(exclude=logs) == defaults.model_dump(exclude=logs)


PARSERS: dict[str, Callable[[str], object]] = {
    "json": json.loads,
    "python": ast.parse,
    "toml": tomllib.loads,
}


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.language in PARSERS], ids=str)
def test_examples_parse(block: Block) -> None:
    PARSERS[block.language](block.text)


def test_no_language_is_unknown() -> None:
    known = SHELL | set(PARSERS) | {"text", "env", "dotenv"}
    assert {block.language for block in BLOCKS} <= known


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in LINK.findall(FENCED.sub("", page.read_text())):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        found = (page.parent / name).resolve() if name else page
        assert found.exists(), target
        assert found.is_relative_to(ROOT), target
        if anchor:
            assert anchor in anchors(found), target


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub makes of a page's headings."""
    headings = re.findall(r"^#+ (.*)$", FENCED.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.models
@pytest.mark.stack
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_routes_that_are_named_are_there(suite: Suite, page: Path) -> None:
    with suite.client() as client:
        paths = client.get("/openapi.json").json()["paths"]
    known = {(method.upper(), shape(path)) for path, methods in paths.items() for method in methods}
    for code in INLINE.findall(page.read_text()):
        for method, path in ROUTE.findall(code):
            assert (method, shape(path)) in known | {("GET", "/docs")}, f"{method} {path}"


def shape(path: str) -> str:
    """A route with nameless parameters."""
    return re.sub(r"\{[^}]*\}", "{}", path.removeprefix("/v1"))


@pytest.mark.models
@pytest.mark.stack
def test_filters_that_are_shown_are_taken(suite: Suite) -> None:
    page = (ROOT / "docs" / "how-to" / "filter.md").read_text()
    shown = [json.loads(cell) for cell in re.findall(r"^\| `(\{.*?\})` \|", page, re.MULTILINE)]
    assert len(shown) > 10
    bodies = [json.loads(match[2]) for match in FENCED.finditer(page) if match[1].strip() == "json"]
    questions = [body for body in bodies if "query" in body]
    problems = [body for body in bodies if "detail" in body]
    assert questions
    assert problems
    with suite.client() as client:
        for body in [*questions, *({"query": "x", "filter": each} for each in shown)]:
            assert client.post("/retrieve", json=body).status_code == 200, body
        wrong = {"query": "x", "filter": {"year": {"$gt": None}}}
        said = client.post("/retrieve", json=wrong).json()
        assert said | problems[0] == said
