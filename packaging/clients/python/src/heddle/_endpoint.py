"""Finds the daemon's socket, and makes sure that it is the user's own before anything is sent there."""

from __future__ import annotations

import json
import os
import socket
import stat
import struct
import sys
from typing import Iterator, Optional

from .errors import Unreachable, Unsafe

TIME = 10.0
"""How long connecting, and each answer until a connection is settled, may take, in seconds: a daemon that hangs must not
hang its clients."""


def connect(named: Optional[str]) -> socket.socket:
    """Connects to the daemon: at `named`, else at `$HEDDLE_SOCKET`, else where the daemon listens by default, else
    where its lock file says that it does (ssh and cron have another environment)."""
    named = named or os.environ.get("HEDDLE_SOCKET")
    first = os.path.abspath(named) if named else _default()
    for path in [first] if named else _both(first):
        try:
            return _open(path)
        except (FileNotFoundError, ConnectionRefusedError):
            continue
        except PermissionError as cause:
            raise Unreachable(f"not allowed to connect to {path} ({cause}): a sandbox may forbid it") from cause
        except OSError as cause:
            # A path that is too long for a socket, a file that is none.
            raise Unreachable(f"cannot connect to {path}: {cause}") from cause
    raise Unreachable(f"no daemon is listening on {first}; start it with `heddlectl daemon start`")


def _absolute(variable: str) -> Optional[str]:
    value = os.environ.get(variable, "")
    return value if os.path.isabs(value) else None


def _default() -> str:
    runtime = _absolute("XDG_RUNTIME_DIR")
    if runtime:
        return os.path.join(runtime, "heddle", "heddled.sock")
    return os.path.join(_absolute("TMPDIR") or "/tmp", f"heddle-{os.geteuid()}", "heddled.sock")


def _both(first: str) -> Iterator[str]:
    yield first
    recorded = _recorded()
    if recorded and recorded != first:
        yield recorded


def _recorded() -> Optional[str]:
    """Where the running daemon says that it listens, in the file that it holds locked."""
    state = _absolute("HEDDLE_STATE_DIR")
    if not state:
        home = _absolute("XDG_STATE_HOME")
        state = os.path.join(home, "heddle") if home else os.path.expanduser("~/.local/state/heddle")
    try:
        with open(os.path.join(state, "heddled.lock"), encoding="utf-8") as lock:
            path = json.loads(lock.readline())["socket"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return path if isinstance(path, str) and os.path.isabs(path) else None


def _open(path: str) -> socket.socket:
    _check_directory(os.path.dirname(path))
    stream = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    stream.settimeout(TIME)
    try:
        stream.connect(path)
        _check_peer(stream, path)
        return stream
    except BaseException:
        stream.close()
        raise


def _check_directory(directory: str) -> None:
    """Refuses a directory in which somebody else could have put the socket."""
    found = os.lstat(directory)
    # A link of one's own leads where one wants; another's is judged by who made it.
    if stat.S_ISLNK(found.st_mode) and found.st_uid == os.geteuid():
        found = os.stat(directory)
    if found.st_uid != os.geteuid():
        raise Unsafe(f"{directory} belongs to user {found.st_uid}, you are {os.geteuid()}; nothing was sent")
    if found.st_mode & 0o022:
        raise Unsafe(f"others may write into {directory}; nothing was sent. Use a directory with mode 0700")


def _check_peer(stream: socket.socket, path: str) -> None:
    """Refuses a daemon of another user. Elsewhere than on Linux the directory alone must do."""
    if sys.platform == "linux":
        credentials = stream.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        _, uid, _ = struct.unpack("3i", credentials)
        if uid != os.geteuid():
            raise Unsafe(f"the daemon on {path} runs as user {uid}, you are {os.geteuid()}; nothing was sent")
