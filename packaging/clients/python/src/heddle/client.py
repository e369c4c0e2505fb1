"""The client: calls, reservations, events."""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future
from concurrent.futures import TimeoutError as TimeIsUp
from typing import TYPE_CHECKING, Any, Callable, Dict, List, Optional, Tuple

from ._methods import REPEATABLE, Methods
from ._retry import Retry
from ._secret import new_request_id, new_token
from ._wire import Connection, Lost, Wire
from .errors import Error, OutcomeUnknown, Refused, ReservationLost, Unreachable
from .events import Events
from .reservation import LOST, Reservation

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from .types import ReserveOptions

ATTEMPTS = 8
"""How often a call is sent whose connection is lost each time."""

PAUSE = 1.0
"""How long the keeper rests after it could not connect, in seconds."""

ANSWER = 60.0
"""How long an answer may take, in seconds; the time that a reserve waits comes on top."""

LONG = {"agent.capture": 900.0, "agent.ready": 900.0, "thread.clean": 900.0}
"""The same, for calls that do work in a worktree."""


class Client(Methods):
    """A connection to the user's daemon that comes back when it is lost. Threads may share it.

    `socket`: where the daemon listens; by default `$HEDDLE_SOCKET`, then the runtime directory, then the lock file.
    `patience`: how many seconds to go on trying to connect after a connection was lost. The first attempt is one.

    A call whose connection is lost is sent again where that is safe: reads, heartbeats, releases, and every reserve,
    for it carries a request id and a secret of its own. Any other raises `OutcomeUnknown`, and so does one of these
    that is not answered in the end.
    """

    def __init__(self, socket: Optional[str] = None, *, patience: float = 30.0) -> None:
        self._socket = socket
        self._patience = patience
        self._held: List[Reservation] = []
        self._is_closed = False
        self._connecting = threading.Lock()
        # Guards what is held; the keeper waits on it.
        self._changed = threading.Condition()
        self._keeper: Optional[threading.Thread] = None
        self._connection = self._connection_of(Retry(0).connect(socket))

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the connection. What is still held lives on until its hold ends it."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
        self._connection.close()

    def reserve(
        self,
        repo: str,
        thread: str,
        *,
        on_lost: Optional[Callable[[ReservationLost], None]] = None,
        **options: Unpack[ReserveOptions],
    ) -> Reservation:
        """Reserves a thread of a repository (an absolute path) and keeps it alive until it is released.

        `on_lost` is called, once and from a thread of the client, when the session is found to have ended.
        """
        params: Dict[str, Any] = {"repo": repo, "thread": thread, **options}
        params.update(request_id=new_request_id(), reservation_token=new_token())
        result, connection = self._call("agent.reserve", params)
        reservation = Reservation(self, result["reservation"], on_lost)
        with self._changed:
            self._held.append(reservation)
            if self._keeper is None:
                self._keeper = threading.Thread(target=self._keep, name="heddle-keeper", daemon=True)
                self._keeper.start()
            self._changed.notify_all()
        if reservation._is_held_by_connection and connection is not self._connection:
            # That one was lost before this was known to be held: whoever reconnected did not resume it.
            try:
                self.call("agent.resume", reservation.key())
            except Refused as refusal:
                if refusal.kind not in LOST:
                    raise
                reservation._lose(refusal)
        return reservation

    def subscribe(
        self,
        *,
        repo: Optional[str] = None,
        thread: Optional[str] = None,
        session_id: Optional[str] = None,
        after: Optional[int] = None,
    ) -> Events:
        """What happens from now on, or after a revision, in the whole registry or where the filters match."""
        return Events(self._socket, self._patience, {"repo": repo, "thread": thread, "session_id": session_id}, after)

    def call(self, method: str, params: Dict[str, Any]) -> Any:
        """Calls a method by its name on the wire."""
        return self._call(method, params)[0]

    def _call(self, method: str, params: Dict[str, Any]) -> Tuple[Any, Connection]:
        """The same, and the connection that the answer came on."""
        began = time.monotonic()
        wait_ms = params.get("wait_ms") or 0
        why = ""
        for _ in range(ATTEMPTS):
            try:
                connection = self._connected()
            except Error as error:
                if not why:
                    raise
                # It was sent before.
                raise OutcomeUnknown(method, str(error)) from error
            if wait_ms:
                # The time that was waited before counts; 0 would not wait at all.
                waited = int((time.monotonic() - began) * 1000)
                params = {**params, "wait_ms": max(1, wait_ms - waited)}
            try:
                future = connection.start(method, params)
                return future.result(LONG.get(method, ANSWER) + wait_ms / 1000), connection
            except TimeIsUp:
                why = "the time is up"
                if method == "agent.reserve":
                    future.add_done_callback(_GiveBack(connection, params.get("reservation_token")))
                break
            except Lost as lost:
                # Who writes may see it before who reads; the next attempt must not find it open.
                connection.close()
                why = str(lost)
            except Refused as refusal:
                if refusal.kind != "shutting_down" or not _is_repeatable(method, params):
                    raise
                # This daemon is going; another may come.
                connection.close()
                why = str(refusal)
            if not _is_repeatable(method, params):
                break
        raise OutcomeUnknown(method, why)

    def _connected(self) -> Connection:
        """A connection that stands, as far as is known."""
        with self._connecting:
            if self._is_closed:
                raise Unreachable("the client is closed")
            if not self._connection.is_open:
                self._connection = self._connection_of(Retry(self._patience).connect(self._socket))
                if self._is_closed:
                    self._connection.close()
            return self._connection

    def _connection_of(self, wire: Wire) -> Connection:
        """Takes over what the connection before held, before anything else is asked: there is a grace of 10 s."""
        try:
            for reservation in self._all_held():
                if reservation._is_held_by_connection:
                    self._resume(wire, reservation)
        except BaseException:
            wire.close()
            raise
        return Connection(wire, self._wake)

    def _resume(self, wire: Wire, reservation: Reservation) -> None:
        try:
            reservation._look_at(wire.ask("agent.resume", reservation.key()))
        except Lost as lost:
            raise Unreachable(f"the daemon did not resume a session ({lost})") from lost
        except Refused as refusal:
            if refusal.kind not in LOST:
                raise
            reservation._lose(refusal)

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def _all_held(self) -> List[Reservation]:
        with self._changed:
            return list(self._held)

    def _forget(self, reservation: Reservation) -> None:
        with self._changed:
            self._held = [held for held in self._held if held is not reservation]

    def _keep(self) -> None:
        """The keeper: sends heartbeats, and brings a connection back that something is held by."""
        while True:
            with self._changed:
                if self._is_closed:
                    return
                held = list(self._held)
                next_at = min((reservation._beat_at for reservation in held), default=float("inf"))
                is_missed = not self._connection.is_open and any(each._is_held_by_connection for each in held)
                if not is_missed and next_at > time.monotonic():
                    self._changed.wait(min(next_at - time.monotonic(), threading.TIMEOUT_MAX))
                    continue
            if is_missed:
                try:
                    self._connected()
                except Error:
                    with self._changed:
                        self._changed.wait(PAUSE)
                    continue
            for reservation in held:
                if reservation.is_held and reservation._beat_at <= time.monotonic():
                    reservation._beat()


class _GiveBack:
    """Ends the session of a grant that came after its caller had given up: nobody else knows of it."""

    def __init__(self, connection: Connection, token: Any) -> None:
        self._connection = connection
        self._token = token

    def __call__(self, late: Future[Any]) -> None:
        if late.exception() is not None or self._token is None:
            return
        session = late.result()["reservation"]["session_id"]
        key = {"session_id": session, "reservation_token": self._token, "status": "abandoned"}
        try:
            self._connection.start("agent.release", key)
        except Lost:
            pass


def _is_repeatable(method: str, params: Dict[str, Any]) -> bool:
    return method in REPEATABLE or (method == "agent.reserve" and params.get("request_id") is not None)
