"""Children that a process starts while its gRPC is busy."""

import subprocess
import sys

CHILDREN = 100
BUSY = f"""
import asyncio, services, grpc, uvloop
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

async def ask(port, done):
    while not done.is_set():
        async with grpc.aio.insecure_channel(f"dns:///localhost:{{port}}") as channel:
            await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=30)

async def main():
    server = grpc.aio.server()
    health_pb2_grpc.add_HealthServicer_to_server(health.aio.HealthServicer(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    done = asyncio.Event()
    asking = [asyncio.create_task(ask(port, done)) for _ in range(4)]
    ended = []
    for _ in range({CHILDREN}):
        child = await asyncio.create_subprocess_exec("true")
        ended.append(await child.wait())
    done.set()
    await asyncio.gather(*asking)
    await server.stop(0)
    print(ended.count(0))

uvloop.run(main())
"""


def test_no_child_is_ended_by_handlers_of_grpc() -> None:
    made = subprocess.run([sys.executable, "-c", BUSY], capture_output=True, text=True, check=True, timeout=120)
    assert int(made.stdout) == CHILDREN
    assert "fork" not in made.stderr
