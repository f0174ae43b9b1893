/**
 * Requests against a server that fails in every way, never, once and always.
 *
 * @module
 */
import assert from "node:assert/strict";
import type { Fault } from "../../tests/api_server/faults.ts";
import { connectTo, podManifest } from "../../tests/api_server/fixture.ts";
import {
  type ApiServer,
  startApiServer,
} from "../../tests/api_server/server.ts";
import { waitUntil } from "../../tests/api_server/wait.ts";
import {
  type Api,
  type ApiOptions,
  createApi,
  type RequestEvent,
} from "./api.ts";
import { ApiStatusError, ApiUnavailableError } from "./error.ts";
import { EVENTS, PODS } from "./resource.ts";

const POD = { type: PODS, namespace: "default", name: "a" };
const forever = new AbortController().signal;
/** Short waits where a test goes through a series of failures. */
const QUICK = { outage: { minMs: 1, maxMs: 2 } };

interface Fixture extends AsyncDisposable {
  readonly server: ApiServer;
  readonly api: Api;
  readonly events: RequestEvent[];
}

async function start(options: Partial<ApiOptions> = {}): Promise<Fixture> {
  const server = await startApiServer({ objects: [podManifest("a")] });
  const connected = await connectTo(server);
  const events: RequestEvent[] = [];
  const api = createApi({
    credentials: connected.credentials,
    onRequest: (event) => events.push(event),
    pace: QUICK,
    ...options,
  });
  return {
    server,
    api,
    events,
    [Symbol.asyncDispose]: async () => {
      await connected[Symbol.asyncDispose]();
      await server.stop();
    },
  };
}

async function rejection<T extends Error>(
  promise: Promise<unknown>,
  kind: abstract new (...args: never[]) => T,
): Promise<T> {
  const error = await promise.then(() => undefined, (error: unknown) => error);
  assert.ok(error instanceof kind, String(error));
  return error;
}

/** What is asked, and what each failure of the server should come to when it lasts. */
const LASTING: [
  what: string,
  fault: Fault,
  outcome: "unavailable" | number,
  reason: RegExp,
][] = [
  [
    "401",
    { status: 401 },
    "unavailable",
    /^the server answered 401: answered 401 on purpose$/,
  ],
  ["403", { status: 403 }, 403, /403 Forbidden/],
  ["404", { status: 404 }, 404, /404 NotFound/],
  ["409", { status: 409 }, 409, /409 Conflict/],
  ["410", { status: 410 }, 410, /410 Expired/],
  ["422", { status: 422 }, 422, /422 Invalid/],
  ["429", { status: 429 }, "unavailable", /^the server answered 429/],
  ["500", { status: 500 }, "unavailable", /^the server answered 500/],
  [
    "503",
    { status: 503, message: "<html>\n busy" },
    "unavailable",
    /^the server answered 503: <html> busy$/,
  ],
  ["cut", { cut: true }, "unavailable", /body|connection|EOF/i],
  ["dropped", { drop: true }, "unavailable", /connection/i],
  ["hanging", { hang: true }, "unavailable", /^no answer in time$/],
];

Deno.test("createApi() sorts failures that last", async (t) => {
  await using fixture = await start({ attemptMs: 100 });
  const { server, api } = fixture;
  const asks: [what: string, ask: () => Promise<unknown>][] = [
    ["get", () => api.get(POD, { signal: forever, attempts: 2 })],
    ["patch", () => api.patch(POD, {}, { signal: forever })],
    [
      "create",
      () =>
        api.create({ type: EVENTS, namespace: "default" }, {}, {
          signal: forever,
        }),
    ],
  ];
  for (const [verb, ask] of asks) {
    for (const [what, fault, outcome, reason] of LASTING) {
      await t.step(`${verb}, ${what}`, async () => {
        const takeBack = server.faults.add(fault);
        if (outcome === "unavailable") {
          assert.match(
            (await rejection(ask(), ApiUnavailableError)).reason,
            reason,
          );
        } else {
          const error = await rejection(ask(), ApiStatusError);
          assert.equal(error.status, outcome);
          assert.match(error.message, reason);
        }
        takeBack();
        await api.get(POD, { signal: forever });
      });
    }
  }
});

Deno.test("createApi() gets over failures that pass", async (t) => {
  await using fixture = await start({ attemptMs: 100 });
  const { server, api } = fixture;
  for (const [what, fault, outcome] of LASTING) {
    if (outcome !== "unavailable") continue;
    await t.step(what, async () => {
      server.faults.add({ ...fault, times: 1 });
      server.log.clear();
      await api.get(POD, { signal: forever });
      assert.equal(server.log.count({ code: 200 }), fault.cut ? 2 : 1);
    });
  }
});

