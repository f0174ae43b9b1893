/**
 * The cache that follows the API, through everything that happens to a watch.
 *
 * @module
 */
import assert from "node:assert/strict";
import { connectTo, podManifest } from "../../tests/api_server/fixture.ts";
import {
  type ApiServer,
  startApiServer,
} from "../../tests/api_server/server.ts";
import { waitUntil } from "../../tests/api_server/wait.ts";
import { createApi } from "./api.ts";
import { objectKey, type Pod, trimPod } from "./objects.ts";
import { PODS } from "./resource.ts";
import {
  createReflector,
  type Reflector,
  type ReflectorOptions,
} from "./watch.ts";

const forever = new AbortController().signal;

interface Fixture extends AsyncDisposable {
  readonly server: ApiServer;
  readonly pods: Reflector<Pod>;
  readonly failures: unknown[];
  readonly tokenFile: string;
}

async function start(
  options: Partial<ReflectorOptions<Pod>> & {
    manifests?: unknown[];
    freshMs?: number;
  } = {},
): Promise<Fixture> {
  const { manifests = [podManifest("a")], freshMs, ...reflector } = options;
  const server = await startApiServer({ objects: manifests });
  const connected = await connectTo(
    server,
    freshMs === undefined ? {} : { freshMs },
  );
  const failures: unknown[] = [];
  const pods = createReflector({
    api: createApi({
      credentials: connected.credentials,
      pace: { outage: { minMs: 1, maxMs: 10 } },
    }),
    type: PODS,
    trim: trimPod,
    keyOf: objectKey,
    backOff: { minMs: 1, maxMs: 10 },
    onFailure: (error) => failures.push(error),
    ...reflector,
  });
  return {
    server,
    pods,
    failures,
    tokenFile: connected.tokenFile,
    [Symbol.asyncDispose]: async () => {
      await pods[Symbol.asyncDispose]();
      await connected[Symbol.asyncDispose]();
      await server.stop();
    },
  };
}

/** Waits until the cache shows exactly these pods. */
async function shows(pods: Reflector<Pod>, names: string[]): Promise<void> {
  const shown = (): string =>
    pods.values().map(({ name }) => name).sort().join();
  await waitUntil(() => shown() === names.join(), { what: `pods ${names}` });
}

/** Waits until a watch is open. */
async function watching(server: ApiServer): Promise<void> {
  await waitUntil(() => server.openWatches === 1, { what: "a watch" });
}

Deno.test("createReflector() lists, then follows", async () => {
  await using fixture = await start();
  const { server, pods } = fixture;
  assert.ok(!pods.synced && pods.silentMs === Infinity && pods.size === 0);
  pods.start();
  pods.start();
  await pods.whenSynced(forever);
  assert.deepEqual(pods.get("default/a"), trimPod(server.get("Pod", "a")));
  server.put(podManifest("b"));
  await shows(pods, ["a", "b"]);
  server.put(podManifest("b", { uid: "new" }));
  await waitUntil(() => pods.get("default/b")?.uid === "new", {
    what: "the change",
  });
  server.delete("Pod", "a");
  await shows(pods, ["b"]);
  assert.equal(pods.size, 1);
  assert.ok(pods.silentMs < 10_000);
  assert.deepEqual(server.log.records.map(({ verb }) => verb), [
    "list",
    "watch",
  ]);
});

Deno.test("createReflector() asks for what its selector says only", async () => {
  const manifests = [
    podManifest("a"),
    podManifest("b", { nodeName: "node-2" }),
  ];
  await using fixture = await start({
    manifests,
    fieldSelector: "spec.nodeName=node-1",
  });
  const { server, pods } = fixture;
  pods.start();
  await shows(pods, ["a"]);
  server.put(podManifest("b", { nodeName: "node-1" }));
  await shows(pods, ["a", "b"]);
  server.put(podManifest("a", { nodeName: "node-2" }));
  await shows(pods, ["b"]);
});

Deno.test("createReflector() reads a list of many pages", async () => {
  const manifests = Array.from(
    { length: 1_201 },
    (_, index) => podManifest(`p${index}`),
  );
  await using fixture = await start({ manifests });
  const { server, pods } = fixture;
  pods.start();
  await pods.whenSynced(forever);
  assert.equal(pods.size, 1_201);
  assert.equal(server.log.count({ verb: "list" }), 3);
});

Deno.test("createReflector() goes on where it was when a watch ends", async (t) => {
  await using fixture = await start();
  const { server, pods } = fixture;
  pods.start();
  await watching(server);
  const ways: [what: string, end: () => void | Promise<void>][] = [
    ["ended by the server", () => server.endWatches()],
    ["cut", () => server.cutWatches()],
    ["the server restarts", async () => {
      await server.stop();
      await server.start();
    }],
  ];
  for (const [what, end] of ways) {
    await t.step(what, async () => {
      server.log.clear();
      await end();
      server.put(podManifest("b"));
      server.delete("Pod", "a");
      await shows(pods, ["b"]);
      server.put(podManifest("a"));
      server.delete("Pod", "b");
      await shows(pods, ["a"]);
      await watching(server);
      assert.equal(server.log.count({ verb: "list" }), 0);
    });
  }
});

