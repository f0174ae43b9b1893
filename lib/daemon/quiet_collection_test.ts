import { equal, ok } from "node:assert/strict";
import { startQuietCollection } from "./quiet_collection.ts";

const QUIET_MS = 30;

/** A collector that counts, and can be waited for. */
function createCollector(): {
  collect: () => void;
  next: () => Promise<void>;
  times: number[];
} {
  const times: number[] = [];
  let waiting = Promise.withResolvers<void>();
  return {
    times,
    next: () => waiting.promise,
    collect: () => {
      times.push(performance.now());
      waiting.resolve();
      waiting = Promise.withResolvers();
    },
  };
}

Deno.test("startQuietCollection() collects after the start, and once after work when nothing more comes", async () => {
  const { collect, next, times } = createCollector();
  using collection = startQuietCollection({
    collect,
    quietMs: QUIET_MS,
    startMs: 0,
  });
  await next();
  const collected = next();
  for (let at = 0; at < 3; at++) collection.noteWork();
  const workedAt = performance.now();
  await collected;
  equal(times.length, 2);
  const quietMs = (times[1] ?? 0) - workedAt;
  // Timers count whole milliseconds.
  ok(quietMs >= QUIET_MS - 2, `after ${quietMs} ms`);
});

Deno.test("startQuietCollection() keeps no timer when it is disposed of, and needs no collector", () => {
  using collection = startQuietCollection({ collect: undefined });
  collection.noteWork();
});
