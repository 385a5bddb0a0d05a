"""The kit that every Ragline service stands on, and the command line."""

import os

__version__ = "0.1.0"

# gRPC reads this as it is imported, so this stands before any import of it. Its handlers for forks would end some
# of the children that a busy process starts before these have become the program that they are to be.
os.putenv("GRPC_ENABLE_FORK_SUPPORT", "0")
