"""Measures reranking: kept token vectors and cross-encoders beside PyTorch, and the whole call."""
