"""The four services, each as a process of its own, as they run where one is scaled without the others."""

from __future__ import annotations

import os
from pathlib import Path

import httpx

from tests.stack.process import ServiceProcess
from tests.suite import SERVICES, addresses, free_ports


class Apart:
    """Four processes on free ports with their data in ``folder``; a context manager that ends them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        ports = free_ports(2 * len(SERVICES))
        rest = dict(zip(SERVICES, ports[: len(SERVICES)], strict=True))
        grpc = dict(zip(SERVICES, ports[len(SERVICES) :], strict=True))
        environment = {
            **os.environ,
            "RAGLINE_DATA_DIR": str(folder / "data"),
            **{f"{name}_PORT": str(port) for name, port in rest.items()},
            **{f"{name}_GRPC_PORT": str(port) for name, port in grpc.items()},
            **addresses(grpc),
        }
        self.processes = {
            name.lower(): ServiceProcess(name.lower(), name.lower(), folder, port, environment)
            for name, port in rest.items()
        }

    def __enter__(self) -> Apart:
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            for process in self.processes.values():
                process.start()
            for process in self.processes.values():
                process.wait_for(200)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.processes.values():
            process.kill()

    def client(self, name: str) -> httpx.Client:
        """An HTTP client of one service."""
        return httpx.Client(base_url=self.processes[name].url, timeout=60)
