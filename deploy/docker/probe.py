"""Health check of the images: exits 0 where /readyz, or the path that is given, answers 200.

Needs no package and imports little, since it is started every few seconds: `python -IS probe.py [PATH]`.
"""

import os
import socket
import sys

DEFAULT_PORTS = {"preprocess": 8001, "retriever": 8002, "reranker": 8003, "generator": 8004}
TIMEOUT_S = 5.5  # a check of /readyz gives up after 5


def main() -> int:
    """Ask once; the status and the body go to where Docker shows them."""
    service = os.environ["SERVICE"]
    port = int(os.environ.get(f"{service.upper()}_PORT") or DEFAULT_PORTS[service])
    path = sys.argv[1] if len(sys.argv) > 1 else "/readyz"
    try:
        answer = get(port, path)
    except OSError as error:
        sys.stdout.write(f"127.0.0.1:{port}{path}: {error}\n")
        return 1
    head, _, body = answer.partition("\r\n\r\n")
    status = head.partition("\r\n")[0]
    sys.stdout.write(f"{status}: {body}\n")
    return 0 if status.split(" ")[1:2] == ["200"] else 1


def get(port: int, path: str) -> str:
    """The whole answer. By address: `localhost` may mean ::1, where nothing listens."""
    with socket.create_connection(("127.0.0.1", port), TIMEOUT_S) as stream:
        stream.sendall(f"GET {path} HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n".encode())
        answer = b""
        while part := stream.recv(65536):
            answer += part
    return answer.decode(errors="replace")


if __name__ == "__main__":
    sys.exit(main())
