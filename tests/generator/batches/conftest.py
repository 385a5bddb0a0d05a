"""What the tests of batches are handed."""

import uuid
from pathlib import Path

import pytest

from services.generator.batches.storage import Storage


@pytest.fixture(params=["folder", "objects"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    """A folder, and a storage of objects that do not grow and cannot be linked."""
    url = f"file://{tmp_path}/batches" if request.param == "folder" else f"memory://{uuid.uuid4().hex}"
    return Storage(url, "GENERATOR_BATCH_URL")
