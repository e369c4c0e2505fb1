/**
 * What happens, as it happens.
 */

import { Retry } from "./retry.js";
import { ShuttingDown } from "./refusals.js";
import type { Event, Operation, SubscribeParams } from "./types.js";
import { Lost, Wire } from "./wire.js";

/**
 * The events after a revision, each once and in order, over lost connections and restarts of the daemon.
 *
 * It has a connection of its own, so one that is read slowly keeps nobody waiting: the daemon ends its subscription and
 * it goes on where it was. Another loop over it goes on there too, also after an error.
 */
export class Events implements AsyncIterable<Operation>, AsyncDisposable {
  readonly #path: string | undefined;
  readonly #patience: number;
  readonly #filters: SubscribeParams;
  #wire: Wire | undefined;
  #isClosed = false;
  #after: number | undefined;

  private constructor(path: string | undefined, patience: number, { after, ...filters }: SubscribeParams) {
    this.#path = path;
    this.#patience = patience;
    this.#filters = filters;
    this.#after = after;
  }

  /** Subscribes. Use `Client.subscribe`. */
  static async open(path: string | undefined, patience: number, params: SubscribeParams): Promise<Events> {
    const events = new Events(path, patience, params);
    const retry = new Retry(patience);
    // At once, so that nothing is missed that happens from here on.
    while (events.#wire === undefined) {
      await events.#subscribe(retry);
    }
    return events;
  }

  /** The revision of the last event that was given: where another subscription would go on. */
  get after(): number {
    return this.#after ?? 0;
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Operation, void, void> {
    let retry = new Retry(this.#patience);
    while (!this.#isClosed) {
      if (this.#wire === undefined) {
        await this.#subscribe(retry);
        continue;
      }
      const event = await this.#next(this.#wire);
      if (event === undefined) {
        retry = new Retry(this.#patience);
      } else if (event.kind === "lagged") {
        // The subscription has ended, and nothing is lost.
        this.#after = event.detail.resume_after;
        this.#drop();
      } else if (event.revision > this.after) {
        this.#after = event.revision;
        yield event;
      }
    }
    this.#drop();
  }

  /** Ends it, also while somebody waits for the next event. */
  close(): void {
    this.#isClosed = true;
    this.#drop();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.close();
  }

  /** The next event; none when the connection was lost. */
  async #next(wire: Wire): Promise<Event | undefined> {
    wire.keepsProcess(true);
    try {
      for (;;) {
        const message = await wire.receive();
        if (message.method === "events.event") {
          return message.params?.result as Event;
        }
      }
    } catch (error) {
      if (!(error instanceof Lost)) {
        throw error;
      }
      this.#drop();
      return undefined;
    } finally {
      wire.keepsProcess(false);
    }
  }

  #drop(): void {
    this.#wire?.close();
    this.#wire = undefined;
  }

  async #subscribe(retry: Retry): Promise<void> {
    const wire = await retry.connect(this.#path);
    try {
      this.#after ??= ((await wire.ask("daemon.info", {})) as { revision: number }).revision;
      await wire.ask("events.subscribe", { ...this.#filters, after: this.#after });
      wire.settle();
      wire.keepsProcess(false);
      this.#wire = wire;
    } catch (error) {
      wire.close();
      if (!(error instanceof Lost || error instanceof ShuttingDown)) {
        throw error;
      }
    }
  }
}
