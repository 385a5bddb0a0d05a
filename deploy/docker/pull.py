"""Fetches the models of an image, as `ragline models pull` does, so that the same inputs give the same layer.

Times are set to one moment before the hashes are noted: a layer keeps whole seconds, and a file whose time differs
from the note would be hashed again at every start.
"""

import os
import sys
from pathlib import Path

from ragline.models import ModelStore
from ragline.models.files import NOTE

MOMENT = 1_600_000_000


def main(folder: str, *models: str) -> None:
    """Pull ``models`` into ``folder``; without any the folder is there and empty."""
    root = Path(folder)
    root.mkdir(parents=True, exist_ok=True)
    store = ModelStore(root)
    for model in models:
        home = store.pull(model)
        (home / NOTE).unlink(missing_ok=True)
        settle(home)
        store.path(model)
    for lock in root.rglob(".*.lock"):
        lock.unlink()
    settle(root)


def settle(folder: Path) -> None:
    """Give the folder and all in it the same time, readable to all."""
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
        os.utime(path, (MOMENT, MOMENT))


if __name__ == "__main__":
    main(*sys.argv[1:])
