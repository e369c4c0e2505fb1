/**
 * Connecting, and trying again for a while.
 */

import { setTimeout as pause } from "node:timers/promises";
import { Refused, Unreachable } from "./errors.js";
import { Lost, Wire } from "./wire.js";

/** The milliseconds between two attempts: they double from the least to the most. */
const LEAST = 10;
const MOST = 1000;

/** Attempts to connect, for so many milliseconds in all. */
export class Retry {
  readonly #until: number;
  #pause = 0;

  constructor(patience: number) {
    this.#until = performance.now() + patience;
  }

  /** A connection whose daemon has said hello. */
  async connect(path: string | undefined): Promise<Wire> {
    for (;;) {
      if (this.#pause > 0) {
        await pause(this.#pause);
      }
      this.#pause = Math.min(Math.max(this.#pause * 2, LEAST), MOST);
      try {
        return await Wire.connect(path);
      } catch (error) {
        // A daemon that is stopping, or that has no room, may be another in a moment.
        const mayPass = error instanceof Lost || error instanceof Unreachable || (error instanceof Refused && error.retryable);
        if (!mayPass) {
          throw error;
        }
        if (performance.now() + this.#pause > this.#until) {
          throw error instanceof Lost ? new Unreachable(`the daemon did not say hello (${error.message})`) : error;
        }
      }
    }
  }
}
