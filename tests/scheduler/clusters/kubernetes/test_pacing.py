import asyncio
import heapq
from collections.abc import Awaitable
from itertools import count

import pytest

from scheduler.clusters.kubernetes.pacing import PAUSE_SECONDS_MAX, WINDOW_SECONDS, Pace


class Hours:
    """A clock that jumps to the next moment somebody waits for, once nobody has anything left to do."""

    def __init__(self) -> None:
        self.now = 100.0
        self._waiting: list[tuple[float, int, asyncio.Future[None]]] = []
        self._numbers = count()

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (self.now + seconds, next(self._numbers), woken))
        await woken

    async def run(self, work: Awaitable[object]) -> None:
        task = asyncio.ensure_future(work)
        while not task.done():
            for _ in range(20):
                await asyncio.sleep(0)
            if self._waiting and not task.done():
                self.now, _, woken = heapq.heappop(self._waiting)
                if not woken.cancelled():
                    woken.set_result(None)
        await task


def pace_of(hours: Hours, requests_per_second: int, in_flight_max: int = 1_000) -> Pace:
    return Pace(requests_per_second, in_flight_max=in_flight_max, clock=hours, sleep=hours.sleep)


def most_in_a_second(arrivals: list[float]) -> int:
    arrivals = sorted(arrivals)
    return max(sum(start <= at < start + WINDOW_SECONDS for at in arrivals) for start in arrivals)


class TestPace:
    @pytest.mark.parametrize("latency", [0.0, 0.01, 0.3, 2.5])
    @pytest.mark.parametrize("arrives", ["at once", "with its answer", "either way"])
    async def test_no_second_of_the_server_holds_more_however_requests_travel(
        self, latency: float, arrives: str
    ) -> None:
        hours = Hours()
        pace = pace_of(hours, 7)
        arrivals: list[float] = []

        async def request(number: int) -> None:
            async with pace.place():
                late = arrives == "with its answer" or (arrives == "either way" and number % 3 == 0)
                if not late:
                    arrivals.append(hours.now)
                await hours.sleep(latency)
                if late:
                    arrivals.append(hours.now)

        await hours.run(asyncio.gather(*(request(number) for number in range(50))))
        assert len(arrivals) == 50
        most = most_in_a_second(arrivals)
        assert most == 7 or (arrives == "either way" and 1 <= most < 7)
        # Seven at a time, each of them a latency and a second apart, or nearly.
        assert hours.now - 100.0 == pytest.approx(7 * (WINDOW_SECONDS + latency) + latency)

    async def test_what_was_long_ago_does_not_count(self) -> None:
        hours = Hours()
        pace = pace_of(hours, 2)
        starts: list[float] = []

        async def requests() -> None:
            for pause in (0.0, 0.0, 5.0, 0.0, 0.0):
                await hours.sleep(pause)
                async with pace.place():
                    starts.append(hours.now - 100)

        await hours.run(requests())
        assert starts == [0, 0, 5, 5, 6]

    async def test_never_more_in_flight_than_allowed(self) -> None:
        hours = Hours()
        pace = pace_of(hours, 100, in_flight_max=3)
        in_flight: list[int] = []
        now_in_flight = 0

        async def request() -> None:
            nonlocal now_in_flight
            async with pace.place():
                now_in_flight += 1
                in_flight.append(now_in_flight)
                await hours.sleep(0.1)
                now_in_flight -= 1

        await hours.run(asyncio.gather(*(request() for _ in range(10))))
        assert max(in_flight) == 3
        assert len(in_flight) == 10

    async def test_in_the_order_of_asking(self) -> None:
        hours = Hours()
        pace = pace_of(hours, 1)
        order: list[int] = []

        async def request(number: int) -> None:
            async with pace.place():
                order.append(number)

        await hours.run(asyncio.gather(*(request(number) for number in range(5))))
        assert order == [0, 1, 2, 3, 4]

    async def test_a_failed_or_cancelled_request_takes_its_place_and_gives_it_back(self) -> None:
        hours = Hours()
        pace = pace_of(hours, 1)

        async def requests() -> None:
            with pytest.raises(OSError, match="broken"):
                async with pace.place():
                    raise OSError("broken")
            waiting = asyncio.create_task(pace.place().__aenter__())
            await asyncio.sleep(0)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            async with pace.place():
                assert hours.now == 101.0

        await hours.run(requests())


class TestSharing:
    @pytest.mark.parametrize(("whole", "sharers"), [(7, 2), (6, 3), (1, 2), (2, 5)])
    async def test_all_together_never_send_more_than_the_whole(self, whole: int, sharers: int) -> None:
        hours = Hours()
        paces = [
            Pace(whole, in_flight_max=1_000, clock=hours, sleep=hours.sleep, sharers=lambda: sharers)
            for _ in range(sharers)
        ]
        arrivals: list[float] = []

        async def request(pace: Pace) -> None:
            async with pace.place():
                arrivals.append(hours.now)
                await hours.sleep(0.01)

        await hours.run(asyncio.gather(*(request(pace) for pace in paces for _ in range(10))))
        assert len(arrivals) == 10 * sharers
        seconds = max(1.0, sharers / whole)
        most = max(sum(start <= at < start + seconds for at in arrivals) for start in arrivals)
        assert most <= max(whole, sharers)
        assert most == max(whole // sharers, 1) * sharers

    async def test_nothing_is_sent_while_nobody_knows_how_many_there_are(self) -> None:
        hours = Hours()
        pace = Pace(
            5, in_flight_max=5, clock=hours, sleep=hours.sleep, sharers=lambda: None if hours.now < 103.0 else 2
        )
        starts: list[float] = []

        async def request() -> None:
            async with pace.place():
                starts.append(hours.now)

        await hours.run(asyncio.gather(*(request() for _ in range(4))))
        assert starts == pytest.approx([103.0, 103.0, 104.0, 104.0], abs=0.051)


class TestPause:
    @pytest.mark.parametrize(("asked", "granted"), [(3.0, 3.0), (0.0, 0.0), (-5.0, 0.0), (86_400.0, PAUSE_SECONDS_MAX)])
    async def test_everybody_stays_away_as_long_as_asked_within_reason(self, asked: float, granted: float) -> None:
        hours = Hours()
        pace = pace_of(hours, 5)
        starts: list[float] = []

        async def request() -> None:
            async with pace.place():
                starts.append(hours.now - 100)

        assert pace.pause(asked) == granted
        pace.pause(0.0)  # a shorter one does not cut a longer one short
        await hours.run(asyncio.gather(request(), request()))
        assert starts == [granted, granted]
