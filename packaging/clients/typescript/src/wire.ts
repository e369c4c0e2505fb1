/**
 * Lines out, lines in: one connection to the daemon.
 */

import type { Socket } from "node:net";
import { Refused } from "./errors.js";
import { REFUSALS } from "./refusals.js";
import { hide } from "./secret.js";
import { connect } from "./socket.js";
import { type ErrorData, PROTOCOL, VERSION } from "./types.js";

/** How long a connection may take to be settled, in milliseconds: a daemon that hangs must not hang its clients. */
const HANDSHAKE = 10_000;

/** The longest time that a timer of Node can have. */
const LONGEST = 2 ** 31 - 1;

/** The connection has ended. */
export class Lost extends Error {}

/** The answer did not come in time. */
export class Late extends Error {}

/** A line from the daemon. */
export interface Message {
  id?: number | null;
  method?: string;
  params?: { result: unknown };
  result?: unknown;
  error?: { code: number; data: ErrorData };
}

/** The result of a call; throws what it was refused with. */
function outcome({ error, result }: Message): unknown {
  if (error === undefined) {
    return hide(result);
  }
  throw new (REFUSALS[error.data.kind] ?? Refused)(error.code, error.data);
}

async function* messages(socket: Socket): AsyncGenerator<Message, void, void> {
  let rest = "";
  for await (const chunk of socket.setEncoding("utf8")) {
    const lines = (rest + (chunk as string)).split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) {
      yield JSON.parse(line) as Message;
    }
  }
}

/** A connection whose lines are read by one reader in turn; what is not read waits at the daemon. */
export class Wire {
  readonly #socket: Socket;
  readonly #messages: AsyncGenerator<Message, void, void>;
  readonly #handshake: NodeJS.Timeout;
  #last = 0;

  private constructor(socket: Socket) {
    this.#socket = socket;
    this.#messages = messages(socket);
    this.#handshake = setTimeout(() => this.close(), HANDSHAKE);
  }

  /** A connection whose daemon has said hello. */
  static async connect(path: string | undefined): Promise<Wire> {
    const wire = new Wire(await connect(path));
    try {
      await wire.ask("daemon.hello", { protocol: PROTOCOL, client: `heddle-typescript/${VERSION}` });
      return wire;
    } catch (error) {
      wire.close();
      throw error;
    }
  }

  /** From here on nothing is late: the next message comes when there is one. */
  settle(): void {
    clearTimeout(this.#handshake);
  }

  /** Sends a call and gives its id. */
  send(method: string, params: object): number {
    this.#last += 1;
    this.#socket.write(`${JSON.stringify({ jsonrpc: "2.0", id: this.#last, method, params })}\n`);
    return this.#last;
  }

  /** The next message. */
  async receive(): Promise<Message> {
    const next = await this.#messages.next().catch((cause: Error) => {
      throw new Lost(cause.message);
    });
    if (next.done) {
      throw new Lost("the daemon closed the connection");
    }
    return next.value;
  }

  /** Calls and waits for the answer; only for who reads this connection alone. */
  async ask(method: string, params: object): Promise<unknown> {
    const id = this.send(method, params);
    for (;;) {
      const message = await this.receive();
      // `id: null` answers what could not be read as a call.
      if (message.method === undefined && (message.id === id || message.id === null)) {
        return outcome(message);
      }
    }
  }

  /** Whether the process goes on as long as this connection stands. */
  keepsProcess(keeps: boolean): void {
    keeps ? this.#socket.ref() : this.#socket.unref();
  }

  /** Ends the connection, and whoever reads from it. */
  close(): void {
    this.settle();
    this.#socket.destroy();
  }
}

interface Caller {
  resolve(result: unknown): void;
  reject(error: unknown): void;
}

/** A connection for many callers at once: each answer is handed to its caller. */
export class Connection {
  readonly #wire: Wire;
  readonly #waiting = new Map<number, Caller>();
  #isOpen = true;

  constructor(wire: Wire, whenLost: () => void) {
    this.#wire = wire;
    wire.settle();
    wire.keepsProcess(false);
    void this.#read().then(whenLost);
  }

  /** Whether the connection still stands, as far as is known. */
  get isOpen(): boolean {
    return this.#isOpen;
  }

  /** Calls: its result, the refusal, or `Lost`, or `Late`; a result that comes after that is handed to `late`. */
  call(method: string, params: object, time: number, late?: (result: unknown) => void): Promise<unknown> {
    if (!this.#isOpen) {
      return Promise.reject(new Lost("the connection has ended"));
    }
    return new Promise((resolve, reject) => {
      const id = this.#wire.send(method, params);
      let isLate = false;
      const timer = setTimeout(
        () => {
          isLate = true;
          reject(new Late("the time is up"));
        },
        Math.min(time, LONGEST),
      );
      const answered = (result: unknown) => (isLate ? late?.(result) : resolve(result));
      const ended = <T>(then: (value: T) => void) => (value: T) => {
        clearTimeout(timer);
        then(value);
      };
      this.#waiting.set(id, { resolve: ended(answered), reject: ended(reject) });
      this.#wire.keepsProcess(true);
    });
  }

  /** Ends the connection; who waits on it is told that it is lost. */
  close(): void {
    this.#isOpen = false;
    this.#wire.close();
  }

  async #read(): Promise<void> {
    let why: unknown;
    try {
      for (;;) {
        this.#answer(await this.#wire.receive());
      }
    } catch (error) {
      why = error;
    }
    this.#isOpen = false;
    this.#wire.close();
    for (const caller of this.#waiting.values()) {
      caller.reject(why);
    }
    this.#waiting.clear();
  }

  #answer(message: Message): void {
    const caller = this.#waiting.get(message.id ?? 0);
    if (caller === undefined) {
      return;
    }
    this.#waiting.delete(message.id ?? 0);
    this.#wire.keepsProcess(this.#waiting.size > 0);
    try {
      caller.resolve(outcome(message));
    } catch (refusal) {
      caller.reject(refusal);
    }
  }
}
