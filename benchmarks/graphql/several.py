"""A peer in several processes: the same module so many times, started together and ended together.

python -m benchmarks.graphql.several 2 benchmarks.graphql.limit PORT CONNECTIONS
"""

import asyncio
import signal
import sys


async def main(count: int, arguments: list[str]) -> None:
    """Until told to end."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    children = [await asyncio.create_subprocess_exec(sys.executable, "-m", *arguments) for _ in range(count)]
    try:
        stopping = asyncio.create_task(stop.wait())
        ending = [asyncio.create_task(child.wait()) for child in children]
        await asyncio.wait([stopping, *ending], return_when=asyncio.FIRST_COMPLETED)
    finally:
        for child in children:
            if child.returncode is None:
                child.terminate()
        await asyncio.gather(*(child.wait() for child in children))


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), sys.argv[2:]))
