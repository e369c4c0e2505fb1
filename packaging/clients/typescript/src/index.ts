/**
 * A client of heddled, the daemon that decides which coding agent may write which branch.
 */

export { Client, type ClientOptions, type ReserveOptions } from "./client.js";
export { HeddleError, OutcomeUnknown, Refused, ReservationLost, Unreachable, Unsafe } from "./errors.js";
export { Events } from "./events.js";
export { Reservation, type OnLost } from "./reservation.js";
export * as refusals from "./refusals.js";
export { PROTOCOL, VERSION } from "./types.js";
export type * as types from "./types.js";
