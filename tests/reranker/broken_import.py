"""A module that cannot be imported."""

raise RuntimeError("this build is for another machine")
