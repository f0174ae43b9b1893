import { deepEqual, equal, match, ok, rejects } from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { waitUntil } from "../../tests/api_server/wait.ts";
import { layNetworks } from "../../tests/networks.ts";
import { TestNode } from "../../tests/node.ts";
import {
  createNoopPlugins,
  type NoopPlugins,
  waitForFile,
} from "../../tests/noop_plugin.ts";
import { nodeTest } from "../../tests/on_node.ts";
import {
  assertDone,
  assertNothingLeft,
  createPod,
  putDefinition,
} from "../../tests/pods.ts";
import { parseConf } from "../cni/conf.ts";
import { ErrorCode } from "../cni/error.ts";
import { createDirectExec } from "../cni/exec.ts";
import { addNetworkList } from "../cni/list.ts";
import {
  type CachedAttachment,
  createResultCache,
} from "../cni/result_cache.ts";
import { type Log, type LogFields, noLog } from "../log.ts";
import {
  createDeferredResults,
  type DeferredResults,
  restoreResults,
} from "./deferred_results.ts";
import { createRecords } from "./records.ts";

const ATTACHMENT: CachedAttachment = {
  networkName: "net-a",
  containerId: "c1",
  ifname: "net1",
  netns: "/var/run/netns/x",
  cniArgs: [["IgnoreUnknown", "true"]],
  capabilityArgs: { mac: `"0a:00:00:00:00:07"` },
  config: `{"cniVersion":"1.0.0","name":"net-a","type":"a"}`,
  result: `{"cniVersion":"1.0.0","ips":[]}`,
};
const OTHER: CachedAttachment = { ...ATTACHMENT, containerId: "c2" };
const FILE = "net-a-c1-net1";
const OTHER_FILE = "net-a-c2-net1";

interface Line {
  readonly level: "verbose" | "error";
  readonly message: string;
  readonly fields: LogFields | undefined;
}

interface Scene extends AsyncDisposable {
  readonly dir: string;
  readonly results: string;
  readonly cache: DeferredResults;
  readonly log: Log;
  readonly lines: Line[];
  /** The files, however they look. */
  names(): Promise<string[]>;
}

async function createScene(): Promise<Scene> {
  const dir = await Deno.makeTempDir({ prefix: "deferred" });
  const results = `${dir}/results`;
  const lines: Line[] = [];
  const log: Log = {
    ...noLog,
    verbose: (message, fields) =>
      void lines.push({ level: "verbose", message, fields }),
    error: (message, fields) =>
      void lines.push({ level: "error", message, fields }),
  };
  const cache = createDeferredResults(createResultCache(dir), log);
  return {
    dir,
    results,
    cache,
    log,
    lines,
    names: () => namesIn(results),
    async [Symbol.asyncDispose](): Promise<void> {
      await cache.flush(); // Its timer ends with it.
      await Deno.remove(dir, { recursive: true });
    },
  };
}

async function namesIn(dir: string): Promise<string[]> {
  try {
    const entries = await Array.fromAsync(Deno.readDir(dir));
    return entries.map(({ name }) => name).sort();
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return [];
    throw error;
  }
}

/** Without a turn of the event loop, in which what waits might be written. */
function isThere(path: string): boolean {
  try {
    return Deno.lstatSync(path).isFile;
  } catch {
    return false;
  }
}

/** The same. */
function readNow(path: string): string {
  return Deno.readTextFileSync(path);
}

Deno.test("write() leaves the disk alone for a moment, and writes then what a plain cache writes", async () => {
  await using scene = await createScene();
  const { cache, results } = scene;
  await cache.write(ATTACHMENT);
  await cache.write(OTHER);
  ok(!isThere(results) && !isThere(`${results}/${FILE}`));
  await waitForFile(`${results}/${OTHER_FILE}`);
  deepEqual(await scene.names(), [FILE, OTHER_FILE]);
  const written = await Deno.readTextFile(`${results}/${FILE}`);
  await createResultCache(`${scene.dir}/plain`).write(ATTACHMENT);
  const plain = `${scene.dir}/plain/results/${FILE}`;
  equal(written, await Deno.readTextFile(plain));
  deepEqual(scene.lines, []);
});

Deno.test("write() refuses at once a name that cannot be kept", async () => {
  await using scene = await createScene();
  const { cache } = scene;
  const attachment = { ...ATTACHMENT, networkName: "../x" };
  const code = ErrorCode.invalidNetworkConfig;
  await rejects(cache.write(attachment), { code });
  equal(await cache.read(attachment), undefined);
  ok(!cache.has(attachment));
  await cache.remove(attachment);
});

