"""One agent's work on a thread: reserve, capture, check, give back; and what the daemon tells of it.

    python3 examples/agent.py /path/to/your/repository
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import heddle


def main() -> None:
    repo = os.path.abspath(sys.argv[1])
    with heddle.Client() as client, client.subscribe(repo=repo) as events:
        try:
            with client.reserve(
                repo,
                "agent/python-example",
                at_tip=True,
                worktree={},  # a directory of its own, with the thread checked out
                task="show how a harness uses the client",
                hold_for_pid=os.getpid(),  # the thread is free as soon as this process is gone
            ) as mine:
                print("holding", mine.thread, "with fencing token", mine.fencing_token)
                Path(mine.path or repo, "greeting.txt").write_text("hello\n")
                captured = mine.capture(message="Say hello", confidence=0.9)
                print("captured", *captured["capture"]["changed_paths"])
                checked = mine.ready(verification={"tests_passed": 1, "tests_failed": 0})
                print(f"{checked['status']}; next: {checked['recommended_action']}")
            # Released as `complete` here; an exception in the block would have made it `abandoned`.
        except heddle.refusals.LiveOwner as refusal:
            owner = refusal.details["owner"]
            sys.exit(f"{owner['session_id']} has the thread; see: {refusal.primary_command}")
        for event in events:
            print("event", event["revision"], event["kind"], event["thread"])
            if event["kind"] == "released":
                break


if __name__ == "__main__":
    main()
