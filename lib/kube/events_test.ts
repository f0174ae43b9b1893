/**
 * Events, as the server gets them.
 *
 * @module
 */
import assert from "node:assert/strict";
import { connectTo } from "../../tests/api_server/fixture.ts";
import { findTypeOfManifest } from "../../tests/api_server/resources.ts";
import {
  type ApiServer,
  startApiServer,
} from "../../tests/api_server/server.ts";
import { waitUntil } from "../../tests/api_server/wait.ts";
import { createApi } from "./api.ts";
import {
  createEventRecorder,
  type EventRecorder,
  type EventRecorderOptions,
  type PodEvent,
} from "./events.ts";

const forever = new AbortController().signal;

interface Fixture extends AsyncDisposable {
  readonly server: ApiServer;
  readonly recorder: EventRecorder;
  /** The events that the server has, in the order of their creation. */
  // deno-lint-ignore no-explicit-any -- objects of a server, looked at by tests only
  sent(): any[];
}

async function start(
  options: Partial<EventRecorderOptions> = {},
): Promise<Fixture> {
  const server = await startApiServer();
  const connected = await connectTo(server);
  const api = createApi({
    credentials: connected.credentials,
    pace: { outage: { minMs: 1, maxMs: 5 } },
  });
  const recorder = createEventRecorder({ api, nodeName: "node-1", ...options });
  const type = findTypeOfManifest("v1", "Event");
  assert.ok(type);
  return {
    server,
    recorder,
    sent: () =>
      server.store.list(type).sort((a, b) =>
        Number(a.metadata.resourceVersion) - Number(b.metadata.resourceVersion)
      ),
    [Symbol.asyncDispose]: async () => {
      await recorder[Symbol.asyncDispose]();
      await connected[Symbol.asyncDispose]();
      await server.stop();
    },
  };
}

function event(message: string, more: Partial<PodEvent> = {}): PodEvent {
  const pod = { namespace: "default", name: "a", uid: "uid-a" };
  return { pod, type: "Normal", reason: "AddedInterface", message, ...more };
}

Deno.test("createEventRecorder() says what people look for", async () => {
  await using fixture = await start({
    now: () => Date.UTC(2026, 0, 2, 3, 4, 5, 678),
  });
  const { recorder, sent } = fixture;
  recorder.post(event("Add net1 [10.1.1.2/24] from default/net-a"));
  await recorder.drain(forever);
  const [{ metadata, apiVersion, kind, ...rest }] = sent();
  assert.deepEqual([apiVersion, kind, metadata.namespace], [
    "v1",
    "Event",
    "default",
  ]);
  assert.match(metadata.name, /^a\.[0-9a-f]{16}$/);
  assert.deepEqual(rest, {
    involvedObject: {
      apiVersion: "v1",
      kind: "Pod",
      namespace: "default",
      name: "a",
      uid: "uid-a",
    },
    type: "Normal",
    reason: "AddedInterface",
    message: "Add net1 [10.1.1.2/24] from default/net-a",
    count: 1,
    firstTimestamp: "2026-01-02T03:04:05Z",
    lastTimestamp: "2026-01-02T03:04:05Z",
    source: { component: "multus", host: "node-1" },
    reportingComponent: "multus",
    reportingInstance: "node-1",
  });
});

Deno.test("createEventRecorder() says of a node what `kubectl describe node` shows, and counts that up, too", async () => {
  await using fixture = await start();
  const { recorder, sent } = fixture;
  const what = { node: "node-1", type: "Warning", reason: "R" } as const;
  recorder.post({ ...what, message: "one" });
  await recorder.drain(forever);
  recorder.post({ ...what, message: "one" });
  recorder.post(
    event("of a pod", {
      pod: { namespace: "default", name: "node-1", uid: "node-1" },
    }),
  );
  await recorder.drain(forever);
  const [first, second] = sent();
  assert.deepEqual(first.involvedObject, {
    apiVersion: "v1",
    kind: "Node",
    name: "node-1",
    uid: "node-1",
  });
  assert.deepEqual(
    [
      first.metadata.namespace,
      first.type,
      first.reason,
      first.message,
      first.count,
    ],
    ["default", "Warning", "R", "one", 2],
  );
  assert.deepEqual([second.involvedObject.kind, second.count], ["Pod", 1]);
});

Deno.test("createEventRecorder() counts up what is said again", async () => {
  const clock = { ms: 0 };
  await using fixture = await start({ now: () => clock.ms });
  const { server, recorder, sent } = fixture;
  const say = async (times: number, message = "x"): Promise<void> => {
    for (let i = 0; i < times; i += 1) recorder.post(event(message));
    await recorder.drain(forever);
  };
  await say(3);
  await say(2);
  assert.deepEqual(sent().map(({ count }) => count), [5]);
  await say(1, "another");
  assert.deepEqual(sent().map(({ count }) => count), [5, 1]);
  // The server has forgotten it: events live for an hour.
  for (const { metadata } of sent()) server.delete("Event", metadata.name);
  await say(1);
  assert.deepEqual(sent().map(({ message, count }) => [message, count]), [[
    "x",
    1,
  ]]);
  clock.ms += 3_600_000;
  await say(1);
  assert.deepEqual(sent().map(({ message, count }) => [message, count]), [[
    "x",
    1,
  ], ["x", 1]]);
});

