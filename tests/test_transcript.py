from pathlib import Path

import pytest

from tests import transcript
from tests.suite import Suite


@pytest.mark.models
@pytest.mark.stack
def test_the_transcripts_are_what_a_run_prints(tmp_path: Path, minilm: Path, smollm2: Path) -> None:
    readme = transcript.README.read_text()
    with Suite(tmp_path) as suite:
        fresh = transcript.insert(readme, transcript.record(suite))
    assert transcript.masked(readme) == transcript.masked(fresh), "run `python -m tests.transcript`"
