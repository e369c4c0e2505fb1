/**
 * Finds the daemon's socket, and makes sure that it is the user's own before anything is sent there.
 *
 * Node cannot ask the system who is at the other end of a socket (it has no `getsockopt`). So this looks at the socket
 * and at its directory instead: both must be the user's, and nobody else may write into the directory. Then nobody
 * else, root aside, can have put a socket there.
 */

import { once } from "node:events";
import { lstatSync, readFileSync, statSync } from "node:fs";
import { createConnection, type Socket } from "node:net";
import { homedir } from "node:os";
import { dirname, isAbsolute, join, resolve } from "node:path";
import { Unreachable, Unsafe } from "./errors.js";

/**
 * Connects to the daemon: at `named`, else at `$HEDDLE_SOCKET`, else where the daemon listens by default, else where its
 * lock file says that it does (ssh and cron have another environment).
 */
export async function connect(named: string | undefined): Promise<Socket> {
  const chosen = named || process.env["HEDDLE_SOCKET"];
  const first = chosen ? resolve(chosen) : byDefault();
  const second = chosen ? undefined : recorded();
  for (const path of [first, second]) {
    if (path === undefined) {
      continue;
    }
    try {
      return await open(path);
    } catch (error) {
      const code = (error as NodeJS.ErrnoException).code;
      if (code === undefined) {
        throw error;
      }
      if (code !== "ENOENT" && code !== "ECONNREFUSED") {
        const hint = code === "EACCES" || code === "EPERM" ? ": a sandbox may forbid it" : "";
        throw new Unreachable(`cannot connect to ${path} (${code})${hint}`, { cause: error });
      }
    }
  }
  throw new Unreachable(`no daemon is listening on ${first}; start it with \`heddlectl daemon start\``);
}

function absolute(variable: string): string | undefined {
  const value = process.env[variable];
  return value && isAbsolute(value) ? value : undefined;
}

function uid(): number {
  const uid = process.geteuid?.();
  if (uid === undefined) {
    throw new Unsafe("this system does not say who you are");
  }
  return uid;
}

function byDefault(): string {
  const runtime = absolute("XDG_RUNTIME_DIR");
  return runtime
    ? join(runtime, "heddle/heddled.sock")
    : join(absolute("TMPDIR") ?? "/tmp", `heddle-${uid()}/heddled.sock`);
}

/** Where the running daemon says that it listens, in the file that it holds locked. */
function recorded(): string | undefined {
  const home = absolute("XDG_STATE_HOME");
  const state = absolute("HEDDLE_STATE_DIR") ?? (home ? join(home, "heddle") : join(homedir(), ".local/state/heddle"));
  try {
    const record = JSON.parse(readFileSync(join(state, "heddled.lock"), "utf8")) as { socket?: unknown };
    return typeof record.socket === "string" && isAbsolute(record.socket) ? record.socket : undefined;
  } catch {
    return undefined;
  }
}

async function open(path: string): Promise<Socket> {
  check(path);
  const socket = createConnection(path);
  await once(socket, "connect");
  // What goes wrong later ends the reading, which tells; without a listener it would end the process.
  socket.on("error", () => {});
  return socket;
}

/** Refuses a directory in which somebody else could have put the socket, and a socket of somebody else. */
function check(path: string): void {
  const directory = dirname(path);
  let found = lstatSync(directory);
  // A link of one's own leads where one wants; another's is judged by who made it.
  if (found.isSymbolicLink() && found.uid === uid()) {
    found = statSync(directory);
  }
  if (found.uid !== uid()) {
    throw new Unsafe(`${directory} belongs to user ${found.uid}, you are ${uid()}; nothing was sent`);
  }
  if (found.mode & 0o022) {
    throw new Unsafe(`others may write into ${directory}; nothing was sent. Use a directory with mode 0700`);
  }
  const socket = statSync(path);
  if (socket.uid !== uid()) {
    throw new Unsafe(`${path} belongs to user ${socket.uid}, you are ${uid()}; nothing was sent`);
  }
}
