"""Summaries of texts and documents: cut by headings, written part by part, each sentence cited."""
