"""Hybrid search of other projects, for ``bench.retrieval``; each runs in an environment of its own."""
