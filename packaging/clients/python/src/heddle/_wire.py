"""Lines out, lines in: one connection to the daemon."""

from __future__ import annotations

import json
import socket
import threading
from concurrent.futures import Future
from typing import Any, Callable, Dict, Optional

from . import _endpoint
from ._secret import hide
from .errors import Refused
from .refusals import REFUSALS
from .types import PROTOCOL, VERSION


class Lost(Exception):
    """The connection has ended."""


def _outcome(message: Dict[str, Any]) -> Any:
    """The result of a call; raises what it was refused with."""
    error = message.get("error")
    if error is None:
        return hide(message.get("result"))
    raise REFUSALS.get(error["data"]["kind"], Refused)(error["code"], error["data"])


class Wire:
    """A connection whose lines are read by one reader in turn."""

    def __init__(self, path: Optional[str]) -> None:
        self._stream = _endpoint.connect(path)
        self._lines = self._stream.makefile("rb")
        self._writing = threading.Lock()
        self._last = 0
        try:
            self.ask("daemon.hello", {"protocol": list(PROTOCOL), "client": f"heddle-python/{VERSION}"})
        except BaseException:
            self.close()
            raise

    def settle(self) -> None:
        """From here on nothing is late: the next message comes when there is one."""
        self._stream.settimeout(None)

    def next_id(self) -> int:
        """An id that no other call of this connection has."""
        with self._writing:
            self._last += 1
            return self._last

    def send(self, call: int, method: str, params: Dict[str, Any]) -> None:
        """Sends a call. None is left out: it says nothing that leaving it out does not say."""
        given = {name: value for name, value in params.items() if value is not None}
        line = json.dumps({"jsonrpc": "2.0", "id": call, "method": method, "params": given}) + "\n"
        try:
            with self._writing:
                self._stream.sendall(line.encode())
        except OSError as cause:
            raise Lost(str(cause)) from cause

    def receive(self) -> Dict[str, Any]:
        """The next message."""
        try:
            line = self._lines.readline()
            if not line.endswith(b"\n"):
                raise Lost("the daemon closed the connection")
            message: Dict[str, Any] = json.loads(line)
        except (OSError, ValueError) as cause:
            raise Lost(str(cause)) from cause
        return message

    def ask(self, method: str, params: Dict[str, Any]) -> Any:
        """Calls and waits for the answer; only for who reads this connection alone."""
        call = self.next_id()
        self.send(call, method, params)
        while True:
            message = self.receive()
            # `id: null` answers what could not be read as a call.
            if "method" not in message and message.get("id") in (call, None):
                return _outcome(message)

    def close(self) -> None:
        """Ends the connection, and whoever reads from it."""
        try:
            self._stream.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self._stream.close()


class Connection:
    """A connection for many callers at once: a thread reads it and hands each answer to its caller."""

    def __init__(self, wire: Wire, when_lost: Callable[[], None]) -> None:
        self._wire = wire
        self._when_lost = when_lost
        self._waiting: Dict[int, Future[Any]] = {}
        self._lock = threading.Lock()
        self._is_open = True
        wire.settle()
        threading.Thread(target=self._read, name="heddle-reader", daemon=True).start()

    @property
    def is_open(self) -> bool:
        """Whether the connection still stands, as far as is known."""
        return self._is_open

    def start(self, method: str, params: Dict[str, Any]) -> Future[Any]:
        """Sends a call; its future has the result, the refusal, or `Lost`."""
        future: Future[Any] = Future()
        call = self._wire.next_id()
        with self._lock:
            if not self._is_open:
                raise Lost("the connection has ended")
            self._waiting[call] = future
        self._wire.send(call, method, params)
        return future

    def close(self) -> None:
        """Ends the connection; who waits on it is told that it is lost."""
        self._is_open = False
        self._wire.close()

    def _read(self) -> None:
        why = Lost("the connection has ended")
        try:
            while True:
                message = self._wire.receive()
                future = self._waiting.pop(message.get("id") or 0, None)
                if future is None:
                    continue
                try:
                    future.set_result(_outcome(message))
                except Refused as refusal:
                    future.set_exception(refusal)
        except Lost as lost:
            why = lost
        finally:
            with self._lock:
                self._is_open = False
                waiting = list(self._waiting.values())
                self._waiting.clear()
            self._wire.close()
            for future in waiting:
                future.set_exception(why)
            self._when_lost()
