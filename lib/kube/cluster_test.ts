/**
 * The cluster as the daemon uses it, against a server over real TLS.
 *
 * @module
 */
import assert from "node:assert/strict";
import {
  attachmentManifest,
  connectTo,
  podManifest,
} from "../../tests/api_server/fixture.ts";
import {
  type ApiServer,
  startApiServer,
} from "../../tests/api_server/server.ts";
import { waitUntil } from "../../tests/api_server/wait.ts";
import { type Cluster, type ClusterOptions, createCluster } from "./cluster.ts";
import {
  ApiStatusError,
  ApiUnavailableError,
  AttachmentNotFoundError,
  PodNotFoundError,
  PodReplacedError,
} from "./error.ts";
import { NETWORK_STATUS_ANNOTATION } from "./objects.ts";
import { createStatusWriter } from "./status_writer.ts";

const forever = new AbortController().signal;
const wait = { signal: forever };

interface Fixture extends AsyncDisposable {
  readonly server: ApiServer;
  readonly cluster: Cluster;
}

async function start(
  manifests: unknown[],
  options: Partial<ClusterOptions> = {},
): Promise<Fixture> {
  const server = await startApiServer({ objects: manifests });
  const connected = await connectTo(server);
  const cluster = createCluster({
    credentials: connected.credentials,
    pace: { outage: { minMs: 1, maxMs: 10 } },
    watchBackOff: { minMs: 1, maxMs: 10 },
    ...options,
  });
  return {
    server,
    cluster,
    [Symbol.asyncDispose]: async () => {
      await cluster[Symbol.asyncDispose]();
      await connected[Symbol.asyncDispose]();
      await server.stop();
    },
  };
}

/** With caches that are complete, and nothing in the log. */
async function startSynced(manifests: unknown[]): Promise<Fixture> {
  const fixture = await start(manifests, { nodeName: "node-1" });
  fixture.cluster.start();
  await fixture.cluster.whenSynced(forever);
  await waitUntil(() => fixture.server.openWatches === 2, {
    what: "both watches",
  });
  fixture.server.log.clear();
  return fixture;
}

Deno.test("createCluster() answers from its caches without a request", async () => {
  await using fixture = await startSynced([
    podManifest("a", { annotations: { "k8s.v1.cni.cncf.io/networks": "net" } }),
    podManifest("far", { nodeName: "node-2" }),
    attachmentManifest("net", { config: '{"n":1.0}' }),
  ]);
  const { server, cluster } = fixture;
  const pod = await cluster.getPod("default", "a", { ...wait, uid: "uid-a" });
  assert.equal(pod.annotations["k8s.v1.cni.cncf.io/networks"], "net");
  assert.deepEqual(await cluster.getAttachment("default", "net", wait), {
    namespace: "default",
    name: "net",
    config: '{"n":1.0}',
  });
  assert.deepEqual(cluster.listLocalPods(), [pod]);
  assert.equal(cluster.listAttachments().length, 1);
  assert.deepEqual(cluster.isSynced(), { pods: true, attachments: true });
  assert.ok(
    cluster.silence().podsMs < 10_000 &&
      cluster.silence().attachmentsMs < 10_000,
  );
  assert.equal(server.log.count(), 0);
});

Deno.test("createCluster() reads live what its caches do not know", async () => {
  await using fixture = await start(
    [podManifest("a"), attachmentManifest("net")],
    { nodeName: "node-1" },
  );
  const { server, cluster } = fixture;
  assert.deepEqual(cluster.isSynced(), { pods: false, attachments: false });
  assert.deepEqual(cluster.silence(), {
    podsMs: Infinity,
    attachmentsMs: Infinity,
  });
  assert.equal(
    (await cluster.getPod("default", "a", { ...wait, uid: "uid-a" })).uid,
    "uid-a",
  );
  assert.equal(
    (await cluster.getAttachment("default", "net", wait)).name,
    "net",
  );
  assert.equal(server.log.count({ verb: "get", code: 200 }), 2);
});

