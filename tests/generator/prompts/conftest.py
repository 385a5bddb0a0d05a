"""What the tests of prompts are handed."""

from tests.generator.llms.conftest import parts, smol  # noqa: F401 - fixtures