Deno.test("createReflector() lists again when its revision is gone", async (t) => {
  await using fixture = await start();
  const { server, pods } = fixture;
  pods.start();
  await watching(server);
  const ways: [what: string, end: () => void][] = [
    ["said in the answer", () => {
      server.compact();
      server.cutWatches();
    }],
    ["said in the stream", () => {
      server.faults.add({
        match: { verb: "watch" },
        expireWatch: true,
        times: 1,
      });
      server.cutWatches();
    }],
    ["said while listing", () => {
      server.faults.add({ match: { verb: "list" }, status: 410, times: 1 });
      server.compact();
      server.cutWatches();
    }],
  ];
  for (const [what, end] of ways) {
    await t.step(what, async () => {
      server.log.clear();
      server.put(podManifest("b"));
      server.delete("Pod", "a");
      end();
      await waitUntil(
        () => server.log.count({ verb: "list", code: 200 }) === 1,
        { what: "a list" },
      );
      await shows(pods, ["b"]);
      server.put(podManifest("a"));
      server.delete("Pod", "b");
      await shows(pods, ["a"]);
      await watching(server);
      // What is gone may be gone from the server's cache, too: the newest is asked for.
      const [list] = server.log.records.filter(({ verb, code }) =>
        verb === "list" && code === 200
      );
      assert.ok(
        !list?.query.includes("resourceVersion=0"),
        String(list?.query),
      );
    });
  }
});

Deno.test("createReflector() survives whatever the server does", async (t) => {
  await using fixture = await start({ freshMs: 0 });
  const { server, pods } = fixture;
  pods.start();
  await watching(server);
  for (const verb of ["list", "watch"]) {
    for (
      const fault of [{ status: 401 }, { status: 403 }, { status: 429 }, {
        status: 500,
      }, { cut: true }]
    ) {
      for (const times of [1, 5]) {
        await t.step(
          `${verb}, ${JSON.stringify(fault)}, ${times} times`,
          async () => {
            server.log.clear();
            server.faults.add({ ...fault, match: { verb }, times });
            if (verb === "list") server.compact();
            server.cutWatches();
            server.put(podManifest("b"));
            await shows(pods, ["a", "b"]);
            server.delete("Pod", "b");
            await shows(pods, ["a"]);
            await waitUntil(() => server.openWatches === 1, {
              what: "one watch",
            });
            server.faults.clear();
          },
        );
      }
    }
  }
  assert.ok(fixture.failures.length > 0);
});

Deno.test("createReflector() takes a new token when the old one is refused", async () => {
  await using fixture = await start();
  const { server, pods } = fixture;
  pods.start();
  await watching(server);
  const token = server.rotateToken();
  server.cutWatches();
  await waitUntil(() => server.log.count({ code: 401 }) > 2, {
    what: "refusals",
  });
  server.put(podManifest("b"));
  await Deno.writeTextFile(fixture.tokenFile, token);
  await shows(pods, ["a", "b"]);
});

Deno.test("createReflector() keeps what it knows while the server is away", async () => {
  await using fixture = await start();
  const { server, pods, failures } = fixture;
  pods.start();
  await watching(server);
  await server.stop();
  await waitUntil(() => failures.length > 5, { what: "failures" });
  assert.ok(pods.synced);
  assert.equal(pods.get("default/a")?.name, "a");
  server.delete("Pod", "a");
  await server.start();
  await shows(pods, []);
});

Deno.test("createReflector() moves on with bookmarks", async () => {
  await using fixture = await start({ fieldSelector: "spec.nodeName=node-1" });
  const { server, pods } = fixture;
  pods.start();
  await watching(server);
  // Changes that this watch does not see; then the server forgets all before them.
  for (let i = 0; i < 10; i += 1) {
    server.put(podManifest("x", { nodeName: "node-2", uid: `${i}` }));
  }
  server.compact();
  server.log.clear();
  server.sendBookmarks();
  server.put(podManifest("b"));
  await shows(pods, ["a", "b"]);
  server.cutWatches();
  server.put(podManifest("c"));
  await shows(pods, ["a", "b", "c"]);
  assert.equal(server.log.count({ verb: "list" }), 0);
});

Deno.test("createReflector() leaves a watch that says nothing", async () => {
  await using fixture = await start({ idleMs: 50 });
  const { server, pods } = fixture;
  pods.start();
  await waitUntil(() => server.log.count({ verb: "watch" }) > 3, {
    what: "new watches",
  });
  assert.equal(server.log.count({ verb: "list" }), 1);
  await waitUntil(() => server.openWatches <= 1, {
    what: "the old ones are closed",
  });
});

Deno.test("createReflector() counts a kind that is not served as empty, and looks again", async () => {
  await using fixture = await start();
  const { server, pods } = fixture;
  const install = server.faults.add({ status: 404 });
  pods.start();
  await pods.whenSynced(forever);
  assert.equal(pods.size, 0);
  install();
  await shows(pods, ["a"]);
});

Deno.test("createReflector() backs off from a server that fails always", async () => {
  await using fixture = await start({
    backOff: { minMs: 50, maxMs: 400 },
    random: () => 1,
  });
  const { server, pods, failures } = fixture;
  server.faults.add({ status: 403 });
  const from = performance.now();
  pods.start();
  await waitUntil(() => failures.length === 4, { what: "four failures" });
  assert.ok(performance.now() - from >= 50 + 100 + 200);
});

Deno.test("createReflector() can be waited for no longer than the signal says", async () => {
  await using fixture = await start();
  await assert.rejects(
    fixture.pods.whenSynced(AbortSignal.abort(new RangeError("late"))),
    RangeError,
  );
});