Deno.test("createCluster() caches no pods without a node name", async () => {
  await using fixture = await start([podManifest("a")]);
  const { server, cluster } = fixture;
  cluster.start();
  await cluster.whenSynced(forever);
  assert.deepEqual(cluster.isSynced(), { pods: true, attachments: true });
  assert.deepEqual(cluster.listLocalPods(), []);
  for (let i = 0; i < 2; i += 1) await cluster.getPod("default", "a", wait);
  assert.equal(server.log.count({ verb: "get", resource: "pods" }), 2);
  assert.equal(server.log.count({ verb: "list", resource: "pods" }), 0);
});

Deno.test("createCluster() asks once for all who ask for the same pod", async () => {
  await using fixture = await start([podManifest("a")]);
  const { server, cluster } = fixture;
  server.faults.add({ delayMs: 20 });
  const asked = Array.from(
    { length: 50 },
    () => cluster.getPod("default", "a", wait),
  );
  const uids = (await Promise.all(asked)).map(({ uid }) => uid);
  assert.deepEqual(new Set(uids), new Set(["uid-a"]));
  assert.equal(server.log.count(), 1);
});

Deno.test("createCluster() says that there is no such thing only when the API said so", async () => {
  await using fixture = await startSynced([]);
  const { server, cluster } = fixture;
  await assert.rejects(
    cluster.getPod("default", "none", wait),
    PodNotFoundError,
  );
  await assert.rejects(
    cluster.getAttachment("default", "none", wait),
    AttachmentNotFoundError,
  );
  assert.equal(server.log.count({ verb: "get", code: 404 }), 2);
  for (
    const [namespace, name] of [["", "a"], ["default", ""], ["a/b", "c"], [
      "a",
      "b/c",
    ], ["..", ".."]] as const
  ) {
    await assert.rejects(
      cluster.getPod(namespace, name, wait),
      PodNotFoundError,
      `${namespace} ${name}`,
    );
  }
  for (
    const fault of [{ status: 401 }, { status: 403 }, { status: 429 }, {
      status: 500,
    }, { cut: true }]
  ) {
    const takeBack = server.faults.add(fault);
    await Promise.all([
      assert.rejects(
        cluster.getPod("default", "none", wait),
        ApiUnavailableError,
      ),
      assert.rejects(
        cluster.getAttachment("default", "none", wait),
        ApiUnavailableError,
      ),
    ]);
    takeBack();
  }
  await server.stop();
  await assert.rejects(
    cluster.getPod("default", "none", wait),
    ApiUnavailableError,
  );
});

Deno.test("createCluster() says why when the deadline passes first", async () => {
  await using fixture = await start([], {
    pace: { outage: { minMs: 60_000, maxMs: 60_000 } },
  });
  const { server, cluster } = fixture;
  await server.stop();
  const deadline = AbortSignal.timeout(500);
  await assert.rejects(
    cluster.getPod("default", "a", { signal: deadline }),
    (error: unknown) => {
      assert.ok(error instanceof ApiUnavailableError);
      assert.match(error.reason, /Connection refused/);
      return true;
    },
  );
  const gone = AbortSignal.abort(new RangeError("client went away"));
  await assert.rejects(
    cluster.getPod("default", "a", { signal: gone }),
    RangeError,
  );
});

Deno.test("createCluster() reads again before it says that a pod was replaced", async (t) => {
  await using fixture = await startSynced([podManifest("a", { uid: "one" })]);
  const { server, cluster } = fixture;
  await t.step("it was", async () => {
    await assert.rejects(
      cluster.getPod("default", "a", { ...wait, uid: "other" }),
      (error: unknown) => {
        assert.ok(error instanceof PodReplacedError);
        assert.equal(error.presentUid, "one");
        return true;
      },
    );
    assert.equal(server.log.count({ verb: "get" }), 1);
  });
  await t.step("the cache is behind", async () => {
    server.faults.add({ match: { verb: "watch" }, status: 500 });
    server.cutWatches();
    server.put(podManifest("a", { uid: "two" }));
    assert.equal(
      (await cluster.getPod("default", "a", { ...wait, uid: "two" })).uid,
      "two",
    );
  });
  await t.step("a read under way is behind", async () => {
    server.faults.add({ match: { verb: "get" }, delayMs: 50, times: 1 });
    const early = cluster.getPod("default", "a", { ...wait, uid: "nobody" })
      .catch(() => {});
    await waitUntil(() => server.inFlight > 0, { what: "the early read" });
    const late = cluster.getPod("default", "a", { ...wait, uid: "three" });
    server.log.clear();
    await early;
    server.put(podManifest("a", { uid: "three" }));
    assert.equal((await late).uid, "three");
  });
});