Deno.test("what waits is seen as if it were written", async () => {
  await using scene = await createScene();
  const { cache, results } = scene;
  await cache.write(ATTACHMENT);
  deepEqual(await cache.read(ATTACHMENT), ATTACHMENT);
  equal(await cache.read(OTHER), undefined);
  deepEqual([cache.has(ATTACHMENT), cache.has(OTHER)], [true, false]);
  deepEqual(["c1", "c2"].map((id) => cache.mayHold(id)), [true, false]);
  ok(!isThere(`${results}/${FILE}`));
  const lists = [
    await cache.list(),
    await cache.list({ networkName: "net-a", containerId: "c1" }),
  ];
  for (const { attachments } of lists) deepEqual(attachments, [ATTACHMENT]);
  deepEqual((await cache.list({ containerId: "c2" })).attachments, []);
  await cache.tidy();
  deepEqual(await cache.read(ATTACHMENT), ATTACHMENT);
});

Deno.test("remove() and clear() of what waits leave nothing, and others alone", async () => {
  await using scene = await createScene();
  const { cache } = scene;
  const undoings = [
    () => cache.remove(ATTACHMENT),
    () => cache.clear(ATTACHMENT.containerId),
  ];
  for (const undo of undoings) {
    await cache.write(ATTACHMENT);
    await cache.write(OTHER);
    await undo();
    equal(await cache.read(ATTACHMENT), undefined);
    ok(!cache.mayHold("c1"));
    await cache.flush();
    deepEqual(await scene.names(), [OTHER_FILE]);
    await cache.remove(OTHER);
  }
});

Deno.test("remove() in the middle of a flush leaves nothing", async () => {
  await using scene = await createScene();
  const { cache } = scene;
  for (const attachment of [ATTACHMENT, OTHER]) await cache.write(attachment);
  const flushed = Promise.all([cache.flush(), cache.flush()]);
  await Promise.all([cache.remove(OTHER), cache.remove(ATTACHMENT)]);
  await flushed;
  await cache.flush();
  deepEqual(await scene.names(), []);
});

Deno.test("write() replaces what waits, and what has a file at once", async () => {
  await using scene = await createScene();
  const { cache, results } = scene;
  const versions = [1, 2, 3].map((n) => ({
    ...ATTACHMENT,
    result: `{"cniVersion":"1.0.0","n":${n}}`,
  }));
  const [first, second, third] = versions;
  ok(first && second && third);
  await cache.write(first);
  await cache.write(second);
  await cache.flush();
  const kept = createResultCache(scene.dir);
  deepEqual(await kept.read(ATTACHMENT), second);
  await cache.write(third);
  match(readNow(`${results}/${FILE}`), /"n":3/);
});

Deno.test("what cannot be written is told once, seen by this process, and written when it can be", async () => {
  await using scene = await createScene();
  const { cache, results, lines } = scene;
  await Deno.writeTextFile(results, "");
  await cache.write(ATTACHMENT);
  await cache.flush();
  await cache.flush();
  deepEqual(lines.map(({ level, fields }) => ({ level, fields })), [{
    level: "error",
    fields: { network: "net-a", container: "c1", interface: "net1" },
  }]);
  match(
    lines[0]?.message ?? "",
    /^A result stays in memory, because it cannot be written: Result cache cannot be written /,
  );
  deepEqual(await cache.read(ATTACHMENT), ATTACHMENT);
  ok(cache.mayHold("c1"));
  await Deno.remove(results);
  await cache.write(OTHER);
  await cache.flush();
  deepEqual(await scene.names(), [FILE, OTHER_FILE]);
  equal(lines.length, 1);
});

Deno.test("one that can never be written does not keep others from the disk, and is listed", async () => {
  await using scene = await createScene();
  const { cache, results, lines } = scene;
  await Deno.mkdir(`${results}/${FILE}`, { recursive: true });
  await cache.write(ATTACHMENT);
  await cache.write(OTHER);
  const { attachments } = await cache.list();
  deepEqual(attachments, [OTHER, ATTACHMENT]);
  deepEqual((await cache.list({ containerId: "c1" })).attachments, [
    ATTACHMENT,
  ]);
  ok(isThere(`${results}/${OTHER_FILE}`));
  equal(lines.length, 1);
  // The directory in its place cannot be removed as long as something is in it.
  await Deno.writeTextFile(`${results}/${FILE}/x`, "");
  await rejects(cache.remove(ATTACHMENT), { code: ErrorCode.ioFailure });
  deepEqual(await cache.read(ATTACHMENT), ATTACHMENT);
});

