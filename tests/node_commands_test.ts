/**
 * The commands that are about the node: STATUS, which runtimes ask often and
 * want answered within a second, and GC, which must never take away what is
 * in use.
 */
import { deepEqual, equal, match, ok } from "node:assert/strict";
import { join } from "node:path";
import { layNetworks, type Networks } from "./networks.ts";
import { type Sandbox, type ShimOutcome, TestNode } from "./node.ts";
import {
  installNoopPlugin,
  type NoopCall,
  readCalls,
  waitForFile,
} from "./noop_plugin.ts";
import { nodeTest, step } from "./on_node.ts";
import {
  addPod,
  assertDone,
  assertNothingLeft,
  createPod,
  listLeft,
  putDefinition,
  readKernel,
} from "./pods.ts";

/** What runtimes are promised for STATUS. */
const STATUS_MS = 1_000;

/** A busy machine may take a second to start a process: of so many answers one is the program's own speed. */
const STATUS_TRIES = 3;

interface Scene {
  readonly node: TestNode;
  readonly networks: Networks;
}

/** A node whose default network is a real one; `noop` is a plugin of the newest version. */
async function createScene(
  daemonConf: Record<string, unknown> = {},
): Promise<Scene & AsyncDisposable> {
  await using stack = new AsyncDisposableStack();
  const node = stack.use(
    await TestNode.create({ plugins: ["noop"], daemonConf }),
  );
  const networks = stack.use(await layNetworks(node));
  await Deno.mkdir(join(node.binDir, "calls"));
  await installNoopPlugin(node.binDir, "noop", {});
  putDefinition(node, "macvlan", networks.macvlan(1));
  putDefinition(node, "noop", { cniVersion: "1.1.0", type: "noop" });
  node.runtimeConf = { ...node.runtimeConf, cniVersion: "1.1.0" };
  const kept = stack.move();
  return { node, networks, [Symbol.asyncDispose]: () => kept.disposeAsync() };
}

/** What stands for every container in a command about the node. */
const NOBODY: Sandbox = {
  containerId: "",
  netns: "",
  namespace: "",
  name: "",
  uid: "",
};

/** A command about the node, with nothing in its environment but CNI_PATH. */
async function callNode(
  node: TestNode,
  command: string,
  more: Readonly<Record<string, unknown>> = {},
): Promise<ShimOutcome> {
  return await node.cni(command, NOBODY, {
    conf: JSON.stringify({ ...node.runtimeConf, ...more }),
    env: { CNI_IFNAME: undefined, CNI_ARGS: undefined, CNI_NETNS: undefined },
  });
}

/** A GC that takes only these pods to be there. */
async function collectAll(
  node: TestNode,
  valid: readonly Sandbox[] = [],
): Promise<ShimOutcome> {
  return await callNode(node, "GC", {
    "cni.dev/valid-attachments": valid.map(({ containerId }) => ({
      containerID: containerId,
      ifname: "eth0",
    })),
  });
}

/** A file that can be written and not removed, until the answer is disposed of. */
async function mountOver(path: string): Promise<AsyncDisposable> {
  const run = async (program: string, args: string[]): Promise<void> => {
    const { success } = await new Deno.Command(program, { args }).output();
    ok(success, [program, ...args].join(" "));
  };
  await run("mount", ["--bind", path, path]);
  return { [Symbol.asyncDispose]: () => run("umount", [path]) };
}

/** STATUS, which must be answered in time. */
async function askStatus(
  node: TestNode,
  more: Readonly<Record<string, unknown>> = {},
): Promise<ShimOutcome> {
  const tries: number[] = [];
  for (let left = STATUS_TRIES; left > 0; left--) {
    const outcome = await callNode(node, "STATUS", more);
    if (outcome.durationMs < STATUS_MS) return outcome;
    tries.push(outcome.durationMs);
  }
  throw new RangeError(`STATUS took ${tries.map(Math.round).join(", ")} ms`);
}

/** The configuration with `noop` as the default network. */
const NOOP_DEFAULT = {
  clusterNetwork: undefined,
  delegates: [{ cniVersion: "1.1.0", name: "noop-net", type: "noop" }],
};

