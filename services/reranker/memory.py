"""How much more memory this process may take before the system or its cgroup ends it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ragline.threads import CGROUP, SELF, groups, words_of

MEMINFO = Path("/proc/meminfo")
WEIGHTS = (".safetensors", ".onnx", ".onnx_data", ".bin", ".pt", ".gguf")
UNLIMITED = 1 << 60  # version 1 writes a number near 2**63 where there is no limit


def room(cgroup: Path = CGROUP, own: Path = SELF, meminfo: Path = MEMINFO) -> int | None:
    """Bytes that may still be taken: the least of what the cgroups (version 1 or 2) and the machine have left.

    File pages that the kernel would drop first count as free. None where nothing says.
    """
    return min((max(0, left) for left in lefts(cgroup, own, meminfo)), default=None)


def lefts(cgroup: Path, own: Path, meminfo: Path) -> Iterator[int]:
    """What each limit leaves, in bytes."""
    for folder in groups(cgroup, own, ""):
        yield from left(folder, "memory.max", "memory.current", "inactive_file")
    for folder in groups(cgroup / "memory", own, "memory"):
        yield from left(folder, "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
    words = words_of(meminfo)
    if "MemAvailable:" in words:
        yield int(words[words.index("MemAvailable:") + 1]) * 1024


def left(folder: Path, limit: str, used: str, droppable: str) -> Iterator[int]:
    """What one group's limit leaves; nothing where it has none."""
    most, now, stat = words_of(folder / limit), words_of(folder / used), words_of(folder / "memory.stat")
    if most and now and most[0] != "max" and int(most[0]) < UNLIMITED:
        cached = int(stat[stat.index(droppable) + 1]) if droppable in stat else 0
        yield int(most[0]) - int(now[0]) + cached


def weights_bytes(folder: Path) -> int:
    """The size of a model's weights; of several formats in one folder the largest, since one is read."""
    sizes = dict.fromkeys(WEIGHTS, 0)
    for file in folder.rglob("*"):
        if file.suffix in sizes and file.is_file():
            sizes[file.suffix] += file.stat().st_size
    sizes[".onnx"] += sizes.pop(".onnx_data")
    return max(sizes.values())
