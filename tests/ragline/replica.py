"""One replica as a process of its own: answers with its name, so that a test sees who was asked."""

import asyncio
import signal
import sys
from typing import Any

from tests.ragline.rpc import server


async def main(address: str, name: str, connection_age_s: float) -> None:
    async def act(query: str, context: Any) -> str:
        return name

    replica = server(act, address=address, connection_age_s=connection_age_s)
    await replica.start()
    await replica.set_serving(True)
    ending = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ending.set)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    await ending.wait()
    await replica.stop()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], float(sys.argv[3])))
