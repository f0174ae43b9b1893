import assert from "node:assert/strict";
import { startTimeLimit } from "./time_limit.ts";

/** Longer than anything here takes, also on a machine that is busy. */
const LONG_MS = 60_000;

function ended(milliseconds: number, log: string[], name = ""): Promise<void> {
  return new Promise((resolve) => {
    startTimeLimit(milliseconds, () => {
      log.push(name);
      resolve();
    });
  });
}

Deno.test("startTimeLimit() calls back when the time is over, and not before", async () => {
  const start = performance.now();
  await ended(150, []);
  assert.ok(performance.now() - start >= 150);
});

Deno.test("startTimeLimit() calls back in order of time, whoever came first", async () => {
  const log: string[] = [];
  await Promise.all([
    ended(900, log, "late"),
    ended(1, log, "soon"),
    ended(450, log, "between"),
  ]);
  assert.deepEqual(log, ["soon", "between", "late"]);
});

Deno.test("startTimeLimit() does not keep a short limit waiting behind a long one", async () => {
  using _long = startTimeLimit(LONG_MS, () => assert.fail());
  // By then the timer is set for the long one.
  await new Promise((resolve) => setTimeout(resolve, 250));
  const start = performance.now();
  await ended(1, []);
  assert.ok(performance.now() - start < LONG_MS / 2);
});

Deno.test("startTimeLimit() calls nobody who has disposed of it, also while others are called", async () => {
  const log: string[] = [];
  const first = ended(1, log, "first").then(() => second[Symbol.dispose]());
  const second = startTimeLimit(200, () => log.push("second"));
  startTimeLimit(1, () => log.push("third"));
  using fourth = startTimeLimit(1, () => log.push("fourth"));
  fourth[Symbol.dispose]();
  await first;
  await ended(400, log, "last");
  assert.deepEqual(log, ["first", "third", "last"]);
});

Deno.test("startTimeLimit() can be called again by who was called", async () => {
  const log: string[] = [];
  await new Promise<void>((resolve) =>
    startTimeLimit(1, () => {
      log.push("outer");
      startTimeLimit(1, () => {
        log.push("inner");
        resolve();
      });
    })
  );
  assert.deepEqual(log, ["outer", "inner"]);
});

Deno.test("startTimeLimit() leaves no timer that keeps a process alive", async () => {
  const module = new URL("./time_limit.ts", import.meta.url).href;
  const code = `
    const { startTimeLimit } = await import("${module}");
    startTimeLimit(${LONG_MS}, () => {})[Symbol.dispose]();
  `;
  const { success } = await new Deno.Command(Deno.execPath(), {
    args: ["eval", "--no-config", "--no-lock", code],
    signal: AbortSignal.timeout(LONG_MS / 2),
  }).output();
  assert.ok(success);
});
