/**
 * The client: calls, reservations, events.
 */

import { setTimeout as pause } from "node:timers/promises";
import { OutcomeUnknown, Refused, Unreachable } from "./errors.js";
import { Events } from "./events.js";
import { Methods, type MethodTypes, REPEATABLE } from "./methods.js";
import { type Kept, type OnLost, Reservation } from "./reservation.js";
import { Retry } from "./retry.js";
import { newRequestId, newToken } from "./secret.js";
import type { ReserveParams, ReserveResult, SubscribeParams } from "./types.js";
import { Connection, Late, Lost } from "./wire.js";

/** How often a call is sent whose connection is lost each time. */
const ATTEMPTS = 8;

/** How long an answer may take, in milliseconds; the time that a reserve waits comes on top. */
const ANSWER = 60_000;

/** The same, for calls that do work in a worktree. */
const LONG: Readonly<Record<string, number>> = {
  "agent.capture": 900_000,
  "agent.ready": 900_000,
  "thread.clean": 900_000,
};

/** How a client connects. */
export interface ClientOptions {
  /** Where the daemon listens. Default: `$HEDDLE_SOCKET`, the runtime directory, the lock file. */
  socket?: string;
  /** How many milliseconds to go on trying to connect after a connection was lost. Default 30,000. */
  patience?: number;
}

/** What a reserve is given: `repo` is an absolute path. What makes it repeatable is drawn by the client. */
export type ReserveOptions = Omit<ReserveParams, "request_id" | "reservation_token">;

/**
 * A connection to the user's daemon that comes back when it is lost.
 *
 * A call whose connection is lost is sent again where that is safe: reads, heartbeats, releases, and every reserve, for
 * it carries a request id and a secret of its own. Any other throws `OutcomeUnknown`, and so does one of these that is not
 * answered in the end.
 */
export class Client extends Methods implements AsyncDisposable {
  readonly #socket: string | undefined;
  readonly #patience: number;
  readonly #kept = new Set<Kept>();
  #connection: Connection | undefined;
  #connecting: Promise<Connection> | undefined;
  #isClosed = false;

  private constructor({ socket, patience = 30_000 }: ClientOptions) {
    super();
    this.#socket = socket;
    this.#patience = patience;
  }

  /** Connects, with one attempt. */
  static async connect(options: ClientOptions = {}): Promise<Client> {
    const client = new Client(options);
    await client.#reconnect(new Retry(0));
    return client;
  }

  /**
   * Reserves a thread and keeps it alive until it is released. `onLost` is called, once, when the session is found to
   * have ended.
   */
  async reserve(options: ReserveOptions, onLost?: OnLost): Promise<Reservation> {
    const params: ReserveParams = { ...options, request_id: newRequestId(), reservation_token: newToken() };
    const { reservation } = (await this.#request("agent.reserve", params)) as ReserveResult;
    const call = (method: string, params: object) => this.#request(method, params);
    const keep = (kept: Kept) => {
      this.#kept.add(kept);
      return () => void this.#kept.delete(kept);
    };
    return new Reservation({ call, keep }, reservation, onLost);
  }

  /** Works while a thread is held, then releases it: `complete`, or `abandoned` when the work throws. */
  async holding<T>(options: ReserveOptions, work: (mine: Reservation) => Promise<T>, onLost?: OnLost): Promise<T> {
    await using mine = await this.reserve(options, onLost);
    const result = await work(mine);
    if (!mine.isReleased) {
      await mine.release({ status: "complete" });
    }
    return result;
  }

  /** What happens from now on, or after a revision, in the whole registry or where the filters match. */
  subscribe(params: SubscribeParams = {}): Promise<Events> {
    return Events.open(this.#socket, this.#patience, params);
  }

  override call<M extends keyof MethodTypes>(
    method: M,
    params: MethodTypes[M]["params"],
  ): Promise<MethodTypes[M]["result"]> {
    return this.#request(method, params) as Promise<MethodTypes[M]["result"]>;
  }

  /** Ends the connection. What is still held lives on until its hold ends it. */
  close(): void {
    this.#isClosed = true;
    this.#connection?.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.close();
  }

  async #request(method: string, params: object): Promise<unknown> {
    const began = performance.now();
    const { wait_ms: wait = 0, request_id } = params as Partial<ReserveParams>;
    const isRepeatable = REPEATABLE.has(method) || (method === "agent.reserve" && request_id !== undefined);
    let why = "";
    for (let attempt = 0; attempt < ATTEMPTS; attempt += 1) {
      const connection = await this.#connected().catch((error: unknown) => {
        // When there is a reason, it was sent before.
        throw why === "" ? error : new OutcomeUnknown(method, (error as Error).message);
      });
      if (wait > 0) {
        // The time that was waited before counts; 0 would not wait at all.
        params = { ...params, wait_ms: Math.max(1, Math.round(wait - (performance.now() - began))) };
      }
      try {
        const late = method === "agent.reserve" ? giveBack(connection, params as Partial<ReserveParams>) : undefined;
        return await connection.call(method, params, (LONG[method] ?? ANSWER) + wait, late);
      } catch (error) {
        if (error instanceof Refused && error.kind === "shutting_down" && isRepeatable) {
          // This daemon is going; another may come.
          connection.close();
        } else if (!(error instanceof Lost || error instanceof Late)) {
          throw error;
        }
        why = (error as Error).message;
        if (error instanceof Late || !isRepeatable) {
          break;
        }
      }
    }
    throw new OutcomeUnknown(method, why);
  }

  /** A connection that stands, as far as is known. */
  async #connected(): Promise<Connection> {
    if (this.#isClosed) {
      throw new Unreachable("the client is closed");
    }
    if (this.#connection?.isOpen) {
      return this.#connection;
    }
    this.#connecting ??= this.#reconnect(new Retry(this.#patience)).finally(() => (this.#connecting = undefined));
    return this.#connecting;
  }

  /** Takes over what the connection before held, before anything else is asked: there is a grace of 10 s. */
  async #reconnect(retry: Retry): Promise<Connection> {
    const wire = await retry.connect(this.#socket);
    try {
      for (const kept of [...this.#kept].filter((kept) => kept.isHeldByConnection())) {
        await kept.resume((method, params) => wire.ask(method, params));
      }
    } catch (error) {
      wire.close();
      throw error instanceof Lost ? new Unreachable(`the daemon did not resume a session (${error.message})`) : error;
    }
    this.#connection = new Connection(wire, () => void this.#comeBack());
    if (this.#isClosed) {
      this.#connection.close();
    }
    return this.#connection;
  }

  /** Brings a connection back that something is held by. */
  async #comeBack(): Promise<void> {
    const isMissed = () => [...this.#kept].some((kept) => kept.isHeldByConnection());
    while (!this.#isClosed && isMissed()) {
      try {
        await this.#connected();
        return;
      } catch {
        await pause(1000, undefined, { ref: false });
      }
    }
  }
}

/** Ends the session of a grant that came after its caller had given up: nobody else knows of it. */
function giveBack(connection: Connection, { reservation_token }: Partial<ReserveParams>): (result: unknown) => void {
  return (result) => {
    const { session_id } = (result as ReserveResult).reservation;
    const key = { session_id, reservation_token, status: "abandoned" };
    connection.call("agent.release", key, ANSWER).catch(() => undefined);
  };
}
