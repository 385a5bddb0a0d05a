"""The kit that every Ragline service stands on, and the command line."""

__version__ = "0.1.0"
