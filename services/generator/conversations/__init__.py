"""Conversations: what was said before, follow-ups that stand alone, sessions and their routes."""
