"""Reservation tokens that do not show themselves."""

from __future__ import annotations

import base64
import secrets
from typing import Any


class Secret(str):
    """A reservation token. It is sent and written as the text it is, but printed, formatted and logged it is hidden."""

    def __new__(cls, text: str) -> Secret:
        # `str(secret)` is not the secret, so one that is made from another asks it.
        return super().__new__(cls, text.reveal() if isinstance(text, Secret) else text)

    def __repr__(self) -> str:
        return "'hrt_(hidden)'"

    def __str__(self) -> str:
        return "hrt_(hidden)"

    def __format__(self, spec: str) -> str:
        return format(str(self), spec)

    def reveal(self) -> str:
        """The token as a plain text."""
        return str.__str__(self)


def new_token() -> Secret:
    """Draws a reservation token."""
    return Secret("hrt_" + _base32(32))


def new_request_id() -> str:
    """Draws the id of a request."""
    return "r-" + _base32(16)


def _base32(count: int) -> str:
    return base64.b32encode(secrets.token_bytes(count)).decode().rstrip("=").lower()


def hide(result: Any) -> Any:
    """Hides the token of a reservation that the daemon answered, where it has one."""
    reservation = result.get("reservation") if isinstance(result, dict) else None
    if isinstance(reservation, dict) and isinstance(reservation.get("reservation_token"), str):
        reservation["reservation_token"] = Secret(reservation["reservation_token"])
    return result
