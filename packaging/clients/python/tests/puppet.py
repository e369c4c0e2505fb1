"""A client on strings: does what the lines on its standard input say, and answers in lines. `tests/clients` pulls them.

Each order is done in a thread of its own, so that an answer that waits keeps no other waiting.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from typing import Any, Dict

import heddle
import heddle.client

saying = threading.Lock()


def say(**message: Any) -> None:
    with saying:
        sys.stdout.write(json.dumps(message) + "\n")
        sys.stdout.flush()


class Puppet:
    def __init__(self, client: heddle.Client) -> None:
        self.client = client
        self.held: Dict[str, heddle.Reservation] = {}

    def reserve(self, order: Dict[str, Any]) -> heddle.Reservation:
        params = dict(order["params"])
        return self.client.reserve(
            params.pop("repo"),
            params.pop("thread"),
            on_lost=lambda lost: say(told="lost", session_id=lost.session_id, end_reason=lost.end_reason),
            **params,
        )

    def do(self, order: Dict[str, Any]) -> Any:
        what = order["do"]
        if what == "reserve":
            mine = self.reserve(order)
            self.held[order["as"]] = mine
            return mine.record
        if what == "call":
            return self.client.call(order["method"], order["params"])
        if what == "held":
            return self.held[order["as"]].call(order["method"], order["params"])
        if what == "is_held":
            return self.held[order["as"]].is_held
        if what == "block":
            with self.reserve(order):
                if order["fails"]:
                    raise RuntimeError("the work failed")
            return None
        if what == "reveal":
            mine = self.held[order["as"]]
            raw = self.client.agent_reserve(**order["params"])["reservation"]
            shown = [repr(mine), str(mine), repr(mine.token), f"{mine.token}", repr(vars(mine)), repr(raw), str(raw)]
            try:
                self.client.call("agent.heartbeat", {"session_id": mine.session_id, "reservation_token": "hrt_wrong"})
            except heddle.Refused as refusal:
                shown += [repr(refusal), str(refusal), repr(vars(refusal))]
            return {"tokens": [mine.token.reveal(), raw["reservation_token"]], "shown": shown}
        if what == "subscribe":
            threading.Thread(target=self.watch, args=(self.client.subscribe(**order["params"]),), daemon=True).start()
            return None
        raise ValueError(what)

    def watch(self, events: heddle.Events) -> None:
        for event in events:
            say(told="event", revision=event["revision"], kind=event["kind"])

    def obey(self, order: Dict[str, Any]) -> None:
        try:
            say(id=order["id"], ok=self.do(order))
        except Exception as error:
            say(id=order["id"], error=type(error).__name__, kind=getattr(error, "kind", None), text=str(error))


def main() -> None:
    try:
        heddle.client.ANSWER = float(os.environ.get("PUPPET_ANSWER_MS", "60000")) / 1000
        client = heddle.Client(patience=float(os.environ.get("PUPPET_PATIENCE_MS", "30000")) / 1000)
    except heddle.Error as error:
        say(told="not connected", error=type(error).__name__, text=str(error))
        return
    puppet = Puppet(client)
    say(told="connected")
    for line in sys.stdin:
        threading.Thread(target=puppet.obey, args=(json.loads(line),), daemon=True).start()
    # As after a crash: nothing is given back.
    os._exit(0)


if __name__ == "__main__":
    main()
