"""A client of heddled, the daemon that decides which coding agent may write which branch.

    with heddle.Client() as client:
        with client.reserve("/path/to/repository", "fix-login", at_tip=True) as mine:
            ...  # work in mine.path
            mine.capture(message="Fix the login")
"""

from . import refusals, types
from ._secret import Secret
from .client import Client
from .errors import Error, OutcomeUnknown, Refused, ReservationLost, Unreachable, Unsafe
from .events import Events
from .reservation import Reservation
from .types import PROTOCOL, VERSION

__version__ = VERSION

__all__ = [
    "PROTOCOL",
    "VERSION",
    "Client",
    "Error",
    "Events",
    "OutcomeUnknown",
    "Refused",
    "Reservation",
    "ReservationLost",
    "Secret",
    "Unreachable",
    "Unsafe",
    "refusals",
    "types",
]
