"""retriever: the record of documents and passages, and hybrid search over them."""
