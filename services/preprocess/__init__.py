"""preprocess: documents in, passages and vectors out."""