function assertNotReady(outcome: ShimOutcome, msg: string | RegExp): void {
  equal(outcome.code, 1, outcome.stdout);
  const { code, msg: given } = outcome.json;
  if (typeof msg === "string") equal(given, msg);
  else match(given, msg);
  equal(code, 50);
}

nodeTest("STATUS is quiet when an ADD would be taken", async (t) => {
  await using scene = await createScene();
  const { node } = scene;
  await node.startDaemon();
  await step(t, "with a default network that knows no STATUS", async () => {
    const { code, stdout } = await askStatus(node);
    deepEqual([code, stdout], [0, ""]);
  });
  await step(t, "with one that does, and says yes", async () => {
    const { code, stdout } = await askStatus(node, NOOP_DEFAULT);
    deepEqual([code, stdout], [0, ""]);
    const [call] = await readCalls(node.binDir);
    equal(call?.command, "STATUS");
  });
  await step(t, "with one that does not answer in time", async () => {
    await installNoopPlugin(node.binDir, "noop", { STATUS: "hang" });
    const { code, stdout } = await askStatus(node, NOOP_DEFAULT);
    deepEqual([code, stdout], [0, ""]);
  });
});

nodeTest("STATUS says why an ADD would not be taken", async (t) => {
  await using scene = await createScene();
  const { node } = scene;
  await node.api.stop();
  await node.startDaemon({ waitReady: false });
  await waitForFile(join(node.profile.socketDir, "multus.sock"));
  await step(t, "the API server has not answered yet", async () => {
    assertNotReady(
      await askStatus(node),
      /^Not ready: .*(pods and networks|API server)/,
    );
  });
  await node.api.start();
  await node.waitReady();
  await step(t, "the default network's plugin says no", async () => {
    await installNoopPlugin(node.binDir, "noop", {
      STATUS: 'fail 50 "The agent is not running"',
    });
    assertNotReady(
      await askStatus(node, NOOP_DEFAULT),
      /plugin noop: The agent is not running$/,
    );
  });
  await step(t, "the default network's plugin is not installed", async () => {
    const delegates = [{ ...NOOP_DEFAULT.delegates[0], type: "missing" }];
    assertNotReady(
      await askStatus(node, { ...NOOP_DEFAULT, delegates }),
      /plugin missing is not installed: no such executable file in /,
    );
  });
  await step(t, "the default network's file is gone", async () => {
    const gone = join(node.profile.cniConfDir, "gone.conflist");
    assertNotReady(
      await askStatus(node, { clusterNetwork: gone }),
      /^Not ready: clusterNetwork: Cannot read configuration file .*gone\.conflist: No such file or directory$/,
    );
  });
});

nodeTest("STATUS does not wait for ADD, DEL or GC", async () => {
  await using scene = await createScene({
    addConcurrency: 2,
    pluginTimeoutSeconds: 4,
  });
  const { node, networks } = scene;
  await installNoopPlugin(node.binDir, "noop", {
    ADD: "case $CNI_IFNAME in hung) mark add; hang;; *) default;; esac",
    DEL: "case $CNI_IFNAME in gone) mark del; hang;; esac",
    GC: "mark gc; hang",
  });
  await node.startDaemon();
  const attached = await createPod(node, "attached", { networks: "noop@gone" });
  await addPod(node, attached);
  const pods = await Promise.all(
    Array.from(
      { length: 6 },
      (_, index) =>
        createPod(node, `queued${index}`, { networks: "noop@hung" }),
    ),
  );
  const calls = [
    ...pods.map((pod) => node.cni("ADD", pod)),
    node.cni("DEL", attached),
    collectAll(node),
  ];
  await waitForFile(join(node.binDir, "noop.mark.add"));
  await waitForFile(join(node.binDir, "noop.mark.del"));
  const { code, stdout } = await askStatus(node);
  deepEqual([code, stdout], [0, ""]);
  for (const { code } of await Promise.all(calls)) ok(code === 0 || code === 1);
  deepEqual(await networks.addressesInUse(), []);
});

