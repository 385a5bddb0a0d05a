"""How many cores this process may use: what the machine has, less what affinity and the cgroup take away."""

from __future__ import annotations

import math
import os
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")
SELF = Path("/proc/self/cgroup")


def available(cgroup: Path = CGROUP, own: Path = SELF) -> int:
    """Cores that the affinity mask and the cgroup's CPU quota (version 1 or 2) allow, at least 1.

    A quota of two and a half cores counts as two: a third thread would be stopped for half of each period.
    """
    quotas = [quota for quota in (quota_v2(cgroup, own), quota_v1(cgroup, own)) if quota is not None]
    return max(1, min([len(os.sched_getaffinity(0)), *(math.floor(quota) for quota in quotas)]))


def quota_v2(cgroup: Path, own: Path) -> float | None:
    """The smallest ``cpu.max`` from this process's group up to the root, in cores; None: no limit."""
    quotas = []
    for folder in groups(cgroup, own, ""):
        words = words_of(folder / "cpu.max")
        if len(words) == 2 and words[0] != "max":
            quotas.append(int(words[0]) / int(words[1]))
    return min(quotas, default=None)


def quota_v1(cgroup: Path, own: Path) -> float | None:
    """The smallest ``cpu.cfs_quota_us`` over its period from this process's group up, in cores; None: no limit."""
    quotas = []
    for mount in (cgroup / "cpu", cgroup / "cpu,cpuacct"):
        for folder in groups(mount, own, "cpu"):
            quota, period = words_of(folder / "cpu.cfs_quota_us"), words_of(folder / "cpu.cfs_period_us")
            if quota and period and int(quota[0]) > 0:
                quotas.append(int(quota[0]) / int(period[0]))
    return min(quotas, default=None)


def groups(mount: Path, own: Path, controller: str) -> list[Path]:
    """The folder of this process's group under ``mount`` and those above it, up to the mount itself.

    In a container the path in ``/proc/self/cgroup`` may be the host's and not exist; the mount is then the group.
    """
    path = "/"
    for entry in words_of(own):
        _, controllers, name = entry.split(":", 2)
        if controller in controllers.split(","):
            path = name
    folder = mount / path.strip("/")
    above = [parent for parent in folder.parents if parent.is_relative_to(mount)]
    return list(dict.fromkeys([folder, *above, mount]))


def words_of(file: Path) -> list[str]:
    """The words in a file of the kernel's; none where there is no such file."""
    try:
        return file.read_text().split()
    except OSError:
        return []