Deno.test("for a disk that never has room again only some hundred are kept, and the others are told", async () => {
  await using scene = await createScene();
  const { cache, results, lines } = scene;
  const attachments = Array.from({ length: 400 }, (_, n) => ({
    ...ATTACHMENT,
    containerId: `c${n}`,
  }));
  await Deno.writeTextFile(results, "");
  for (const attachment of attachments) await cache.write(attachment);
  await cache.flush();
  await Deno.remove(results);
  await cache.flush();
  const kept = (await scene.names()).length;
  ok(kept >= 100 && kept < attachments.length, `${kept} are kept`);
  const given = lines.filter(({ message }) => message.includes("given up"));
  equal(given.length, attachments.length - kept);
});

const BOOT = "boot-1";
const CONTAINER = { containerId: "c1", netns: "/var/run/netns/pod1" };
const RESULT = `{
  "cniVersion": "1.0.0",
  "interfaces": [{"name": "net1", "mac": "02:00:00:00:00:01", "sandbox": "/n"}],
  "ips": [{"address": "10.0.0.9/24", "gateway": "10.0.0.1", "interface": 0}],
  "routes": [{"dst": "0.0.0.0/0", "gw": "10.0.0.1"}],
  "dns": {"nameservers": ["10.0.0.2"]}
}`;

interface Node extends AsyncDisposable {
  readonly scene: Scene;
  /** What the ADDs wrote, by file. */
  readonly written: ReadonlyMap<string, string>;
}

/** A directory with the record and the results of a container of two networks, attached and written as an ADD does. */
async function createAttached(): Promise<Node> {
  await using stack = new AsyncDisposableStack();
  const scene = stack.use(await createScene());
  const plugins = stack.use(await createNoopPlugins());
  await plugins.install("a", { ADD: `print '${RESULT.replaceAll("\n", "")}'` });
  await attach(scene, plugins);
  const written = new Map<string, string>();
  for (const name of await scene.names()) {
    written.set(name, await Deno.readTextFile(`${scene.results}/${name}`));
  }
  equal(written.size, 2);
  const kept = stack.move();
  return {
    scene,
    written,
    [Symbol.asyncDispose]: () => kept.disposeAsync(),
  };
}

async function attach({ dir }: Scene, plugins: NoopPlugins): Promise<void> {
  const attachments = ["0.4.0", "1.1.0"].map((version, n) => ({
    config:
      `{ "cniVersion": "${version}", "name": "net-${n}", "plugins": [{"type":"a", "x": 1.0}] }`,
    name: `default/net-${n}`,
    ifname: `net${n}`,
    isDefault: n === 0,
    cniArgs: [["IgnoreUnknown", "true"], ["K8S_POD_NAME", "p"]] as const,
    capabilityArgs: { mac: `"0a:00:00:00:00:07"`, n: "1.0" },
    isFilterV4Gateway: false,
    isFilterV6Gateway: false,
  }));
  const records = createRecords({ dir, bootId: BOOT });
  using handle = await records.begin({ ...CONTAINER, attachments });
  const endDelegate = fileURLToPath(
    new URL("../../deployments/libexec/delegate-exec", import.meta.url),
  );
  const runtime = {
    exec: createDirectExec({ endDelegate }),
    pluginDirs: [plugins.dir],
    cache: createResultCache(dir),
    pluginTimeoutMs: 30_000,
  };
  for (const [index, attachment] of attachments.entries()) {
    const result = await addNetworkList(runtime, parseConf(attachment.config), {
      attachment: { ...CONTAINER, ...attachment },
      signal: new AbortController().signal,
    });
    await handle.update(index, { state: "done", result });
  }
}

/** The start of a daemon on the directory. */
async function start({ dir, cache, log }: Scene, bootId = BOOT): Promise<void> {
  const records = createRecords({ dir, bootId });
  await records.load();
  await restoreResults(cache, { records, bootId, log });
}

async function removeResults(
  { results }: Scene,
  names: Iterable<string>,
): Promise<void> {
  for (const name of names) await Deno.remove(`${results}/${name}`);
}

Deno.test("restoreResults() writes what is missing byte for byte as the ADD wrote it", async () => {
  await using node = await createAttached();
  const { scene, written } = node;
  await removeResults(scene, written.keys());
  await start(scene);
  for (const [name, text] of written) {
    equal(await Deno.readTextFile(`${scene.results}/${name}`), text);
  }
  deepEqual(await scene.names(), [...written.keys()]);
  deepEqual(scene.lines, [{
    level: "verbose",
    message: "Results are written again from the records",
    fields: { restored: 2 },
  }]);
});

