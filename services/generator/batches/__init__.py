"""Batches: many requests in one file, answered by workers, their results kept as files until they are fetched."""
