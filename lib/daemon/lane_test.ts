import assert from "node:assert/strict";
import fc from "fast-check";
import { CniError } from "../cni/error.ts";
import { createLane } from "./lane.ts";

const never = new AbortController().signal;

Deno.test("createLane() refuses a lane without a place", () => {
  for (const slots of [0, -1, 0.5, NaN]) {
    assert.throws(
      () => createLane("ADD", { slots, waitingMax: 1 }),
      RangeError,
    );
  }
});

Deno.test("acquire() gives places in order of arrival", async () => {
  const lane = createLane("ADD", { slots: 1, waitingMax: 10 });
  const order: number[] = [];
  const first = await lane.acquire(never);
  const others = [1, 2, 3].map(async (number) => {
    using _place = await lane.acquire(never);
    order.push(number);
  });
  assert.equal(lane.queued, 3);
  first[Symbol.dispose]();
  await Promise.all(others);
  assert.deepEqual(order, [1, 2, 3]);
  assert.equal(lane.inFlight, 0);
});

Deno.test("acquire() gives a place back once, however often it is disposed of", async () => {
  const lane = createLane("ADD", { slots: 1, waitingMax: 1 });
  const place = await lane.acquire(never);
  place[Symbol.dispose]();
  place[Symbol.dispose]();
  assert.equal(lane.inFlight, 0);
  using _one = await lane.acquire(never);
  assert.equal(lane.inFlight, 1);
});

Deno.test("acquire() throws the reason when the signal is aborted while waiting, and the next one moves up", async () => {
  const lane = createLane("ADD", { slots: 1, waitingMax: 10 });
  const place = await lane.acquire(never);
  const gone = new AbortController();
  const aborted = lane.acquire(gone.signal);
  const next = lane.acquire(never);
  const reason = new TypeError("Gone");
  gone.abort(reason);
  await assert.rejects(aborted, reason);
  place[Symbol.dispose]();
  using _next = await next;
  assert.deepEqual([lane.inFlight, lane.queued], [1, 0]);
});

Deno.test("acquire() throws at once when the signal is aborted already", async () => {
  const lane = createLane("ADD", { slots: 1, waitingMax: 10 });
  await assert.rejects(lane.acquire(AbortSignal.abort("gone")));
  assert.equal(lane.inFlight, 0);
});

Deno.test("acquire() keeps the place when the abort comes after it was given", async () => {
  const lane = createLane("ADD", { slots: 1, waitingMax: 10 });
  const first = await lane.acquire(never);
  const late = new AbortController();
  const waiting = lane.acquire(late.signal);
  first[Symbol.dispose]();
  late.abort();
  const place = await waiting;
  assert.equal(lane.inFlight, 1);
  place[Symbol.dispose]();
  assert.equal(lane.inFlight, 0);
});

Deno.test("acquire() throws code 11 when the queue is full", async () => {
  const lane = createLane("ADD", { slots: 1, waitingMax: 1 });
  using first = await lane.acquire(never);
  const waiting = lane.acquire(never);
  await assert.rejects(
    lane.acquire(never),
    (error) =>
      error instanceof CniError && error.code === 11 &&
      error.message === "Too many ADD requests are waiting: 1",
  );
  first[Symbol.dispose]();
  (await waiting)[Symbol.dispose]();
});

Deno.test("acquire() never gives more places than there are, whatever comes and goes", async () => {
  const step = fc.oneof(
    fc.constant({ kind: "enter" as const }),
    fc.record({ kind: fc.constant("leave" as const), at: fc.nat(20) }),
    fc.record({ kind: fc.constant("abort" as const), at: fc.nat(20) }),
  );
  await fc.assert(
    fc.asyncProperty(
      fc.integer({ min: 1, max: 4 }),
      fc.array(step, { maxLength: 60 }),
      async (slots, steps) => {
        const lane = createLane("ADD", { slots, waitingMax: 100 });
        const held: Disposable[] = [];
        const signals: AbortController[] = [];
        const all: Promise<unknown>[] = [];
        for (const step of steps) {
          if (step.kind === "enter") {
            const controller = new AbortController();
            signals.push(controller);
            const place = lane.acquire(controller.signal);
            all.push(place.then((place) => held.push(place), () => {}));
          } else if (step.kind === "leave") {
            held.splice(step.at, 1)[0]?.[Symbol.dispose]();
          } else signals[step.at]?.abort();
          await Promise.resolve();
          assert.ok(lane.inFlight <= slots);
          assert.ok(lane.queued === 0 || lane.inFlight === slots);
        }
        for (const controller of signals) controller.abort();
        await Promise.all(all);
        assert.equal(lane.inFlight, held.length);
        for (const place of held) place[Symbol.dispose]();
        assert.deepEqual([lane.inFlight, lane.queued], [0, 0]);
      },
    ),
  );
});