Deno.test("createEventRecorder() joins what waits for one pod when it may not say all", async () => {
  await using fixture = await start({ burst: 1, perSecond: 1_000 });
  const { recorder, sent } = fixture;
  const other = { namespace: "default", name: "b", uid: "uid-b" };
  recorder.post(event("one"));
  recorder.post(event("two"));
  recorder.post(event("three", { pod: other }));
  recorder.post(event("four", { reason: "NoNetworkFound", type: "Warning" }));
  recorder.post(event("five"));
  await recorder.drain(forever);
  const said = sent().map(({ involvedObject, message }) =>
    `${involvedObject.name}: ${message}`
  );
  assert.deepEqual(said, ["a: one\ntwo\nfive", "b: three", "a: four"]);
});

Deno.test("createEventRecorder() says one by one what a pod alone has to say", async () => {
  await using fixture = await start();
  const { recorder, sent } = fixture;
  for (const message of ["one", "two", "three"]) recorder.post(event(message));
  await recorder.drain(forever);
  assert.deepEqual(sent().map(({ message }) => message), [
    "one",
    "two",
    "three",
  ]);
});

Deno.test("createEventRecorder() sends few requests however much is said", async () => {
  await using fixture = await start({ burst: 10, perSecond: 1_000 });
  const { server, recorder, sent } = fixture;
  for (let pod = 0; pod < 200; pod += 1) {
    for (let net = 0; net < 3; net += 1) {
      recorder.post(
        event(`Add net${net}`, {
          pod: { namespace: "default", name: `p${pod}`, uid: `${pod}` },
        }),
      );
    }
  }
  await recorder.drain(forever);
  assert.equal(server.log.count({ resource: "events" }), 200);
  assert.equal(
    sent().flatMap(({ message }) => message.split("\n")).length,
    600,
  );
});

Deno.test("createEventRecorder() keeps to its rate", async () => {
  await using fixture = await start({ burst: 1, perSecond: 20 });
  const { recorder } = fixture;
  const from = performance.now();
  for (let i = 0; i < 5; i += 1) {
    recorder.post(
      event("x", { pod: { namespace: "default", name: `p${i}`, uid: `${i}` } }),
    );
  }
  await recorder.drain(forever);
  assert.ok(performance.now() - from >= 4 * 50 - 10);
});

Deno.test("createEventRecorder() cuts a text to what the API takes", async () => {
  await using fixture = await start();
  const { recorder, sent } = fixture;
  recorder.post(event("ä".repeat(2_000)));
  await recorder.drain(forever);
  const [{ message }] = sent();
  assert.ok(new TextEncoder().encode(message).length <= 1_024);
  assert.match(message, /^ä+\.\.\.$/);
});

Deno.test("createEventRecorder() never fails, whatever the server does", async (t) => {
  const table: [
    what: string,
    fault: { status?: number; cut?: boolean; times?: number },
    dropped: number,
  ][] = [
    ["403", { status: 403 }, 1],
    ["404", { status: 404 }, 1],
    ["500 once", { status: 500, times: 1 }, 0],
    ["500 always", { status: 500 }, 1],
    ["cut once", { cut: true, times: 1 }, 0],
  ];
  for (const [what, fault, dropped] of table) {
    await t.step(what, async () => {
      await using fixture = await start();
      const { server, recorder, sent } = fixture;
      server.faults.add(fault);
      recorder.post(event("x"));
      await recorder.drain(forever);
      assert.equal(recorder.dropped(), dropped);
      assert.equal(sent().length, 1 - dropped);
    });
  }
});

Deno.test("createEventRecorder() counts an event as said that is there already", async () => {
  await using fixture = await start();
  const { server, recorder } = fixture;
  server.faults.add({ match: { verb: "create" }, status: 409, times: 1 });
  recorder.post(event("x"));
  await recorder.drain(forever);
  assert.equal(recorder.dropped(), 0);
});

Deno.test("createEventRecorder() holds no more than its bound, and nothing when it is disposed of", async () => {
  const fixture = await start({ waitingMax: 10 });
  const { server, recorder } = fixture;
  server.faults.add({ hang: true });
  recorder.post(event("first"));
  await waitUntil(() => server.inFlight === 1, {
    what: "the first is being sent",
  });
  for (let i = 0; i < 30; i += 1) recorder.post(event(`${i}`));
  assert.equal(recorder.dropped(), 20);
  assert.equal(recorder.pending(), 11);
  await assert.rejects(
    recorder.drain(AbortSignal.abort(new RangeError("late"))),
    RangeError,
  );
  await fixture[Symbol.asyncDispose]();
  recorder.post(event("late"));
  assert.equal(recorder.pending(), 10);
});

Deno.test("createEventRecorder() drops from the pod that has most to say", async () => {
  await using fixture = await start({ waitingMax: 10 });
  const { recorder, sent } = fixture;
  const podOf = (name: string): PodEvent["pod"] => ({
    namespace: "default",
    name,
    uid: name,
  });
  // Nothing is sent before the first turn is over.
  recorder.post(event("quiet 0", { pod: podOf("quiet") }));
  recorder.post(event("quiet 1", { pod: podOf("quiet") }));
  for (let i = 0; i < 30; i += 1) {
    recorder.post(event(`loud ${i}`, { pod: podOf("loud") }));
  }
  recorder.post(event("late", { pod: podOf("late") }));
  assert.equal(recorder.dropped(), 23);
  await recorder.drain(forever);
  const said = new Set(sent().flatMap(({ message }) => message.split("\n")));
  for (const message of ["quiet 0", "quiet 1", "late", "loud 29", "loud 23"]) {
    assert.ok(said.has(message), message);
  }
  assert.ok(!said.has("loud 22"));
});
