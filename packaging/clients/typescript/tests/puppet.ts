/**
 * A client on strings: does what the lines on its standard input say, and answers in lines. `tests/clients` pulls them.
 */

import { createInterface } from "node:readline";
import { inspect } from "node:util";
import { Client, type Events, HeddleError, Refused, type Reservation, type ReserveOptions } from "@heddled/client";
import type { MethodTypes, SessionMethod } from "../src/methods.js";

/** An order; what is in it depends on what it is. */
interface Order {
  id: number;
  do: string;
  as: string;
  method: keyof MethodTypes;
  params: object;
  fails: boolean;
}

function say(message: object): void {
  console.log(JSON.stringify(message));
}

const held = new Map<string, Reservation>();

function mine({ as }: Order): Reservation {
  const found = held.get(as);
  if (found === undefined) {
    throw new Error(`nothing is held as ${as}`);
  }
  return found;
}

/** Everything that a program would print of a value. */
function shown(value: unknown): string[] {
  return [String(value), inspect(value, { depth: 9 }), JSON.stringify(value) ?? ""];
}

async function watch(events: Events): Promise<void> {
  for await (const { revision, kind } of events) {
    say({ told: "event", revision, kind });
  }
}

async function act(client: Client, order: Order): Promise<unknown> {
  const options = order.params as ReserveOptions;
  switch (order.do) {
    case "reserve": {
      const reservation = await client.reserve(options, (lost) =>
        say({ told: "lost", session_id: lost.session_id, end_reason: lost.end_reason }),
      );
      held.set(order.as, reservation);
      return reservation.record;
    }
    case "call":
      return client.call(order.method, order.params as MethodTypes[typeof order.method]["params"]);
    case "held":
      return mine(order).call(order.method as SessionMethod, order.params as never);
    case "is_held":
      return mine(order).isHeld;
    case "block":
      return client.holding(options, async () => {
        if (order.fails) {
          throw new Error("the work failed");
        }
        return null;
      });
    case "reveal": {
      const raw = (await client.agentReserve(options)).reservation;
      const refusal: unknown = await client
        .agentHeartbeat({ session_id: mine(order).session_id, reservation_token: "hrt_wrong" })
        .catch((error: unknown) => error);
      const all = [mine(order), mine(order).record, raw, client, refusal].flatMap(shown);
      return { tokens: [mine(order).revealToken(), raw.reservation_token], shown: all };
    }
    case "subscribe":
      void watch(await client.subscribe(order.params));
      return null;
    default:
      throw new Error(order.do);
  }
}

async function obey(client: Client, order: Order): Promise<void> {
  try {
    say({ id: order.id, ok: (await act(client, order)) ?? null });
  } catch (error) {
    const kind = error instanceof Refused ? error.kind : null;
    say({ id: order.id, error: (error as Error).name, kind, text: (error as Error).message });
  }
}

try {
  const client = await Client.connect({ patience: Number(process.env["PUPPET_PATIENCE_MS"] ?? 30_000) });
  say({ told: "connected" });
  for await (const line of createInterface({ input: process.stdin })) {
    void obey(client, JSON.parse(line) as Order);
  }
  // As after a crash: nothing is given back.
  process.exit(0);
} catch (error) {
  if (!(error instanceof HeddleError)) {
    throw error;
  }
  say({ told: "not connected", error: error.name, text: error.message });
}
