"""What happens, as it happens."""

from __future__ import annotations

from typing import Any, Dict, Iterator, Optional, cast

from ._retry import Retry
from ._wire import Lost, Wire
from .refusals import ShuttingDown
from .types import Lagged, Operation


class Events(Iterator[Operation]):
    """The events after a revision, each once and in order, over lost connections and restarts of the daemon.

    It has a connection of its own, so one that is read slowly keeps nobody waiting: the daemon ends its subscription
    and it goes on where it was. An error does not end it either: `next` tries again.
    """

    def __init__(self, path: Optional[str], patience: float, filters: Dict[str, Any], after: Optional[int]) -> None:
        self._path = path
        self._patience = patience
        self._filters = filters
        self._wire: Optional[Wire] = None
        self._subscription: Any = None
        self._is_closed = False
        self.after = after if after is not None else -1
        """The revision of the last event that was given: where another subscription would go on."""
        # At once, so that nothing is missed that happens from here on.
        retry = Retry(patience)
        while self._wire is None:
            self._subscribe(retry)

    def __next__(self) -> Operation:
        retry = Retry(self._patience)
        while not self._is_closed:
            wire = self._wire
            if wire is None:
                self._subscribe(retry)
                continue
            try:
                message = wire.receive()
            except Lost:
                self._drop()
                retry = Retry(self._patience)
                continue
            if message.get("method") != "events.event":
                continue
            event = message["params"]["result"]
            if event["kind"] == "lagged":
                # The subscription has ended, and nothing is lost.
                self.after = cast(Lagged, event)["detail"]["resume_after"]
                self._drop()
            elif event["revision"] > self.after:
                self.after = event["revision"]
                return cast(Operation, event)
        self._drop()
        raise StopIteration

    def close(self) -> None:
        """Ends it, also while another thread waits for the next event."""
        self._is_closed = True
        self._drop()

    def __enter__(self) -> Events:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _drop(self) -> None:
        wire, self._wire = self._wire, None
        if wire:
            wire.close()

    def _subscribe(self, retry: Retry) -> None:
        wire = retry.connect(self._path)
        try:
            if self.after < 0:
                self.after = wire.ask("daemon.info", {})["revision"]
            wire.ask("events.subscribe", {**self._filters, "after": self.after})
            wire.settle()
            self._wire = wire
        except (Lost, ShuttingDown):
            wire.close()
        except BaseException:
            wire.close()
            raise
