/**
 * Reservation tokens that do not show themselves.
 */

import { randomBytes } from "node:crypto";

function base32(count: number): string {
  let text = "";
  let bits = 0;
  let left = 0;
  for (const byte of randomBytes(count)) {
    bits = (bits << 8) | byte;
    for (left += 8; left >= 5; left -= 5) {
      text += "abcdefghijklmnopqrstuvwxyz234567"[(bits >> (left - 5)) & 31];
    }
    bits &= 31;
  }
  return left > 0 ? text + "abcdefghijklmnopqrstuvwxyz234567"[(bits << (5 - left)) & 31] : text;
}

/** Draws a reservation token. */
export function newToken(): string {
  return `hrt_${base32(32)}`;
}

/** Draws the id of a request. */
export function newRequestId(): string {
  return `r-${base32(16)}`;
}

/**
 * Hides the token of a reservation that the daemon answered: it is there to be read by its name, and neither
 * `console.log` nor `JSON.stringify` shows it.
 */
export function hide(result: unknown): unknown {
  const reservation = (result as { reservation?: { reservation_token?: unknown } | null } | null)?.reservation;
  if (typeof reservation?.reservation_token === "string") {
    Object.defineProperty(reservation, "reservation_token", { enumerable: false });
  }
  return result;
}
