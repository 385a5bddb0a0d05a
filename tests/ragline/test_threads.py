import os
from pathlib import Path

import pytest

from ragline.threads import available


@pytest.fixture(autouse=True)
def sixteen_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)))


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def group(tmp_path: Path, text: str) -> Path:
    own = tmp_path / "self"
    own.write_text(text)
    return own


def test_without_a_cgroup_affinity_counts(tmp_path: Path) -> None:
    assert available(tmp_path / "none", tmp_path / "nothing") == 16


@pytest.mark.parametrize(
    ("limit", "cores"), [("max 100000", 16), ("400000 100000", 4), ("250000 100000", 2), ("50000 100000", 1)]
)
def test_version_2_in_a_container(tmp_path: Path, limit: str, cores: int) -> None:
    write(tmp_path / "cpu.max", limit + "\n")
    assert available(tmp_path, group(tmp_path, "0::/\n")) == cores


def test_version_2_takes_the_tightest_group_on_the_way_up(tmp_path: Path) -> None:
    root = tmp_path / "cgroup"
    write(root / "a" / "b" / "cpu.max", "max 100000")
    write(root / "a" / "cpu.max", "300000 100000")
    assert available(root, group(tmp_path, "0::/a/b\n")) == 3


def test_version_2_where_the_path_is_the_hosts(tmp_path: Path) -> None:
    root = tmp_path / "cgroup"
    write(root / "cpu.max", "200000 100000")
    assert available(root, group(tmp_path, "0::/kubepods/pod1/c2\n")) == 2


@pytest.mark.parametrize("mount", ["cpu", "cpu,cpuacct"])
@pytest.mark.parametrize(("quota", "cores"), [("-1", 16), ("350000", 3), ("1000", 1)])
def test_version_1(tmp_path: Path, mount: str, quota: str, cores: int) -> None:
    root = tmp_path / "cgroup"
    write(root / mount / "docker" / "x" / "cpu.cfs_quota_us", quota + "\n")
    write(root / mount / "docker" / "x" / "cpu.cfs_period_us", "100000\n")
    own = group(tmp_path, "5:memory:/docker/x\n4:cpu,cpuacct:/docker/x\n0::/\n")
    assert available(root, own) == cores


def test_the_real_machine_has_one_at_least() -> None:
    assert available() >= 1
