"""The results of a stream for `async for`."""

import asyncio

from ._errors import CancelledError
from ._pyfcn import Stream, StreamResult


class AsyncResults:
    """Waits for a stream's results without a thread: the stream wakes the event loop."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream

    def __aiter__(self) -> "AsyncResults":
        return self

    async def __anext__(self) -> StreamResult:
        loop = asyncio.get_running_loop()
        ready = asyncio.Event()

        def wake() -> None:
            try:
                loop.call_soon_threadsafe(ready.set)
            except RuntimeError:
                pass  # The loop was closed while the stream went on.

        while True:
            ready.clear()
            # A result that comes between both calls wakes at once.
            waiting = self._stream._wake(wake)
            try:
                result = self._stream.poll()
            except CancelledError:
                raise StopAsyncIteration from None
            if result is not None:
                return result
            if waiting:
                await ready.wait()
