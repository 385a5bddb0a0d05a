"""The REST door that every service shares: problems, request ids, deadlines, limits, readiness, event streams."""

from ragline.http.app import create_app
from ragline.http.bodies import StrictBody
from ragline.http.problems import Problem
from ragline.http.sse import EVENT_STREAM, sse

__all__ = ["EVENT_STREAM", "Problem", "StrictBody", "create_app", "sse"]
