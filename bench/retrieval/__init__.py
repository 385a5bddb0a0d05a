"""Search at size, side by side in one run: the service, the engines bare, and peers' hybrid search."""
