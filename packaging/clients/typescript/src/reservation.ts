/**
 * A thread that is held.
 */

import { HeddleError, Refused, ReservationLost } from "./errors.js";
import { type MethodTypes, type SessionKey, type SessionMethod, SessionMethods } from "./methods.js";
import type * as t from "./types.js";

/** The kinds of refusals that say that a session is not ours to write with any more. */
const LOST: ReadonlySet<string> = new Set([
  "agent_session_inactive",
  "agent_session_not_found",
  "reservation_token_mismatch",
  "fencing_token_stale",
]);

/** What the client needs of a reservation to bring it over to another connection. */
export interface Kept {
  isHeldByConnection(): boolean;
  /** Makes the session this connection's. */
  resume(ask: (method: string, params: object) => Promise<unknown>): Promise<void>;
}

/** What a reservation needs of its client. */
export interface Port {
  call(method: string, params: object): Promise<unknown>;
  /** Keeps it until the function that it gives is called. */
  keep(kept: Kept): () => void;
}

/** Called, once, when a session is found to have ended. */
export type OnLost = (lost: ReservationLost) => void;

/**
 * The exclusive right to write a thread, kept alive in the background until it is released.
 *
 * With `await using` it is released as `abandoned` when its block ends before `release()` was called. Once it is lost,
 * every use throws `ReservationLost`.
 */
export class Reservation extends SessionMethods implements AsyncDisposable {
  readonly #port: Port;
  readonly #token: string;
  readonly #onLost: OnLost | undefined;
  readonly #forget: () => void;
  #record: t.Reservation;
  #lost: ReservationLost | undefined;
  #isReleasing = false;
  #isReleased = false;
  #timer: NodeJS.Timeout | undefined;

  /** Use `Client.reserve`. */
  constructor(port: Port, record: t.Reservation, onLost: OnLost | undefined) {
    super();
    this.#port = port;
    this.#token = record.reservation_token ?? "";
    this.#onLost = onLost;
    this.#record = record;
    this.#forget = port.keep({
      isHeldByConnection: () => this.isHeld && this.#record.hold.connection,
      resume: async (ask) => {
        try {
          this.#lookAt(await ask("agent.resume", this.#key({})));
        } catch (error) {
          if (!(error instanceof Refused && LOST.has(error.kind))) {
            throw error;
          }
          this.#lose(error);
        }
      },
    });
    this.#schedule();
  }

  /** The reservation as the daemon last told it. */
  get record(): t.Reservation {
    return this.#record;
  }

  /** The session. */
  get session_id(): t.SessionId {
    return this.#record.session_id;
  }

  /** The thread that is held. */
  get thread(): t.ThreadName {
    return this.#record.thread;
  }

  /** The worktree to work in. */
  get path(): string | null {
    return this.#record.path;
  }

  /** A public number, higher than that of every holder before: what checks it can refuse whoever came before. */
  get fencing_token(): t.FencingToken {
    return this.#record.fencing_token;
  }

  /** The secret. Nothing here prints it. */
  revealToken(): t.ReservationToken {
    return this.#token;
  }

  /** Whether it is held as far as is known here. `validate()` asks the daemon. */
  get isHeld(): boolean {
    return this.#lost === undefined && !this.#isReleasing;
  }

  /** Whether it was given back. */
  get isReleased(): boolean {
    return this.#isReleased;
  }

  override async call<M extends SessionMethod>(
    method: M,
    params: Omit<MethodTypes[M]["params"], SessionKey>,
  ): Promise<MethodTypes[M]["result"]> {
    if (this.#lost !== undefined) {
      throw this.#lost;
    }
    const isRelease = method === "agent.release";
    try {
      // From here on the end of the session is no loss.
      this.#isReleasing ||= isRelease;
      const answer = (await this.#port.call(method, this.#key(params))) as MethodTypes[M]["result"];
      this.#isReleased ||= isRelease;
      this.#lookAt(answer);
      if (isRelease) {
        this.#end();
      }
      return answer;
    } catch (error) {
      if (isRelease) {
        this.#isReleasing = this.#isReleased;
      }
      if (error instanceof Refused && LOST.has(error.kind) && !this.#isReleasing) {
        throw this.#lose(error);
      }
      throw error;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.isHeld) {
      return;
    }
    try {
      await this.release({ status: "abandoned" });
    } catch (error) {
      // The error that ended the block is the one to tell; the session ends by itself.
      this.#end();
      if (!(error instanceof HeddleError)) {
        throw error;
      }
    }
  }

  #key(params: object): object {
    return { ...params, session_id: this.session_id, reservation_token: this.#token };
  }

  #lookAt(answer: unknown): void {
    const told = (answer as { reservation?: t.Reservation | null }).reservation;
    // agent.validate answers with null, or with a session that has ended.
    if (told?.status === "active") {
      this.#record = told;
      this.#schedule();
    }
  }

  /** The next heartbeat: there are three within the time to live. */
  #schedule(pause = (this.#record.hold.heartbeat?.ttl_ms ?? Infinity) / 3): void {
    clearTimeout(this.#timer);
    if (this.isHeld && pause < Infinity) {
      this.#timer = setTimeout(() => void this.#beat(pause), pause).unref();
    }
  }

  async #beat(pause: number): Promise<void> {
    try {
      await this.heartbeat();
    } catch {
      // Unreachable, or too busy: while the daemon is away nobody else is granted the thread. A loss was told.
      this.#schedule(Math.min(1000, pause));
    }
  }

  #end(): void {
    clearTimeout(this.#timer);
    this.#forget();
  }

  #lose(refusal: Refused): ReservationLost {
    if (this.#lost === undefined) {
      const lost = new ReservationLost(this.session_id, this.thread, refusal);
      this.#lost = lost;
      this.#end();
      queueMicrotask(() => this.#onLost?.(lost));
    }
    return this.#lost;
  }
}
