"""Checks of what an answer says: evidence, support for each claim, citations, and when not to answer."""
