/**
 * What can go wrong. `refusals` has a class for each kind of refusal, with its details typed.
 */

import type { EndReason, ErrorData, Kind, SessionStatus } from "./types.js";

/** The base of all errors of this package. */
export class HeddleError extends Error {
  override get name(): string {
    return this.constructor.name;
  }
}

/**
 * The daemon answered no. The text says what is wrong and which command gets you out.
 *
 * A kind that this package does not know yet, from a newer daemon, comes as this class itself.
 */
export class Refused extends HeddleError {
  /** The stable name. */
  readonly kind: Kind;
  /** The facts, typed by kind in the subclasses. */
  readonly details: unknown;
  readonly hint: string;
  readonly primary_command: string | null;
  readonly recovery_commands: string[];
  readonly retryable: boolean;
  readonly retry_after_ms: number | null;

  constructor(
    readonly code: number,
    readonly data: ErrorData,
  ) {
    super(`${data.kind}: ${data.error}${data.primary_command ? `; next: ${data.primary_command}` : ""}`);
    this.kind = data.kind;
    this.details = data.details;
    this.hint = data.hint;
    this.primary_command = data.primary_command;
    this.recovery_commands = data.recovery_commands;
    this.retryable = data.retryable;
    this.retry_after_ms = data.retry_after_ms;
  }
}

/** There is no daemon to ask, and nothing was changed: none listens, or it does not say hello. */
export class Unreachable extends HeddleError {}

/** The socket could be somebody else's. Nothing was sent there. */
export class Unsafe extends HeddleError {}

/**
 * The connection was lost, or the time was up, between a call and its answer: it may or may not have happened.
 *
 * Look before you call again. `agent.capture` and `agent.ready` may be called again: nothing is committed twice.
 */
export class OutcomeUnknown extends HeddleError {
  constructor(
    readonly method: string,
    why: string,
  ) {
    super(`${method} was sent and not answered (${why}): it may or may not have happened`);
  }
}

/** The session has ended, and with it the right to write its thread. It never comes back: reserve anew. */
export class ReservationLost extends HeddleError {
  readonly status: SessionStatus | null;
  readonly end_reason: EndReason | null;

  constructor(
    readonly session_id: string,
    readonly thread: string,
    readonly refusal: Refused,
  ) {
    super(`thread '${thread}' is not held by ${session_id} any more: ${refusal.message}`, { cause: refusal });
    const details = refusal.details as { status?: SessionStatus; end_reason?: EndReason | null };
    this.status = details.status ?? null;
    this.end_reason = details.end_reason ?? null;
  }
}
