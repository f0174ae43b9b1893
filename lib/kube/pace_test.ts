/**
 * The pace of requests, with a clock of the test's.
 *
 * @module
 */
import assert from "node:assert/strict";
import { waitUntil } from "../../tests/api_server/wait.ts";
import { ApiUnavailableError } from "./error.ts";
import { createPace, type Pace, PACE_LIMITS, type Turn } from "./pace.ts";

const forever = new AbortController().signal;
const DOWN = { ok: false, reason: "down" };

function paceAt(
  clock: { ms: number },
  limits: Partial<typeof PACE_LIMITS> = {},
): Pace {
  return createPace({ ...PACE_LIMITS, ...limits }, {
    now: () => clock.ms,
    random: () => 1,
  });
}

/** Asks for turns without waiting for them; those granted are collected. */
function ask(pace: Pace, count: number, signal: AbortSignal = forever): Turn[] {
  const turns: Turn[] = [];
  for (let i = 0; i < count; i += 1) {
    pace.enter(signal).then((turn) => turns.push(turn), () => {});
  }
  return turns;
}

/** All that can happen without a timer has happened. */
async function settle(): Promise<void> {
  for (let i = 0; i < 20; i += 1) await Promise.resolve();
}

Deno.test("createPace() lets so many in at once, in order of arrival", async () => {
  const pace = paceAt({ ms: 0 }, { concurrency: 3 });
  const turns = ask(pace, 5);
  await settle();
  assert.equal(turns.length, 3);
  turns[0]?.end({ ok: true });
  turns[0]?.end({ ok: true });
  await settle();
  assert.equal(turns.length, 4);
  turns[1]?.end();
  await settle();
  assert.equal(turns.length, 5);
});

Deno.test("createPace() keeps to its rate after a burst", async () => {
  const clock = { ms: 0 };
  const pace = paceAt(clock, { burst: 5, perSecond: 10, concurrency: 100 });
  const stop = new AbortController();
  const turns = ask(pace, 9, stop.signal);
  await settle();
  assert.equal(turns.length, 5);
  clock.ms = 200;
  turns[0]?.end({ ok: true });
  await settle();
  assert.equal(turns.length, 7);
  stop.abort();
  await settle();
});

Deno.test("createPace() closes after failures in a row, then lets one look at a time", async () => {
  const clock = { ms: 0 };
  const pace = paceAt(clock, { outage: { minMs: 1_000, maxMs: 4_000 } });
  for (let i = 0; i < PACE_LIMITS.failuresMax; i += 1) {
    assert.ok(!pace.closed);
    (await pace.enter(forever)).end(DOWN);
  }
  assert.ok(pace.closed);
  assert.equal(pace.problem, "down");
  const turns = ask(pace, 50);
  for (const waitMs of [1_000, 2_000, 4_000, 4_000]) {
    const before = turns.length;
    clock.ms += waitMs - 1;
    await settle();
    assert.equal(turns.length, before, `early look after ${waitMs} ms`);
    clock.ms += 1;
    // Whoever comes now wakes nobody, but looks if it is time.
    const [look] = [await pace.enter(forever)];
    await settle();
    assert.equal(turns.length, before);
    look?.end(DOWN);
  }
  clock.ms += 4_000;
  (await pace.enter(forever)).end({ ok: true });
  await waitUntil(() => turns.length >= PACE_LIMITS.concurrency, {
    what: "the gate is open",
  });
  assert.ok(!pace.closed);
  while (turns.length > 0) {
    turns.pop()?.end({ ok: true });
    await settle();
  }
});

Deno.test("createPace() does as Retry-After says, within reason", async () => {
  const clock = { ms: 0 };
  const pace = paceAt(clock);
  (await pace.enter(forever)).end({ ok: false, retryAfterMs: 5_000 });
  assert.ok(pace.closed);
  clock.ms = 5_000;
  assert.ok(!pace.closed);
  (await pace.enter(forever)).end({ ok: false, retryAfterMs: 3_600_000 });
  clock.ms = 65_000;
  assert.ok(!pace.closed);
});

Deno.test("createPace() learns nothing from a turn that was given back", async () => {
  const pace = paceAt({ ms: 0 });
  for (let i = 0; i < 10; i += 1) (await pace.enter(forever)).end();
  assert.ok(!pace.closed && pace.problem === undefined);
});

Deno.test("createPace() lets waiters go with their signal, and says why the server is down", async () => {
  const clock = { ms: 0 };
  const pace = paceAt(clock);
  for (let i = 0; i < PACE_LIMITS.failuresMax; i += 1) {
    (await pace.enter(forever)).end(DOWN);
  }
  await assert.rejects(
    pace.enter(AbortSignal.abort(new RangeError("gone"))),
    RangeError,
  );
  const late = new AbortController();
  const waiting = pace.enter(late.signal);
  late.abort(new DOMException("late", "TimeoutError"));
  await assert.rejects(waiting, (error: unknown) => {
    assert.ok(error instanceof ApiUnavailableError);
    assert.equal(error.reason, "down");
    return true;
  });
});