Deno.test("restoreResults() leaves alone what is there, damaged or not", async () => {
  await using node = await createAttached();
  const { scene, written } = node;
  const [first = "", second = ""] = written.keys();
  await Deno.writeTextFile(`${scene.results}/${first}`, "{");
  await removeResults(scene, [second]);
  await start(scene);
  equal(await Deno.readTextFile(`${scene.results}/${first}`), "{");
  equal(
    await Deno.readTextFile(`${scene.results}/${second}`),
    written.get(second),
  );
});

Deno.test("restoreResults() writes nothing for another boot, for what is not done, or for the Go daemon", async (t) => {
  await using node = await createAttached();
  const { scene, written } = node;
  await removeResults(scene, written.keys());
  await t.step("another boot", async () => {
    await start(scene, "boot-2");
    deepEqual(await scene.names(), []);
  });
  await t.step("undone", async () => {
    const records = createRecords({ dir: scene.dir, bootId: BOOT });
    using handle = await records.open(CONTAINER.containerId);
    await handle?.update(0, { state: "undone" });
    await handle?.update(1, { state: "begun" });
    await start(scene);
    deepEqual(await scene.names(), []);
  });
  await t.step("the Go daemon", async () => {
    const conf = { cniVersion: "1.0.0", name: "net-0", type: "a" };
    const bytes = new TextEncoder().encode(JSON.stringify(conf)).toBase64();
    const record = [{ Conf: conf, ConfList: {}, Name: "net-0", Bytes: bytes }];
    const path = `${scene.dir}/${CONTAINER.containerId}`;
    await Deno.writeTextFile(path, JSON.stringify(record));
    await start(scene);
    deepEqual(await scene.names(), []);
  });
  deepEqual(scene.lines, []);
});

Deno.test("restoreResults() tells that it cannot, and goes on", async () => {
  await using node = await createAttached();
  const { scene } = node;
  await Deno.remove(scene.results, { recursive: true });
  await Deno.writeTextFile(scene.results, "");
  await start(scene);
  deepEqual(scene.lines.map(({ level }) => level), ["error"]);
  match(scene.lines[0]?.message ?? "", /^Cannot find out which results/);
});

nodeTest(
  "a daemon writes results again that the one before it was killed before",
  async () => {
    await using node = await TestNode.create();
    await using networks = await layNetworks(node);
    putDefinition(node, "macvlan", networks.macvlan(1));
    await node.startDaemon();
    const pod = await createPod(node, "pod", { networks: "macvlan" });
    assertDone(node, await node.cni("ADD", pod));
    const results = `${node.profile.cniStateDir}/results`;
    const names = [
      `cluster-net-${pod.containerId}-eth0`,
      `macvlan-${pod.containerId}-net1`,
    ];
    for (const name of names) await waitForFile(`${results}/${name}`);
    await node.stopDaemon("SIGKILL");
    const written = new Map<string, string>();
    for (const name of names) {
      written.set(name, await Deno.readTextFile(`${results}/${name}`));
      await Deno.remove(`${results}/${name}`);
    }
    await node.startDaemon();
    deepEqual(await namesIn(results), names);
    for (const [name, text] of written) {
      equal(await Deno.readTextFile(`${results}/${name}`), text);
    }
    assertDone(node, await node.cni("CHECK", pod));
    assertDone(node, await node.cni("DEL", pod));
    await assertNothingLeft(node, networks, [pod]);
  },
);

nodeTest(
  "a result that cannot be written is there for CHECK, and written when the daemon ends",
  async () => {
    await using node = await TestNode.create();
    await using networks = await layNetworks(node);
    await node.startDaemon();
    const pod = await createPod(node, "pod");
    const results = `${node.profile.cniStateDir}/results`;
    const path = `${results}/cluster-net-${pod.containerId}-eth0`;
    await Deno.mkdir(path, { recursive: true });
    assertDone(node, await node.cni("ADD", pod));
    await waitUntil(() => node.daemonLog.includes("A result stays in memory"), {
      what: "the daemon to say that it cannot write",
    });
    assertDone(node, await node.cni("CHECK", pod));
    await Deno.remove(path);
    equal(await node.stopDaemon("SIGTERM"), 0);
    ok((await Deno.stat(path)).isFile);
    await node.startDaemon();
    assertDone(node, await node.cni("DEL", pod));
    await assertNothingLeft(node, networks, [pod]);
  },
);
