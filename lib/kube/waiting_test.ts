/**
 * Waits: how long, and that they end.
 *
 * @module
 */
import assert from "node:assert/strict";
import fc from "fast-check";
import { backOffMs, pause, until } from "./waiting.ts";

Deno.test("backOffMs() stays between half of its exponential value and the limit", () => {
  const unit = fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true });
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 10_000 }), unit, (failures, at) => {
      const ms = backOffMs(failures, {
        minMs: 10,
        maxMs: 1_000,
        random: () => at,
      });
      assert.ok(ms >= 5 && ms <= 1_000);
    }),
  );
});

Deno.test("backOffMs() doubles with each failure", () => {
  const waits = [1, 2, 3, 4, 5].map((failures) =>
    backOffMs(failures, { minMs: 10, maxMs: 60, random: () => 1 })
  );
  assert.deepEqual(waits, [10, 20, 40, 60, 60]);
});

Deno.test("pause() ends with its signal", async () => {
  await pause(0, new AbortController().signal);
  const controller = new AbortController();
  const waiting = pause(1_000_000, controller.signal);
  controller.abort(new RangeError("enough"));
  await assert.rejects(waiting, RangeError);
  await assert.rejects(pause(1_000_000, controller.signal), RangeError);
});

Deno.test("until() gives what the promise gives, or the signal's reason", async () => {
  const controller = new AbortController();
  assert.equal(await until(Promise.resolve(1), controller.signal), 1);
  await assert.rejects(
    until(Promise.reject(new SyntaxError("no")), controller.signal),
    SyntaxError,
  );
  const { promise } = Promise.withResolvers<void>();
  const waiting = until(promise, controller.signal);
  controller.abort(new RangeError("enough"));
  await assert.rejects(waiting, RangeError);
  await assert.rejects(until(promise, controller.signal), RangeError);
});
