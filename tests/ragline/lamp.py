"""A whole service in a file, for the tests of how services start, serve and stop."""

import asyncio
from typing import Any

from fastapi import APIRouter
from pydantic import Field
from pydantic_settings import SettingsConfigDict

from ragline import service, settings
from ragline.errors import Unavailable
from ragline.v1.reranker_pb2_grpc import add_RerankerServicer_to_server
from tests.ragline import rpc


class Settings(settings.Settings):
    model_config = SettingsConfigDict(env_prefix="LAMP_")

    host: str = "127.0.0.1"
    port: int = 0
    grpc_port: int = 0
    fault: str = Field("", description="what fails: build, start or stop")


class Lamp:
    """Notes what happens to it, and can be slow or fail."""

    def __init__(self, name: str = "lamp") -> None:
        self.name = name
        self.seen: list[str] = []
        self.lit = True
        self.started, self.arrived, self.go = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self.fault = ""

    def service(self) -> service.Service:
        router = APIRouter()

        @router.get(f"/{self.name}/slow")
        async def slow() -> str:
            return await self.slow("rest", None)

        def add(to: Any) -> Any:
            add_RerankerServicer_to_server(rpc.Reranker(self.slow), to)
            return [rpc.NAMES[0]]

        return service.Service(self.name, router, add, {"oil": self.oil}, self.start, self.stop)

    async def slow(self, query: str, context: Any) -> str:
        self.arrived.set()
        await self.go.wait()
        self.seen.append(f"served {query}")
        return query

    async def oil(self) -> None:
        if not self.lit:
            raise Unavailable("There is no oil.")

    async def start(self) -> None:
        self.seen.append("start")
        self.started.set()
        if self.fault == "start":
            raise RuntimeError("no match")

    async def stop(self) -> None:
        self.seen.append("stop")


async def build(loaded: Settings) -> service.Service:
    if loaded.fault == "build":
        raise settings.SettingsError("The wick is missing; buy one.")
    lamp = Lamp()
    lamp.fault = loaded.fault
    return lamp.service()


def main() -> None:
    service.run(build, Settings)


if __name__ == "__main__":
    main()