Deno.test("createCluster() knows a static pod by the kubelet's UID", async () => {
  const annotations = {
    "kubernetes.io/config.source": "file",
    "kubernetes.io/config.hash": "hash",
  };
  await using fixture = await startSynced([
    podManifest("static", { annotations }),
  ]);
  const { server, cluster } = fixture;
  // What the API knows is what a status is written to.
  assert.equal(
    (await cluster.getPod("default", "static", { ...wait, uid: "hash" })).uid,
    "uid-static",
  );
  assert.equal(server.log.count(), 0);
  await assert.rejects(
    cluster.getPod("default", "static", { ...wait, uid: "other" }),
    PodReplacedError,
  );
});

Deno.test("createCluster() serves from its caches while the API is away", async () => {
  await using fixture = await startSynced([
    podManifest("a"),
    attachmentManifest("net"),
  ]);
  const { server, cluster } = fixture;
  await server.stop();
  await cluster.getPod("default", "a", { ...wait, uid: "uid-a" });
  await cluster.getAttachment("default", "net", wait);
});

Deno.test("createCluster() writes the status only to the very pod", async (t) => {
  await using fixture = await start([
    podManifest("a", { annotations: { other: "kept" } }),
  ]);
  const { server, cluster } = fixture;
  const patch = (name: string, uid: string): Promise<"written" | "gone"> =>
    cluster.patchNetworkStatus(
      { namespace: "default", name, uid },
      "[1]",
      wait,
    );
  await t.step("written in one request", async () => {
    assert.equal(await patch("a", "uid-a"), "written");
    assert.deepEqual(server.get("Pod", "a").metadata.annotations, {
      other: "kept",
      [NETWORK_STATUS_ANNOTATION]: "[1]",
    });
    assert.deepEqual(
      server.log.records.map(({ verb, subresource }) => [verb, subresource]),
      [["patch", "status"]],
    );
  });
  await t.step(
    "deleted",
    async () => assert.equal(await patch("none", "uid"), "gone"),
  );
  await t.step(
    "replaced",
    async () => assert.equal(await patch("a", "uid-b"), "gone"),
  );
  for (const status of [409, 422]) {
    await t.step(`${status} for another reason`, async () => {
      server.faults.add({ match: { verb: "patch" }, status, times: 1 });
      await assert.rejects(patch("a", "uid-a"), (error: unknown) => {
        assert.ok(error instanceof ApiStatusError);
        assert.equal(error.status, status);
        return true;
      });
    });
    await t.step(`${status}, and it is deleted meanwhile`, async () => {
      server.faults.add({ match: { verb: "patch" }, status, times: 1 });
      server.faults.add({ match: { verb: "get" }, status: 404, times: 1 });
      assert.equal(await patch("a", "uid-a"), "gone");
    });
  }
  await t.step("not available", async () => {
    server.faults.add({ status: 500, times: 1 });
    await assert.rejects(patch("a", "uid-a"), ApiUnavailableError);
  });
});

Deno.test("createStatusWriter() with a cluster writes through everything the server does", async (t) => {
  for (
    const fault of [{ status: 401 }, { status: 409 }, { status: 429 }, {
      status: 500,
    }, { cut: true }]
  ) {
    await t.step(JSON.stringify(fault), async () => {
      await using fixture = await start([podManifest("a"), podManifest("b")]);
      const { server, cluster } = fixture;
      await using writer = createStatusWriter({
        write: (pod, status, options) =>
          cluster.patchNetworkStatus(pod, status, options),
        backOff: { minMs: 1, maxMs: 10 },
      });
      server.faults.add({ ...fault, match: { verb: "patch" }, times: 4 });
      for (const name of ["a", "b"]) {
        writer.enqueue(
          { namespace: "default", name, uid: `uid-${name}` },
          `["${name}"]`,
        );
      }
      writer.enqueue({ namespace: "default", name: "gone", uid: "uid" }, "[]");
      await writer.drain(forever);
      for (const name of ["a", "b"]) {
        const { annotations } = server.get("Pod", name).metadata;
        assert.equal(annotations?.[NETWORK_STATUS_ANNOTATION], `["${name}"]`);
      }
    });
  }
});

