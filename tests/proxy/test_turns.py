from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from smtpguard.proxy.turns import Turns


class Scene:
    """Turns, who has one, and who had one."""

    def __init__(self, count: int) -> None:
        self.turns = Turns(count)
        self.order: list[str] = []
        self.ends: dict[str, asyncio.Event] = {}

    async def use(self, name: str) -> None:
        """Use a turn of the network that a name begins with, until told to end."""
        self.ends[name] = asyncio.Event()
        async with self.turns.turn(name[0]):
            self.order.append(name)
            await self.ends[name].wait()

    async def begin(self, *names: str) -> list[asyncio.Task[None]]:
        tasks = []
        for name in names:
            tasks.append(asyncio.create_task(self.use(name)))
            await asyncio.sleep(0)
        return tasks

    async def end(self, *names: str) -> None:
        for name in names:
            self.ends[name].set()
            for _ in range(5):
                await asyncio.sleep(0)


def run(scene: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(scene, 10))


def test_so_many_at_a_time_and_the_next_when_one_ends() -> None:
    async def scene() -> None:
        here = Scene(2)
        tasks = await here.begin("a1", "a2", "a3")
        assert here.order == ["a1", "a2"]
        await here.end("a2")
        assert here.order == ["a1", "a2", "a3"]
        await here.end("a1", "a3")
        await asyncio.gather(*tasks)
        tasks = await here.begin("b1", "b2", "b3")
        assert here.order[3:] == ["b1", "b2"]
        await here.end("b1", "b2", "b3")
        await asyncio.gather(*tasks)

    run(scene())


def test_networks_have_turns_in_rotation() -> None:
    """Thirty of one network are before nobody of another but by one."""

    async def scene() -> None:
        here = Scene(1)
        many = [f"a{number}" for number in range(30)]
        tasks = await here.begin(*many, "b1", "c1", "b2")
        for _ in range(33):
            await here.end(here.order[-1])
        await asyncio.gather(*tasks)
        assert here.order[:6] == ["a0", "a1", "b1", "c1", "a2", "b2"]
        assert here.order[6:] == many[3:]

    run(scene())


def test_who_gives_up_leaves_its_turn_to_others() -> None:
    async def scene() -> None:
        here = Scene(1)
        first, second, third = await here.begin("a1", "b1", "c1")
        second.cancel()
        await here.end("a1")
        assert here.order == ["a1", "c1"]
        await here.end("c1")
        await asyncio.gather(first, third)
        # Told to go on and to give up in the same moment.
        _, late, last = await here.begin("a2", "b2", "c2")
        here.ends["a2"].set()
        await asyncio.sleep(0)
        late.cancel()
        for _ in range(10):
            await asyncio.sleep(0)
        assert here.order[-1] == "c2"
        await here.end("c2")
        await last
        await asyncio.gather(*await here.begin("d1"), here.end("d1"))
        assert here.order[-1] == "d1"

    run(scene())


def test_a_fault_in_a_turn_ends_it() -> None:
    async def scene() -> None:
        turns = Turns(1)
        for _ in range(3):
            with pytest.raises(ZeroDivisionError):
                async with turns.turn("a"):
                    1 // 0  # noqa: B018

    run(scene())
