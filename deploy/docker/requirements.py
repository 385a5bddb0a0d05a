"""Prints what one service installs: the project's dependencies and those of the group of its name.

`python requirements.py pyproject.toml reranker`; more names are extras of the project, and with `--only` the group
stands alone. An image's layer of dependencies is made from this list, so a change elsewhere in pyproject.toml does
not rebuild it.
"""

import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def main(file: str, group: str, *options: str) -> None:
    """Print one requirement a line, sorted."""
    project = tomllib.loads(Path(file).read_text())
    lines = {*members(project["dependency-groups"], group)}
    if "--only" not in options:
        lines |= {*project["project"]["dependencies"]}
    for extra in set(options) - {"--only"}:
        lines |= {*project["project"]["optional-dependencies"][extra]}
    sys.stdout.write("\n".join(sorted(lines)) + "\n")


def members(groups: dict[str, list[Any]], name: str) -> Iterator[str]:
    """The requirements of a group and of those that it includes."""
    for member in groups[name]:
        if isinstance(member, dict):
            yield from members(groups, member["include-group"])
        else:
            yield member


if __name__ == "__main__":
    main(*sys.argv[1:])
