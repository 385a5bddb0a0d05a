"""The four services; they never import each other."""

import ragline  # noqa: F401 - before gRPC is imported; it says why
