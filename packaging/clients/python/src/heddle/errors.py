"""What can go wrong. `heddle.refusals` has a class for each kind of refusal, with its details typed."""

from __future__ import annotations

from typing import Any, Dict, List, Optional

from .types import EndReason, ErrorData, Kind, SessionStatus


class Error(Exception):
    """The base of all errors of this package."""


class Refused(Error):
    """The daemon answered no. The text says what is wrong and which command gets you out.

    A kind that this package does not know yet, from a newer daemon, comes as this class itself.
    """

    kind: Kind
    """The stable name."""
    details: Any
    """The facts, typed by kind in the subclasses."""

    def __init__(self, code: int, data: ErrorData) -> None:
        command = data.get("primary_command")
        super().__init__(f"{data['kind']}: {data['error']}" + (f"; next: {command}" if command else ""))
        self.code = code
        self.data = data
        self.kind = data["kind"]
        self.details = data["details"]
        self.hint: str = data["hint"]
        self.primary_command: Optional[str] = command
        self.recovery_commands: List[str] = data["recovery_commands"]
        self.retryable: bool = data["retryable"]
        self.retry_after_ms: Optional[int] = data.get("retry_after_ms")


class Unreachable(Error):
    """There is no daemon to ask, and nothing was changed: none listens, or it does not say hello."""


class Unsafe(Error):
    """The socket could be somebody else's. Nothing was sent there."""


class OutcomeUnknown(Error):
    """The connection was lost, or the time was up, between a call and its answer: it may or may not have happened.

    Look before you call again. `agent.capture` and `agent.ready` may be called again: nothing is committed twice.
    """

    def __init__(self, method: str, why: str) -> None:
        super().__init__(f"{method} was sent and not answered ({why}): it may or may not have happened")
        self.method = method


class ReservationLost(Error):
    """The session has ended, and with it the right to write its thread. It never comes back: reserve anew."""

    def __init__(self, session_id: str, thread: str, refusal: Refused) -> None:
        super().__init__(f"thread '{thread}' is not held by {session_id} any more: {refusal}")
        self.session_id = session_id
        self.thread = thread
        self.refusal = refusal
        details: Dict[str, Any] = refusal.details if isinstance(refusal.details, dict) else {}
        self.status: Optional[SessionStatus] = details.get("status")
        self.end_reason: Optional[EndReason] = details.get("end_reason")
