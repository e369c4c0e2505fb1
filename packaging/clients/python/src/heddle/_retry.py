"""Connecting, and trying again for a while."""

from __future__ import annotations

import time
from typing import Optional

from ._wire import Lost, Wire
from .errors import Refused, Unreachable

LEAST, MOST = 0.01, 1.0
"""The seconds between two attempts: they double from the least to the most."""


class Retry:
    """Attempts to connect, for so many seconds in all."""

    def __init__(self, patience: float) -> None:
        self._until = time.monotonic() + patience
        self._pause = 0.0

    def connect(self, path: Optional[str]) -> Wire:
        """A connection whose daemon has said hello."""
        while True:
            time.sleep(self._pause)
            self._pause = min(max(self._pause * 2, LEAST), MOST)
            try:
                return Wire(path)
            except Unreachable as cause:
                error: Exception = cause
            except Refused as refusal:
                # A daemon that is stopping, or that has no room, may be another in a moment.
                if not refusal.retryable:
                    raise
                error = refusal
            except Lost as lost:
                error = Unreachable(f"the daemon did not say hello ({lost})")
            if time.monotonic() + self._pause > self._until:
                raise error