Deno.test("createApi() never tries a write twice by itself", async () => {
  await using fixture = await start();
  const { server, api } = fixture;
  server.faults.add({ status: 500 });
  await rejection(api.patch(POD, {}, { signal: forever }), ApiUnavailableError);
  assert.equal(server.log.count({ verb: "patch" }), 1);
  await rejection(
    api.patch(POD, {}, { signal: forever, attempts: 3 }),
    ApiUnavailableError,
  );
  assert.equal(server.log.count({ verb: "patch" }), 4);
});

Deno.test("createApi() says that nobody listens", async () => {
  await using fixture = await start();
  const { server, api } = fixture;
  await server.stop();
  const error = await rejection(
    api.get(POD, { signal: forever, attempts: 1 }),
    ApiUnavailableError,
  );
  assert.match(
    error.message,
    /^Kubernetes API is not available: tcp connect error: Connection refused$/,
  );
  await server.start();
  await api.get(POD, { signal: forever });
});

Deno.test("createApi() asks a server that is down next to nothing, and all of it when it is back", async () => {
  await using fixture = await start({
    pace: { outage: { minMs: 20, maxMs: 50 } },
  });
  const { server, api } = fixture;
  await server.stop();
  const all = Promise.allSettled(
    Array.from(
      { length: 200 },
      () => api.get(POD, { signal: forever, attempts: 1_000 }),
    ),
  );
  const asked = (): number =>
    fixture.events.filter(({ code }) => code === 0).length;
  await waitUntil(() => api.suspended, { what: "the outage is noticed" });
  const before = asked();
  const from = performance.now();
  await waitUntil(() => asked() >= before + 5, { what: "five looks" });
  const perSecond = (asked() - before) * 1_000 / (performance.now() - from);
  assert.ok(
    perSecond <= 1_000 / 10 + 5,
    `${perSecond} requests a second while down`,
  );
  assert.ok(before <= 16 + 3, `${before} requests before it is noticed`);
  await server.start();
  const settled = await all;
  assert.ok(settled.every(({ status }) => status === "fulfilled"));
});

Deno.test("createApi() waits as long as Retry-After says", async () => {
  await using fixture = await start();
  const { server, api } = fixture;
  server.faults.add({ status: 429, retryAfterS: 1, times: 1 });
  const from = performance.now();
  await api.get(POD, { signal: forever });
  assert.ok(performance.now() - from >= 990);
  assert.equal(server.log.count(), 2);
});

Deno.test("createApi() ends with the caller's signal", async () => {
  await using fixture = await start();
  const { server, api } = fixture;
  server.faults.add({ hang: true });
  const gone = new AbortController();
  const asked = api.get(POD, { signal: gone.signal });
  await waitUntil(() => server.inFlight === 1, { what: "it is asked" });
  gone.abort(new RangeError("client went away"));
  await assert.rejects(asked, RangeError);
  await rejection(
    api.get(POD, { signal: AbortSignal.timeout(50) }),
    ApiUnavailableError,
  );
  assert.ok(!api.suspended, "a hurried caller says nothing about the server");
});

Deno.test("createApi() tells of every request", async () => {
  await using fixture = await start();
  const { api, events } = fixture;
  await api.get(POD, { signal: forever });
  await rejection(
    api.get({ ...POD, name: "none" }, { signal: forever }),
    ApiStatusError,
  );
  await api.list({ type: PODS }, { signal: forever, onItem: () => {} });
  assert.deepEqual(
    events.map(({ verb, resource, code }) => `${verb} ${resource} ${code}`),
    [
      "get pods 200",
      "get pods 404",
      "list pods 200",
    ],
  );
  assert.ok(events.every(({ durationMs }) => durationMs > 0));
});

Deno.test("createApi() lists in pages", async () => {
  await using fixture = await start();
  const { server, api } = fixture;
  for (const name of ["b", "c"]) server.put(podManifest(name));
  const names: unknown[] = [];
  const onItem = (item: unknown): void =>
    void names.push((item as { metadata: { name: string } }).metadata.name);
  const first = await api.list({ type: PODS }, {
    signal: forever,
    onItem,
    query: { limit: 2 },
  });
  assert.deepEqual(names, ["a", "b"]);
  const last = await api.list({ type: PODS }, {
    signal: forever,
    onItem,
    query: { limit: 2, continue: first.continue },
  });
  assert.deepEqual(names, ["a", "b", "c"]);
  assert.deepEqual(last, {
    resourceVersion: first.resourceVersion,
    continue: undefined,
  });
});

Deno.test("createApi() gives a watch up that says nothing", async () => {
  await using fixture = await start();
  const { api } = fixture;
  const lines: string[] = [];
  const error = await rejection(
    api.watch({ type: PODS }, {
      signal: forever,
      idleMs: 50,
      onLine: (line) => lines.push(line),
    }),
    ApiUnavailableError,
  );
  assert.equal(error.reason, "no answer in time");
  assert.equal(lines.length, 1);
});
