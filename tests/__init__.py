"""Tests; each folder mirrors the source it is about."""

import ragline  # noqa: F401 - before gRPC is imported; it says why
