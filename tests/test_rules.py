"""The rules that keep the tree liveable, held by tests instead of prose."""

import ast
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import ragline
from ragline import backends
from tests import env_example

ROOT = Path(__file__).parent.parent
SOURCES = sorted(
    path for folder in ("ragline", "services") for path in (ROOT / folder).rglob("*.py") if "v1" not in path.parts
)
READERS = {"settings.py", "__main__.py"}
ROLES = (
    "services.preprocess.embedders",
    "services.preprocess.parsers",
    "services.preprocess.chunkers",
    "services.preprocess.job_stores",
    "services.retriever.stores",
    "services.retriever.sparse",
    "services.retriever.dense",
    "services.reranker.scorers",
    "services.generator.llms",
    "services.generator.guards",
)


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_environment_is_read_by_settings_alone(path: Path) -> None:
    if path.name not in READERS:
        assert not re.search(r"\bos\.(environ|getenv)\b", path.read_text())


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_modules_say_what_they_are_for(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text())), "the first line of a module says what it is for"


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_sizes(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 400, "split it"
    long = [f"{node.name} ({length(node)} lines)" for node in functions(path) if length(node) > 60]
    assert not long


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def length(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    assert node.end_lineno is not None
    return node.end_lineno - node.lineno + 1


@pytest.mark.parametrize("role", ROLES)
def test_each_back_end_is_a_file_with_load(role: str) -> None:
    shipped = backends.names(role)
    assert shipped
    for back_end in shipped:
        tree = ast.parse((ROOT / role.replace(".", "/") / f"{back_end}.py").read_text())
        assert "load" in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}, back_end


def test_env_example_is_fresh() -> None:
    assert (ROOT / ".env.example").read_text() == env_example.render(), "run `make env-example`"


def test_version_has_a_changelog_section() -> None:
    assert f"## {ragline.__version__}" in (ROOT / "CHANGELOG.md").read_text()


def test_generated_code_is_not_committed() -> None:
    tracked = subprocess.run(
        [shutil.which("git") or "git", "ls-files", "ragline/v1"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert tracked.stdout == ""


def test_default_environment_has_no_torch() -> None:
    constraint = re.compile(r"torch|transformers", re.IGNORECASE)
    text = (ROOT / "pyproject.toml").read_text()
    default = text.partition("[project.optional-dependencies]")[0] + text.partition("[dependency-groups]")[2]
    assert not constraint.search(default.partition("[tool.")[0])