/** What plugins of a network were told to be valid by the last GC, both keys of it. */
function validOf(calls: readonly NoopCall[]): unknown {
  const call = calls.findLast(({ command }) => command === "GC");
  const conf = JSON.parse(call?.stdin ?? "{}");
  deepEqual(conf["cni.dev/attachments"], conf["cni.dev/valid-attachments"]);
  return conf["cni.dev/valid-attachments"];
}

nodeTest(
  "GC undoes what is not valid, and tells the plugins what is",
  async (t) => {
    await using scene = await createScene();
    const { node, networks } = scene;
    await node.startDaemon();
    const [kept, gone, vanished] = await Promise.all([
      createPod(node, "kept", { networks: "macvlan, noop@a, noop@b" }),
      createPod(node, "gone", { networks: "macvlan, noop" }),
      createPod(node, "vanished", { networks: "macvlan" }),
    ]);
    for (const pod of [kept, gone, vanished]) await addPod(node, pod);
    // A runtime that lost a pod without DEL: its netns is gone, too.
    await node.removeSandbox(vanished);
    const before = await readKernel(kept);

    await step(t, "with the specification's key", async () => {
      const outcome = await collectAll(node, [kept]);
      assertDone(node, outcome);
      equal(outcome.stdout, "");
      deepEqual(await readKernel(kept), before);
      deepEqual(Object.keys(await readKernel(gone)), []);
      equal((await networks.addressesInUse()).length, 2);
      deepEqual(validOf(await readCalls(node.binDir)), [
        { containerID: kept.containerId, ifname: "a" },
        { containerID: kept.containerId, ifname: "b" },
      ]);
      assertDone(node, await node.cni("CHECK", kept));
    });
    await step(t, "with the older key", async () => {
      const outcome = await callNode(node, "GC", { "cni.dev/attachments": [] });
      assertDone(node, outcome);
      await assertNothingLeft(node, networks, [kept, gone]);
      deepEqual(validOf(await readCalls(node.binDir)), []);
    });
    await step(t, "when there is nothing", async () => {
      assertDone(node, await collectAll(node));
    });
  },
);

nodeTest("GC does nothing when a record cannot be read", async () => {
  await using scene = await createScene();
  const { node, networks } = scene;
  await node.startDaemon();
  const pods = await Promise.all(
    ["first", "second"].map((name) =>
      createPod(node, name, { networks: "noop" })
    ),
  );
  for (const pod of pods) await addPod(node, pod);
  const before = await listLeft(node, networks, pods);
  const path = join(node.profile.cniStateDir, pods[0]?.containerId ?? "");
  await Deno.truncate(path, 100);
  const { code, json } = await collectAll(node);
  equal(code, 1);
  equal(json.code, 11);
  match(
    json.msg,
    /^GC could free what is in use: The attachment record is damaged: .*: \//,
  );
  ok(json.msg.endsWith(path), json.msg);
  deepEqual(await listLeft(node, networks, pods), before);
  const commands = (await readCalls(node.binDir)).map(({ command }) => command);
  deepEqual(commands, ["ADD", "ADD"]);
  // A DEL of the damaged one goes by libcni's cache, and then GC works again.
  for (const pod of pods) assertDone(node, await node.cni("DEL", pod));
  assertDone(node, await collectAll(node));
  const left = await listLeft(node, networks, pods);
  deepEqual(left.filter((one) => !one.includes("/quarantine/")), []);
});

nodeTest("GC does what it can, and says what it cannot", async () => {
  await using scene = await createScene();
  const { node, networks } = scene;
  await installNoopPlugin(node.binDir, "noop", {
    DEL: 'fail 102 "Switch is down"',
  });
  await node.startDaemon();
  const [stuck, fine] = await Promise.all([
    createPod(node, "stuck", { networks: "noop, macvlan" }),
    createPod(node, "fine", { networks: "macvlan" }),
  ]);
  for (const pod of [stuck, fine]) await addPod(node, pod);
  const outcome = await collectAll(node);
  equal(outcome.code, 1);
  deepEqual([outcome.json.code, outcome.json.msg], [
    102,
    `Cannot detach "default/noop" from net1: plugin noop: Switch is down (pod ${stuck.namespace}/stuck)`,
  ]);
  deepEqual(await networks.addressesInUse(), []);
  await installNoopPlugin(node.binDir, "noop", { DEL: ":" });
  assertDone(node, await collectAll(node));
  await assertNothingLeft(node, networks, [stuck, fine]);
});

