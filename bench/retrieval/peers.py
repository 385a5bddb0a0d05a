"""The environment that peers run in, made on demand; one that cannot be installed is left out, with the reason."""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path

FOLDER = Path(__file__).parents[1] / ".peers"
REQUIREMENTS = Path(__file__).parents[1] / "peers" / "requirements.txt"
PEERS = {
    "Haystack": "bench.peers.haystack:Haystack",
    "LangChain": "bench.peers.langchain:LangChain",
    "txtai": "bench.peers.txtai:Txtai",
}
IMPORTS = {
    "Haystack": "haystack",
    "LangChain": "langchain_community, langchain_classic, rank_bm25",
    "txtai": "txtai",
}


def python() -> Path:
    """The interpreter of the environment, which is made where it is not there."""
    found = FOLDER / "bin" / "python"
    if not found.exists():
        venv.create(FOLDER, with_pip=True)
    return found


def install() -> dict[str, str]:
    """The peers that can be used by name, each with its engine; says why another cannot be."""
    usable = imported()
    if len(usable) < len(PEERS):
        lines = [line for line in REQUIREMENTS.read_text().splitlines() if line and not line.startswith("#")]
        for line in lines:  # one after the other, so that one that is not to be had costs no other
            pip = [str(python()), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", line]
            subprocess.run(pip, check=False)
        usable = imported()
    for name in PEERS.keys() - usable.keys():
        print(f"{name} is left out: it could not be installed from {REQUIREMENTS}", file=sys.stderr)
    return usable


def imported() -> dict[str, str]:
    """The peers that the environment has."""
    return {
        name: engine
        for name, engine in PEERS.items()
        if subprocess.run(
            [str(python()), "-c", f"import {IMPORTS[name]}"], check=False, capture_output=True
        ).returncode
        == 0
    }
