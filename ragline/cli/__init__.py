"""The command line ``ragline``: each command is a file; errors are one sentence."""
