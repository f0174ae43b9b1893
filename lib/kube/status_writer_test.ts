/**
 * The queue of statuses, with writes that the test decides on.
 *
 * @module
 */
import assert from "node:assert/strict";
import { waitUntil } from "../../tests/api_server/wait.ts";
import { ApiStatusError, ApiUnavailableError } from "./error.ts";
import {
  createStatusWriter,
  type StatusEvent,
  type StatusTarget,
  type StatusWriter,
  type StatusWriterOptions,
} from "./status_writer.ts";

const forever = new AbortController().signal;

interface Write {
  readonly pod: StatusTarget;
  readonly statusJson: string;
  readonly signal: AbortSignal;
  readonly end: PromiseWithResolvers<"written" | "gone">;
}

interface Fixture extends AsyncDisposable {
  readonly writer: StatusWriter;
  readonly writes: Write[];
  readonly events: StatusEvent[];
}

function start(options: Partial<StatusWriterOptions> = {}): Fixture {
  const writes: Write[] = [];
  const events: StatusEvent[] = [];
  const writer = createStatusWriter({
    write: (pod, statusJson, { signal }) => {
      const end = Promise.withResolvers<"written" | "gone">();
      signal.addEventListener("abort", () => end.reject(signal.reason), {
        once: true,
      });
      writes.push({ pod, statusJson, signal, end });
      return end.promise;
    },
    onEvent: (event) => events.push(event),
    backOff: { minMs: 1, maxMs: 4 },
    ...options,
  });
  return {
    writer,
    writes,
    events,
    [Symbol.asyncDispose]: () => writer[Symbol.asyncDispose](),
  };
}

function pod(name: string, uid = `uid-${name}`): StatusTarget {
  return { namespace: "default", name, uid };
}

async function count(writes: readonly Write[], wanted: number): Promise<void> {
  await waitUntil(() => writes.length >= wanted, { what: `${wanted} writes` });
}

Deno.test("createStatusWriter() writes in the background and tells what became of it", async () => {
  await using fixture = start();
  const { writer, writes, events } = fixture;
  await writer.drain(forever);
  writer.enqueue(pod("a"), "[1]");
  writer.enqueue(pod("b"), "[2]");
  assert.equal(writer.pending(), 2);
  writes[0]?.end.resolve("written");
  writes[1]?.end.resolve("gone");
  await writer.drain(forever);
  assert.equal(writer.pending(), 0);
  assert.deepEqual(events, [{ pod: pod("a"), outcome: "written" }, {
    pod: pod("b"),
    outcome: "gone",
  }]);
});

Deno.test("createStatusWriter() tries again until it is written", async () => {
  await using fixture = start();
  const { writer, writes, events } = fixture;
  writer.enqueue(pod("a"), "[]");
  const failures = [
    new ApiUnavailableError("down"),
    new ApiStatusError(409, "Conflict", "modified"),
    new ApiStatusError(403, "Forbidden", "not yet"),
  ];
  for (const [index, failure] of failures.entries()) {
    await count(writes, index + 1);
    writes[index]?.end.reject(failure);
  }
  await count(writes, 4);
  writes[3]?.end.resolve("written");
  await writer.drain(forever);
  assert.deepEqual(events.map(({ outcome }) => outcome), [
    "failed",
    "failed",
    "failed",
    "written",
  ]);
});

Deno.test("createStatusWriter() gives up what the server will never take", async () => {
  for (const status of [400, 413, 422]) {
    await using fixture = start();
    const { writer, writes, events } = fixture;
    writer.enqueue(pod("a"), "[]");
    writes[0]?.end.reject(new ApiStatusError(status, "Invalid", "too long"));
    await writer.drain(forever);
    assert.deepEqual(events.map(({ outcome }) => outcome), ["refused"]);
  }
});

Deno.test("createStatusWriter() writes only the newest of a pod", async () => {
  await using fixture = start({ concurrency: 1 });
  const { writer, writes } = fixture;
  for (const text of ["[1]", "[2]"]) writer.enqueue(pod("a"), text);
  for (const text of ["[3]", "[4]"]) writer.enqueue(pod("b"), text);
  assert.equal(writer.pending(), 2);
  writes[0]?.end.resolve("written");
  await count(writes, 2);
  writes[1]?.end.resolve("written");
  await count(writes, 3);
  writes[2]?.end.resolve("written");
  await writer.drain(forever);
  // What came while the first was under way is written after it.
  assert.deepEqual(writes.map(({ statusJson }) => statusJson), [
    "[1]",
    "[2]",
    "[4]",
  ]);
});

Deno.test("createStatusWriter() writes what came newer while one failed", async () => {
  await using fixture = start();
  const { writer, writes } = fixture;
  writer.enqueue(pod("a"), "[1]");
  writer.enqueue(pod("a"), "[2]");
  writes[0]?.end.reject(new ApiUnavailableError("down"));
  await count(writes, 2);
  writes[1]?.end.resolve("written");
  await writer.drain(forever);
  assert.deepEqual(writes.map(({ statusJson }) => statusJson), ["[1]", "[2]"]);
});

Deno.test("createStatusWriter() forgets a pod that was replaced or deleted", async () => {
  await using fixture = start();
  const { writer, writes } = fixture;
  writer.enqueue(pod("a", "old"), "[1]");
  writer.enqueue(pod("a", "new"), "[2]");
  assert.ok(writes[0]?.signal.aborted);
  assert.equal(writes[1]?.pod.uid, "new");
  writer.forget(pod("a"));
  assert.ok(writes[1]?.signal.aborted);
  await writer.drain(forever);
  writer.forget(pod("none"));
});

Deno.test("createStatusWriter() is bounded in writes and in pods", async () => {
  await using fixture = start({ concurrency: 2, podsMax: 3 });
  const { writer, writes, events } = fixture;
  for (const name of ["a", "b", "c", "d"]) writer.enqueue(pod(name), "[]");
  assert.equal(writer.pending(), 3);
  assert.deepEqual(events, [{ pod: pod("a"), outcome: "dropped" }]);
  await count(writes, 3);
  assert.deepEqual(writes.map(({ pod }) => pod.name), ["a", "b", "c"]);
  writes[1]?.end.resolve("written");
  await count(writes, 4);
  for (const { end } of writes) end.resolve("written");
  await writer.drain(forever);
});

Deno.test("createStatusWriter() drains no longer than the signal says, and stops when it is disposed of", async () => {
  const fixture = start();
  const { writer, writes } = fixture;
  writer.enqueue(pod("a"), "[]");
  await assert.rejects(
    writer.drain(AbortSignal.abort(new RangeError("late"))),
    RangeError,
  );
  const late = new AbortController();
  const draining = writer.drain(late.signal);
  late.abort(new RangeError("late"));
  await assert.rejects(draining, RangeError);
  await fixture[Symbol.asyncDispose]();
  assert.ok(writes[0]?.signal.aborted);
  writer.enqueue(pod("b"), "[]");
  assert.equal(writer.pending(), 0);
});
