/**
 * One agent's work on a thread: reserve, capture, check, give back; and what the daemon tells of it.
 *
 *     npm run build && node dist/examples/agent.js /path/to/your/repository
 */

import { writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { Client, refusals } from "@heddled/client";

const repo = resolve(process.argv[2] ?? ".");
await using client = await Client.connect();
await using events = await client.subscribe({ repo });

try {
  const wanted = {
    repo,
    thread: "agent/typescript-example",
    at_tip: true,
    worktree: {}, // a directory of its own, with the thread checked out
    task: "show how a harness uses the client",
    hold_for_pid: process.pid, // the thread is free as soon as this process is gone
  };
  await client.holding(wanted, async (mine) => {
    console.log("holding", mine.thread, "with fencing token", mine.fencing_token);
    await writeFile(join(mine.path ?? repo, "greeting.txt"), "hello\n");
    const { capture } = await mine.capture({ message: "Say hello", confidence: 0.9 });
    console.log("captured", ...capture.changed_paths);
    const checked = await mine.ready({ verification: { tests_passed: 1, tests_failed: 0 } });
    console.log(`${checked.status}; next: ${checked.recommended_action}`);
  });
  // Released as `complete` here; an exception within would have made it `abandoned`.
} catch (error) {
  if (error instanceof refusals.LiveOwner) {
    console.error(`${error.details.owner.session_id} has the thread; see: ${error.primary_command}`);
    process.exit(1);
  }
  throw error;
}

for await (const event of events) {
  console.log("event", event.revision, event.kind, event.thread);
  if (event.kind === "released") {
    break;
  }
}
