"""Starts the suite and asks it where the only network is loopback; run inside a network namespace."""

import fcntl
import socket
import struct
import sys
from pathlib import Path

from tests.suite import Suite, put

SIOCSIFFLAGS = 0x8914
IFF_UP = 0x1


def main(folder: Path) -> None:
    """Raise loopback, start, put a document in, ask."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, SIOCSIFFLAGS, struct.pack("16sh", b"lo", IFF_UP))
    with Suite(folder) as suite, suite.client() as client:
        put(client, [{"id": "keeper", "text": "The keeper winds the clock at dusk."}])
        answer = client.post("/generate", json={"query": "When does the keeper wind the clock?"}).json()
        assert "dusk" in answer["answer"], answer
        assert answer["citations"], answer


if __name__ == "__main__":
    main(Path(sys.argv[1]))
