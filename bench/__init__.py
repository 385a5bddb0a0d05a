"""Load measurements anyone can repeat: `make bench`. Every figure is a ratio to a limit taken in the same run."""
