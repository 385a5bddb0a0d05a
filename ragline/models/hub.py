"""Brings a model by its hub id, ``org/name`` or ``org/name@revision``, at one exact commit."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from ragline.models.files import File, sha256
from ragline.settings import SettingsError

# Weights only as safetensors: a pickle runs code when it is opened.
PATTERNS = ["*.json", "*.txt", "*.safetensors", "*.model"]
NAME = re.compile(r"([A-Za-z0-9][\w.-]{0,95})/([A-Za-z0-9][\w.-]{0,95})(?:@([\w][\w./-]{0,254}))?")

WAY_OUT = "download it where there is a network and give the folder's path instead of the id."


@dataclass(frozen=True)
class Repository:
    """A hub repository at a revision: a branch, a tag or a commit."""

    organisation: str
    name: str
    revision: str

    @property
    def id(self) -> str:
        """The hub's own id, without the revision."""
        return f"{self.organisation}/{self.name}"

    def __str__(self) -> str:
        return self.id if self.revision == "main" else f"{self.id}@{self.revision}"

    def folder(self, root: Path) -> Path:
        """Where its files are kept."""
        return root / "hub" / self.organisation / f"{self.name}@{quote(self.revision, safe='')}"


def parse(text: str) -> Repository | None:
    """The repository that a hub id names; None if it is no hub id."""
    match = NAME.fullmatch(text)
    return Repository(match[1], match[2], match[3] or "main") if match else None


def fetch(repository: Repository, staging: Path, endpoint: str | None, timeout_s: float) -> list[File]:
    """Download the repository's files into ``staging``; returns them with their hashes.

    ``endpoint`` replaces the hub's address; ``timeout_s`` bounds each wait for an answer. Raises
    SettingsError when the hub cannot be reached or has no such model with safetensors weights.
    """
    try:
        from huggingface_hub import errors  # noqa: PLC0415 - takes 0.3 s, seldom needed
    except ModuleNotFoundError as error:
        raise SettingsError(f"{repository} is a hub id, and {error.name} is not installed here.") from error
    # The library changes its HTTP client now and then, and lets its errors through; they share these ancestors.
    ancestors = errors.HfHubHTTPError.__mro__
    unreachable = tuple(kind for kind in ancestors if issubclass(kind, Exception) and kind is not Exception)
    failures: tuple[type[Exception], ...] = (*unreachable, ValueError)
    try:
        download(repository, staging, endpoint, timeout_s)
    except errors.GatedRepoError as error:
        raise SettingsError(f"{repository} is gated: accept its terms on the hub and set HF_TOKEN.") from error
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError, errors.HFValidationError) as error:
        raise SettingsError(f"the hub has no {repository}, or HF_TOKEN may not read it.") from error
    except errors.OfflineModeIsEnabled as error:
        what = f"{repository} is not here and HF_HUB_OFFLINE forbids to fetch it"
        raise SettingsError(f"{what}; {WAY_OUT}") from error
    except failures as error:
        raise SettingsError(f"{repository} cannot be had from the hub ({first_line(error)}); {WAY_OUT}") from error
    shutil.rmtree(staging / ".cache", ignore_errors=True)
    return listed(repository, staging)


def download(repository: Repository, staging: Path, endpoint: str | None, timeout_s: float) -> None:
    """Have the hub's own library fetch the files; its errors are let through."""
    from huggingface_hub import HfApi, snapshot_download  # noqa: PLC0415 - as above

    # The commit is settled first, so that all files are of one commit even while someone pushes.
    info = HfApi(endpoint=endpoint).model_info(repository.id, revision=repository.revision, timeout=timeout_s)
    snapshot_download(
        repository.id,
        revision=info.sha,
        local_dir=staging,
        allow_patterns=PATTERNS,
        etag_timeout=timeout_s,
        endpoint=endpoint,
    )


def listed(repository: Repository, staging: Path) -> list[File]:
    """The files that came, with their hashes; raises SettingsError if no weights are among them."""
    paths = sorted(path for path in staging.rglob("*") if path.is_file())
    if not any(path.suffix == ".safetensors" for path in paths):
        raise SettingsError(f"{repository} has no .safetensors weights, and other kinds are not loaded here.")
    return [File(path.relative_to(staging).as_posix(), path.stat().st_size, sha256(path)) for path in paths]


def first_line(error: BaseException) -> str:
    """The first line of what a library said."""
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
