"""The keeper's end of `inside.py`: start it, give it orders, learn what ended."""

import asyncio
import itertools
import json
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.cluster.unavailable import ClusterUnavailable

INSIDE = Path(__file__).resolve().with_name("inside.py")
_NAMESPACES = ("unshare", "--net", "--pid", "--mount", "--ipc", "--fork", "--kill-child", "--propagation=private", "--")
_ORDER_SECONDS_MAX = 120
_END_SECONDS_MAX = 60


class Supervised:
    """The processes of one cluster. They all end when this object's process does, however it ends."""

    def __init__(self, state: Path, *, control_group: str | None) -> None:
        """In namespaces of their own, and under that control group; None: as plain processes."""
        self._state = state
        self._control_group = control_group
        self._process: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None
        self._numbers = itertools.count(1)
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._started: dict[str, asyncio.Event] = {}
        self._known: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.codes: dict[str, int] = {}
        self.pid = 0

    @property
    def network(self) -> int | None:
        """The process whose network the cluster lives in; None: it lives in ours."""
        return self.pid if self._control_group else None

    async def open(self) -> None:
        """Start the supervisor, in namespaces of its own where that was asked for."""
        command = [*_NAMESPACES] if self._control_group else []
        last = [self._control_group] if self._control_group else []
        with (self._state / "inside.log").open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *command,
                sys.executable,
                "-I",
                "-S",
                str(INSIDE),
                *last,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
            )
        self._reading = asyncio.create_task(self._read())
        self.pid = await self._known

    async def close(self) -> None:
        """End everything at once; nothing in a cluster of tests is worth a farewell."""
        if self._process is None:
            return
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            await asyncio.wait_for(self._process.wait(), _END_SECONDS_MAX)
        except TimeoutError:
            self._process.kill()
            await self._process.wait()
        if self._reading is not None:
            await self._reading

    async def start(self, name: str, argv: Sequence[str], environment: dict[str, str]) -> None:
        """Start what goes on until it is signalled."""
        self.codes.pop(name, None)
        self._started[name] = asyncio.Event()
        log = str(self._state / f"{name}.log")
        await self._order("start", name=name, argv=list(argv), log=log, environment=environment)

    async def run(self, name: str, argv: Sequence[str]) -> str:
        """Run what ends soon; what fails says so with its last line."""
        answer = await self._order("run", argv=list(argv), log=str(self._state / f"{name}.log"))
        if answer["code"] != 0:
            last = (answer["said"].strip().splitlines() or ["no word"])[-1]
            raise ClusterUnavailable(f"{name} failed: {last}")
        return str(answer["said"])

    async def signal(self, name: str, number: signal.Signals) -> None:
        """Signal what was started under that name."""
        await self._order("signal", name=name, signal=int(number))

    async def kill(self, name: str) -> None:
        """Kill it and wait until it is gone."""
        await self.signal(name, signal.SIGKILL)
        if name in self._started:
            await asyncio.wait_for(self._started[name].wait(), _ORDER_SECONDS_MAX)

    async def _order(self, do: str, **rest: Any) -> dict[str, Any]:
        assert self._process is not None
        assert self._process.stdin is not None
        number = next(self._numbers)
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        self._process.stdin.write(json.dumps({"id": number, "do": do, **rest}).encode() + b"\n")
        async with asyncio.timeout(_ORDER_SECONDS_MAX):
            await self._process.stdin.drain()
            result: dict[str, Any] = await answer
        if "error" in result:
            raise ClusterUnavailable(f"{do} failed inside the cluster: {result['error']}")
        return result

    async def _read(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        while line := await self._process.stdout.readline():
            message = json.loads(line)
            if "pid" in message:
                self._known.set_result(message["pid"])
            elif "ended" in message:
                self.codes[message["ended"]] = message["code"]
                self._started[message["ended"]].set()
            elif not (waiting := self._answers.pop(message["id"])).done():
                waiting.set_result(message)
        log = (self._state / "inside.log").read_text(encoding="utf-8", errors="replace").strip()
        last = ClusterUnavailable(f"the cluster's namespaces ended: {(log.splitlines() or ['no word'])[-1]}")
        futures: list[asyncio.Future[Any]] = [self._known, *self._answers.values()]
        for unanswered in futures:
            if not unanswered.done():
                unanswered.set_exception(last)
                unanswered.exception()  # nobody need be waiting
