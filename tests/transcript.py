"""Writes the README's transcripts from a real run: `python -m tests.transcript`; a test compares another run."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from tests.suite import Suite, wait_for_job

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
PUBLIC = "http://127.0.0.1:8000"
COMMANDS: Mapping[str, tuple[str, ...]] = {
    "transcript": (
        "ragline ingest docs",
        'ragline ask "How often is a document tried whose message failed?"',
        'ragline ask "Who won the football match yesterday?"',
        'ragline search "vectors without PyTorch" --top-k 1',
    ),
    "rest": (
        f"""curl -s {PUBLIC}/documents -H 'Content-Type: application/json' -d '{{"documents": [
    {{"id": "brell", "text": "The harbour of Brell holds 17 boats. Its mills were closed in 1921."}}]}}'""",
        f"""curl -s {PUBLIC}/generate -H 'Content-Type: application/json' \\
    -d '{{"query": "When were the mills of Brell closed?"}}' | python3 -m json.tool""",
        f"""curl -s {PUBLIC}/generate -H 'Content-Type: application/json' -d '{{"query": "", "top_k": 0}}'""",
    ),
}
JOB = re.compile(r"job-[0-9a-f]+")
CHANGING = (re.compile(r"[0-9a-f]{32}"), re.compile(r"\d+(\.\d+)?"))  # ids before numbers: they hold some


def record(suite: Suite) -> dict[str, str]:
    """The transcripts by name, with the suite's URL written as the default one."""
    return {name: "\n".join(run(suite, command) for command in commands) for name, commands in COMMANDS.items()}


def run(suite: Suite, command: str) -> str:
    """A command and what it printed, as a terminal shows it."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "RAGLINE_URL": suite.url, "COLUMNS": "110"}
    line = command.replace(PUBLIC, suite.url)
    done = subprocess.run(
        ["/bin/bash", "-c", line], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    if job := JOB.search(done.stdout):  # a person takes longer for the next command than the job does
        with suite.client() as client:
            wait_for_job(client, job[0])
    return f"$ {command}\n{done.stdout.replace(suite.url, PUBLIC).rstrip()}\n"


def block(text: str) -> str:
    """A transcript as it stands in the README."""
    return f"```console\n{text.rstrip()}\n```"


def insert(readme: str, transcripts: Mapping[str, str]) -> str:
    """The README with its transcripts replaced."""
    for name, text in transcripts.items():
        start, end = f"<!-- {name} -->", f"<!-- /{name} -->"
        head, _, rest = readme.partition(start)
        readme = f"{head}{start}\n{block(text)}\n{end}{rest.partition(end)[2]}"
    return readme


def masked(text: str) -> str:
    """The text without what changes from run to run: numbers and ids."""
    for pattern in CHANGING:
        text = pattern.sub("#", text)
    return text


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder, Suite(Path(folder)) as running:
        README.write_text(insert(README.read_text(), record(running)))
