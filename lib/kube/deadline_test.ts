/**
 * Deadlines within a caller's signal.
 *
 * @module
 */
import assert from "node:assert/strict";
import { waitUntil } from "../../tests/api_server/wait.ts";
import { startDeadline } from "./deadline.ts";

const NEVER_MS = 1_000_000;

Deno.test("startDeadline() aborts when its own time is up", async () => {
  using deadline = startDeadline(new AbortController().signal, 1);
  await waitUntil(() => deadline.signal.aborted, { what: "the deadline" });
  assert.ok(deadline.expired);
  assert.equal(deadline.signal.reason.name, "TimeoutError");
});

Deno.test("startDeadline() aborts with its parent, and says that it was the parent", () => {
  const parent = new AbortController();
  using deadline = startDeadline(parent.signal, NEVER_MS);
  parent.abort(new RangeError("enough"));
  assert.ok(!deadline.expired && deadline.signal.reason instanceof RangeError);
  using late = startDeadline(parent.signal, NEVER_MS);
  assert.ok(late.signal.aborted && !late.expired);
});

Deno.test("startDeadline() can be given another length", async () => {
  using deadline = startDeadline(new AbortController().signal, NEVER_MS);
  deadline.extend(1);
  await waitUntil(() => deadline.expired, { what: "the shorter deadline" });
  assert.match(deadline.signal.reason.message, /within 1 ms/);
});

Deno.test("startDeadline() leaves nothing on its parent when it is disposed of", () => {
  const parent = new AbortController();
  const deadline = startDeadline(parent.signal, NEVER_MS);
  deadline[Symbol.dispose]();
  parent.abort();
  assert.ok(!deadline.signal.aborted);
});
