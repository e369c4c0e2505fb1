"""A thread that is held."""

from __future__ import annotations

import threading
import time
from types import TracebackType
from typing import TYPE_CHECKING, Any, Callable, Dict, Optional, Type

from . import types as t
from ._methods import SessionMethods
from ._secret import Secret
from .errors import Error, Refused, ReservationLost

if TYPE_CHECKING:
    from .client import Client

LOST = frozenset(
    ["agent_session_inactive", "agent_session_not_found", "reservation_token_mismatch", "fencing_token_stale"]
)
"""The kinds of refusals that say that a session is not ours to write with any more."""


class Reservation(SessionMethods):
    """The exclusive right to write a thread, kept alive in the background until it is released.

    As a context manager it is released when the block ends: `complete`, or `abandoned` when it ended by an exception.
    Once it is lost, every use raises `ReservationLost`.
    """

    def __init__(
        self, client: Client, reservation: t.Reservation, on_lost: Optional[Callable[[ReservationLost], None]]
    ) -> None:
        self._client = client
        self._token = Secret(reservation["reservation_token"] or "")
        self._on_lost = on_lost
        self._lost: Optional[ReservationLost] = None
        self._is_released = False
        self._is_releasing = False
        self.record = reservation
        """The reservation as the daemon last told it."""
        self._beat_at = time.monotonic() + self._every

    def __repr__(self) -> str:
        state = "lost" if self._lost else "released" if self._is_released else "held"
        return f"<Reservation of '{self.thread}' by {self.session_id}, {state}>"

    @property
    def session_id(self) -> t.SessionId:
        """The session."""
        return self.record["session_id"]

    @property
    def thread(self) -> t.ThreadName:
        """The thread that is held."""
        return self.record["thread"]

    @property
    def path(self) -> Optional[str]:
        """The worktree to work in."""
        return self.record["path"]

    @property
    def fencing_token(self) -> t.FencingToken:
        """A public number, higher than that of every holder before: what checks it can refuse whoever came before."""
        return self.record["fencing_token"]

    @property
    def token(self) -> Secret:
        """The secret. It hides itself; `token.reveal()` shows it."""
        return self._token

    @property
    def is_held(self) -> bool:
        """Whether it is held as far as is known here. `validate()` asks the daemon."""
        return self._lost is None and not self._is_releasing

    def call(self, method: str, params: Dict[str, Any]) -> Any:
        """Calls a method with the session's id and secret and gives its result."""
        if self._lost:
            raise self._lost
        is_release = method == "agent.release"
        try:
            # From here on the end of the session is no loss.
            self._is_releasing = self._is_releasing or is_release
            answer = self._client.call(method, self.key(**params))
        except Refused as refusal:
            if refusal.kind in LOST and (is_release or not self._is_releasing):
                raise self._lose(refusal) from refusal
            raise
        finally:
            self._is_releasing = self._is_released or (self._is_releasing and not is_release)
        self._look_at(answer)
        if is_release:
            self._is_released = self._is_releasing = True
            self._client._forget(self)
        return answer

    def key(self, **params: Any) -> Dict[str, Any]:
        """Parameters of a call about this session."""
        return {"session_id": self.session_id, "reservation_token": self._token, **params}

    def __enter__(self) -> Reservation:
        return self

    def __exit__(
        self, kind: Optional[Type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        if self._is_released:
            return
        if kind is None:
            self.release(status="complete")
            return
        try:
            self.release(status="abandoned")
        except Error:
            # The error that ended the block is the one to tell; the session ends by itself.
            self._client._forget(self)

    # What follows is for the client, which keeps reservations alive.

    @property
    def _every(self) -> float:
        """The seconds between two heartbeats: three within the time to live."""
        heartbeat = self.record["hold"]["heartbeat"]
        return heartbeat["ttl_ms"] / 3000 if heartbeat else float("inf")

    @property
    def _is_held_by_connection(self) -> bool:
        return self.is_held and self.record["hold"]["connection"]

    def _look_at(self, answer: Any) -> None:
        told = answer.get("reservation") if isinstance(answer, dict) else None
        # agent.validate answers with null, or with a session that has ended.
        if told and told["status"] == "active":
            self.record = told
            self._beat_at = time.monotonic() + self._every

    def _beat(self) -> None:
        """One heartbeat, from the background."""
        try:
            self.heartbeat()
        except ReservationLost:
            pass
        except Error:
            # Unreachable, or too busy: while the daemon is away nobody else is granted the thread.
            self._beat_at = time.monotonic() + min(1.0, self._every)

    def _lose(self, refusal: Refused) -> ReservationLost:
        if self._lost is None:
            self._lost = ReservationLost(self.session_id, self.thread, refusal)
            self._client._forget(self)
            if self._on_lost:
                # It may call the client again, which may be in the middle of connecting.
                threading.Thread(target=self._on_lost, args=(self._lost,), name="heddle-lost", daemon=True).start()
        return self._lost
