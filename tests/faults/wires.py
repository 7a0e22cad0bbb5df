"""TCP wires between the parts of a region that can be cut, emptied and slowed.

Each wire is a listening port that hands bytes on to a target. `cut`: connections end and new ones are refused
service. `hole`: bytes vanish into a connection that stays open, as behind a dead switch. `slow`: every chunk
waits. What was swallowed by a hole is not given out afterwards: the connection ends when the wire heals, as
TCP's would after retransmission has failed.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from contextlib import suppress
from enum import StrEnum
from typing import Any

from scad.services import HOST, free_port

CHUNK_BYTES = 65_536
"""Bytes handed on at a time; with the pause of a slow wire it bounds its rate."""
CALL_SECONDS = 10.0


class WireState(StrEnum):
    """What a wire does with bytes."""

    WHOLE = "whole"
    CUT = "cut"
    HOLE = "hole"
    SLOW = "slow"


class Wire:
    """One listening port. Made and changed by `Wires`; runs in its thread."""

    def __init__(self, name: str, target_port: int, port: int) -> None:
        self.name = name
        self.port = port
        self.target_port = target_port
        self.state = WireState.WHOLE
        self.pause_s = 0.0
        self._open: set[asyncio.StreamWriter] = set()
        self._whole = asyncio.Event()
        self._whole.set()
        self._server: asyncio.Server | None = None

    @property
    def address(self) -> str:
        return f"{HOST}:{self.port}"

    async def listen(self) -> None:
        self._server = await asyncio.start_server(self._connected, HOST, self.port)

    async def change(self, state: WireState, pause_s: float) -> None:
        was, self.state, self.pause_s = self.state, state, pause_s
        if state is WireState.CUT or was is WireState.HOLE:
            self._end_all()
        if state is WireState.HOLE:
            self._whole.clear()
        else:
            self._whole.set()

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
        self._whole.set()
        self._end_all()

    def _end_all(self) -> None:
        for writer in list(self._open):
            writer.transport.abort()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        far: asyncio.StreamWriter | None = None
        try:
            await self._whole.wait()  # a hole does not even answer
            if self.state is WireState.CUT:
                return
            far_reader, far = await asyncio.open_connection(HOST, self.target_port)
            self._open.add(far)
            async with asyncio.TaskGroup() as ways:
                one, other = (
                    ways.create_task(self._hand_on(*way)) for way in ((reader, far), (far_reader, writer))
                )
                await asyncio.wait((one, other), return_when=asyncio.FIRST_COMPLETED)
                one.cancel()
                other.cancel()
        except OSError:
            return  # the target is down: the asker's connection ends
        finally:
            for end in (writer, far):
                if end is not None:
                    self._open.discard(end)
                    end.transport.abort()

    async def _hand_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while chunk := await reader.read(CHUNK_BYTES):
                if self.state is WireState.SLOW:
                    await asyncio.sleep(self.pause_s)
                if self.state is WireState.HOLE:
                    continue
                writer.write(chunk)
                await writer.drain()


class Wires:
    """All wires of a region, in a thread of their own. Callable from any thread."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="wires", daemon=True)
        self._thread.start()
        self._wires: dict[str, list[Wire]] = {}

    def add(self, name: str, target_port: int) -> Wire:
        """A new wire to a port of this machine, whether somebody listens there or not. Wires of one name change
        together: a client's ways to all brokers."""
        wire = Wire(name, target_port, free_port([wire.port for wire in self._all]))
        self._call(wire.listen())
        self._wires.setdefault(name, []).append(wire)
        return wire

    def set(self, name: str, state: WireState, pause_s: float = 0.0) -> None:
        for wire in self._wires[name]:
            self._call(wire.change(state, pause_s))

    @property
    def _all(self) -> list[Wire]:
        return [wire for wires in self._wires.values() for wire in wires]

    @property
    def names(self) -> list[str]:
        return list(self._wires)

    def close(self) -> None:
        for wire in self._all:
            self._call(wire.close())
        self._call(self._end_tasks())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(CALL_SECONDS)
        self._loop.close()

    async def _end_tasks(self) -> None:
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _call(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(CALL_SECONDS)