/** A record as the Go daemon may have left it, of a configuration that names no plugin. */
const WITHOUT_PLUGIN = JSON.stringify([{
  Conf: {},
  ConfList: {},
  Name: "odd",
  Bytes: btoa(JSON.stringify({ cniVersion: "1.0.0", name: "odd" })),
}]);

nodeTest(
  "GC passes over records that can be neither undone nor removed",
  async () => {
    await using scene = await createScene();
    const { node, networks } = scene;
    await node.startDaemon();
    const [kept, pinned, fine] = await Promise.all([
      createPod(node, "kept", { networks: "noop" }),
      createPod(node, "pinned", { networks: "noop" }),
      createPod(node, "fine", { networks: "macvlan" }),
    ]);
    for (const pod of [kept, pinned, fine]) await addPod(node, pod);
    const recordOf = (containerId: string): string =>
      join(node.profile.cniStateDir, containerId);
    await Deno.writeTextFile(recordOf("odd"), WITHOUT_PLUGIN);
    const path = recordOf(pinned.containerId);
    {
      await using _mounted = await mountOver(path);
      // Wherever among the records it begins.
      for (let round = 0; round < 3; round++) {
        const { code, json } = await collectAll(node, [kept]);
        equal(code, 1);
        const told: string[] = json.msg.split("; ").sort();
        equal(told.length, 3);
        match(told[0] ?? "", /^Cannot collect the garbage of "odd": .*"type"/);
        match(
          told[1] ?? "",
          /^Cannot detach "odd" from eth0: .* \(container odd\)$/,
        );
        match(
          told[2] ?? "",
          /^Cannot undo what is attached: .*busy.* \(pod default\/pinned\)$/,
        );
        ok(json.msg.includes(path), json.msg);
        deepEqual(validOf(await readCalls(node.binDir)), [
          { containerID: kept.containerId, ifname: "net1" },
        ]);
      }
      equal((await networks.addressesInUse()).length, 1);
    }
    await Deno.remove(recordOf("odd"));
    assertDone(node, await collectAll(node));
    await assertNothingLeft(node, networks, [kept, pinned, fine]);
  },
);

nodeTest(
  "GC has time for all networks when the plugins of some hang",
  async () => {
    await using scene = await createScene({ requestTimeoutSeconds: 8 });
    const { node, networks } = scene;
    for (const name of ["a", "m", "z"]) {
      putDefinition(node, name, { cniVersion: "1.1.0", name, type: "noop" });
    }
    await installNoopPlugin(node.binDir, "noop", {
      GC: `case $(/bin/cat "$stdin_file") in *'"m"'*) ;; *) hang;; esac`,
    });
    await node.startDaemon();
    const pod = await createPod(node, "p", { networks: "a, m, z" });
    await addPod(node, pod);
    const { code, json } = await collectAll(node, [pod]);
    equal(code, 1);
    // On a machine that stands still for a while, all of the request's time is over before the last one's part is.
    const ending =
      "plugin noop (?:did not finish within the time of the request and was ended|was ended: Gave up after 8 s: .*)";
    match(
      json.msg,
      new RegExp(
        `^Cannot collect the garbage of "a": ${ending}; Cannot collect the garbage of "z": ${ending}$`,
      ),
    );
    const collected = (await readCalls(node.binDir))
      .filter(({ command }) => command === "GC")
      .map(({ stdin }) => JSON.parse(stdin).name);
    deepEqual(collected, ["a", "m", "z"]);
    assertDone(node, await node.cni("DEL", pod));
    await assertNothingLeft(node, networks, [pod]);
  },
);