Deno.test("createCluster() reads claims and slices live", async () => {
  const slice = (name: string, driver: string, nodeName: string): unknown => ({
    apiVersion: "resource.k8s.io/v1",
    kind: "ResourceSlice",
    metadata: { name },
    spec: {
      driver,
      nodeName,
      pool: { name: "p", generation: 1 },
      devices: [{ name }],
    },
  });
  const claim = {
    apiVersion: "resource.k8s.io/v1",
    kind: "ResourceClaim",
    metadata: { name: "c", namespace: "default" },
    status: {
      allocation: {
        devices: {
          results: [{ request: "r", driver: "d", pool: "p", device: "one" }],
        },
      },
    },
  };
  await using fixture = await start([
    claim,
    slice("one", "d", "n"),
    slice("two", "d", "m"),
    slice("three", "e", "n"),
  ]);
  const { cluster } = fixture;
  const found = await cluster.getResourceClaim("default", "c", wait);
  assert.equal(found.status?.allocation?.devices?.results?.[0]?.device, "one");
  await assert.rejects(
    cluster.getResourceClaim("default", "none", wait),
    ApiStatusError,
  );
  const slices = await cluster.listResourceSlices({
    driver: "d",
    nodeName: "n",
  }, wait);
  assert.deepEqual(slices.map(({ spec }) => spec.devices?.[0]?.name), ["one"]);
});

Deno.test("createCluster() says events about pods", async () => {
  await using fixture = await start([], { nodeName: "node-1" });
  const { server, cluster } = fixture;
  const pod = { namespace: "default", name: "a", uid: "uid-a" };
  cluster.postEvent({
    pod,
    type: "Warning",
    reason: "NoNetworkFound",
    message: "x",
  });
  await cluster.events.drain(forever);
  assert.equal(server.log.count({ verb: "create", resource: "events" }), 1);
  assert.deepEqual([cluster.events.pending(), cluster.events.dropped()], [
    0,
    0,
  ]);
});

Deno.test("createCluster() says things about its own node, and of none without a name", async (t) => {
  const what = { type: "Warning", reason: "R", message: "x" } as const;
  for (const [nodeName, count] of [["node-1", 1], [undefined, 0]] as const) {
    await t.step(nodeName ?? "no name", async () => {
      await using fixture = await start(
        [],
        nodeName === undefined ? {} : { nodeName },
      );
      const { server, cluster } = fixture;
      cluster.postNodeEvent(what);
      await cluster.events.drain(forever);
      const said = server.log.count({ verb: "create", resource: "events" });
      assert.equal(said, count);
    });
  }
});

Deno.test("createCluster() tells whether reads are answered while a list is not", async () => {
  await using fixture = await start([], {
    nodeName: "node-1",
    liveReadsEveryMs: 1,
  });
  const { server, cluster } = fixture;
  const endOfLists = server.faults.add({
    match: { verb: "list", resource: "pods" },
    status: 403,
  });
  const endOfReads = server.faults.add({
    match: { verb: "get", resource: "pods" },
    status: 403,
  });
  cluster.start();
  await waitUntil(
    () => server.log.count({ verb: "get", resource: "pods" }) >= 2,
    { what: "two tries" },
  );
  assert.ok(!cluster.readsLive());
  endOfReads();
  await waitUntil(() => cluster.readsLive(), { what: "reads are answered" });
  assert.deepEqual(cluster.isSynced(), { pods: false, attachments: true });
  endOfLists();
  await cluster.whenSynced(forever);
});

Deno.test("createCluster() tells of failing watches", async () => {
  const failures: string[] = [];
  await using fixture = await start([], {
    nodeName: "node-1",
    onWatchFailure: (resource) => failures.push(resource),
  });
  const { server, cluster } = fixture;
  server.faults.add({ status: 403 });
  cluster.start();
  await waitUntil(() => new Set(failures).size === 2, {
    what: "both failures",
  });
});
