/**
 * Reads that several share.
 *
 * @module
 */
import assert from "node:assert/strict";
import { createSharedReads } from "./shared_reads.ts";

/** A read that ends when it is told to. */
function controlledRead(): {
  read: (key: string, signal: AbortSignal) => Promise<string>;
  started: {
    key: string;
    signal: AbortSignal;
    end: PromiseWithResolvers<string>;
  }[];
} {
  const started: {
    key: string;
    signal: AbortSignal;
    end: PromiseWithResolvers<string>;
  }[] = [];
  return {
    started,
    read: (key, signal) => {
      const end = Promise.withResolvers<string>();
      signal.addEventListener("abort", () => end.reject(signal.reason), {
        once: true,
      });
      started.push({ key, signal, end });
      return end.promise;
    },
  };
}

const forever = new AbortController().signal;

Deno.test("createSharedReads() reads once for all who ask at the same time", async () => {
  const { read, started } = controlledRead();
  const reads = createSharedReads(read);
  const asked = [
    reads.read("a", forever),
    reads.read("a", forever),
    reads.read("b", forever),
  ];
  assert.deepEqual(started.map(({ key }) => key), ["a", "b"]);
  for (const { key, end } of started) end.resolve(key);
  assert.deepEqual(await Promise.all(asked), [
    { value: "a", joined: false },
    { value: "a", joined: true },
    { value: "b", joined: false },
  ]);
  const again = reads.read("a", forever);
  assert.equal(started.length, 3);
  started[2]?.end.resolve("new");
  assert.deepEqual(await again, { value: "new", joined: false });
});

Deno.test("createSharedReads() goes on while anybody waits, and stops after", async () => {
  const { read, started } = controlledRead();
  const reads = createSharedReads(read);
  const [first, second] = [new AbortController(), new AbortController()];
  const asked = [reads.read("a", first.signal), reads.read("a", second.signal)];
  first.abort(new RangeError("first"));
  await assert.rejects(asked[0] ?? Promise.resolve(), RangeError);
  assert.ok(!started[0]?.signal.aborted);
  second.abort(new RangeError("second"));
  await assert.rejects(asked[1] ?? Promise.resolve(), RangeError);
  assert.ok(started[0]?.signal.aborted);
  await assert.rejects(reads.read("a", first.signal), RangeError);
  assert.equal(started.length, 1);
});

Deno.test("createSharedReads() tells everybody of a failure", async () => {
  const { read, started } = controlledRead();
  const reads = createSharedReads(read);
  const asked = [reads.read("a", forever), reads.read("a", forever)];
  started[0]?.end.reject(new SyntaxError("no"));
  for (const one of asked) await assert.rejects(one, SyntaxError);
});
