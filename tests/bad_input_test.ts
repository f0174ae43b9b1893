/**
 * Whatever is wrong, the runtime gets one CNI error with the right code, in
 * words that a person can act on, and nothing stays behind: no interface, no
 * address, no record, no cached result. The tables are in `bad_input_cases.ts`.
 */
import { deepEqual, equal, match, ok } from "node:assert/strict";
import { join } from "node:path";
import {
  ANNOTATION_CASES,
  type BadInput,
  CONFIGURATION_CASES,
  DEFINITION_CASES,
  PLUGIN_CASES,
  RUNTIME_CASES,
} from "./bad_input_cases.ts";
import { waitUntil } from "./api_server/wait.ts";
import { layNetworks, type Networks } from "./networks.ts";
import { type Sandbox, type ShimOutcome, TestNode } from "./node.ts";
import { installNoopPlugin, readCalls, waitForFile } from "./noop_plugin.ts";
import { nodeTest, step } from "./on_node.ts";
import { processesGone } from "./process_group.ts";
import {
  addPod,
  assertDone,
  assertNothingLeft,
  createPod,
  listLeft,
  putDefinition,
  putPod,
  sandboxOf,
  waitForStatus,
} from "./pods.ts";

/** What the runtime is given is read by people in an event, which Kubernetes cuts. */
const ERROR_BYTES_MAX = 1000;

interface Scene {
  readonly node: TestNode;
  readonly networks: Networks;
}

/** Puts what is only known on this node into a text. */
function fill(
  text: string,
  { node, networks }: Scene,
  sandbox?: Sandbox,
): string {
  const { profile, dir, binDir } = node;
  return text
    .replaceAll("$CONF", profile.multusConfDir)
    .replaceAll("$CNI", profile.cniConfDir)
    .replaceAll("$BIN", profile.cniBinDirs.join(", "))
    .replaceAll("$OWN", binDir)
    .replaceAll("$NODE", dir)
    .replaceAll("$UPLINK", networks.uplink)
    .replaceAll("$NETNS", sandbox?.netns ?? "")
    .replaceAll("$POD", sandbox?.name ?? "");
}

/** Asserts that a call came to exactly one CNI error, and to this one. */
function assertError(
  { code, stdout, stderr, json }: ShimOutcome,
  expected: { code: number; msg: string | RegExp; details?: string },
  cniVersion: string,
): void {
  equal(code, 1, stdout);
  equal(stderr, "");
  ok(json !== undefined, `one JSON document: ${stdout}`);
  equal(stdout, `${JSON.stringify(json)}\n`);
  const bytes = new TextEncoder().encode(stdout).length;
  ok(bytes < ERROR_BYTES_MAX, `${bytes} bytes`);
  const { msg, details, ...rest } = json;
  if (typeof expected.msg === "string") equal(msg, expected.msg);
  else match(msg, expected.msg);
  deepEqual(rest, { cniVersion, code: expected.code });
  equal(details, expected.details);
}

let podCount = 0;

async function tryCase(scene: Scene, bad: BadInput): Promise<void> {
  const { node, networks } = scene;
  for (const [name, config] of Object.entries(bad.definitions ?? {})) {
    const text = typeof config === "string" ? config : JSON.stringify(config);
    putDefinition(node, name, fill(text, scene));
  }
  await installNoopPlugin(node.binDir, "bad", {
    ADD: bad.plugin ?? "default",
  });
  const sandbox = await createPod(node, `pod-${podCount++}`, {
    ...(bad.networks === undefined ? {} : { networks: bad.networks }),
    ...(bad.annotations === undefined ? {} : { annotations: bad.annotations }),
  });
  const env = Object.entries(bad.env ?? {}).map(([name, value]) => [
    name,
    value === undefined ? undefined : fill(value, scene, sandbox),
  ]);
  const conf = typeof bad.stdin === "string"
    ? bad.stdin
    : fill(JSON.stringify({ ...node.runtimeConf, ...bad.stdin }), scene);
  const outcome = await node.cni(bad.command ?? "ADD", sandbox, {
    conf,
    env: Object.fromEntries(env),
  });
  const msg = typeof bad.msg === "string"
    ? fill(bad.msg, scene, sandbox)
    : bad.msg;
  assertError(outcome, { ...bad, msg }, bad.cniVersion ?? "1.0.0");
  await assertNothingLeft(node, networks, [sandbox]);
  await node.removeSandbox(sandbox);
}

/** A node with a network `macvlan`, and plugins of every bad kind. */
async function createScene(
  daemonConf: Record<string, unknown> = {},
): Promise<Scene & AsyncDisposable> {
  await using stack = new AsyncDisposableStack();
  const node = stack.use(
    await TestNode.create({
      plugins: ["bad", "not-executable", "no-such-plugin"],
      daemonConf,
    }),
  );
  await Deno.mkdir(join(node.binDir, "calls"));
  const networks = stack.use(await layNetworks(node));
  putDefinition(node, "macvlan", networks.macvlan(1));
  putDefinition(node, "secret", networks.macvlan(2), "lab");
  const idle = join(node.binDir, "not-executable");
  await Deno.writeTextFile(idle, "#!/bin/sh\n", { mode: 0o644 });
  await installNoopPlugin(node.binDir, "not-granted", {});
  await node.startDaemon();
  const kept = stack.move();
  return {
    node,
    networks,
    [Symbol.asyncDispose]: () => kept.disposeAsync(),
  };
}

const TABLES = {
  "ADD and others refuse what the runtime should not say when": RUNTIME_CASES,
  "ADD refuses a configuration that names no network to use when":
    CONFIGURATION_CASES,
  "ADD refuses what a pod should not ask for when": ANNOTATION_CASES,
  "ADD refuses a network that cannot be made when": DEFINITION_CASES,
  "ADD tells what is wrong with a plugin when": PLUGIN_CASES,
};

for (const [name, table] of Object.entries(TABLES)) {
  nodeTest(name, async (t) => {
    await using scene = await createScene();
    for (const bad of table) {
      await step(t, bad.title, () => tryCase(scene, bad));
    }
    // The daemon has come through all of it.
    const sandbox = await createPod(scene.node, "good", {
      networks: "macvlan",
    });
    await addPod(scene.node, sandbox);
    assertDone(scene.node, await scene.node.cni("DEL", sandbox));
    await assertNothingLeft(scene.node, scene.networks, [sandbox]);
  });
}

nodeTest(
  "ADD fails with 11 when the API server cannot be asked, and works when it can",
  async (t) => {
    await using scene = await createScene();
    const { node, networks } = scene;
    const cases: {
      readonly title: string;
      readonly begin: () => (() => void) | Promise<() => unknown>;
      /** The pod asks for a network that no cache knows. */
      readonly asksForMore?: boolean;
      readonly msg: string | RegExp;
    }[] = [
      {
        title: "because it is down",
        begin: async () => {
          await node.api.stop();
          return () => node.api.start();
        },
        msg: /^Kubernetes API is not available: .*refused/i,
      },
      ...[500, 503, 401, 403].map((status) => ({
        title: `because it answers ${status}`,
        begin: () =>
          node.api.faults.add({
            match: { verb: "get", resource: "pods" },
            status,
          }),
        msg: new RegExp(
          `^Kubernetes API is not available: .*answered ${status} on purpose(: has the service account of Multus its ClusterRole\\?)?$`,
        ),
      })),
      {
        title: "because it does not tell of a network",
        begin: () =>
          node.api.faults.add({
            match: { verb: "get", resource: "network-attachment-definitions" },
            status: 500,
          }),
        asksForMore: true,
        msg: /^Kubernetes API is not available: .*answered 500 on purpose$/,
      },
    ];
    for (const [index, { title, begin, asksForMore, msg }] of cases.entries()) {
      await step(t, title, async () => {
        const name = `unasked${index}`;
        const asked = asksForMore === true ? "unheard-of" : "macvlan";
        putPod(node, name, {
          networks: asked,
          ...(asksForMore === true ? {} : { nodeName: "another" }),
        });
        const sandbox = await sandboxOf(node, name);
        const end = await begin();
        try {
          const outcome = await node.cni("ADD", sandbox);
          assertError(outcome, { code: 11, msg }, "1.0.0");
          await assertNothingLeft(node, networks, [sandbox]);
        } finally {
          await end();
        }
        if (asksForMore === true) {
          putDefinition(node, asked, networks.macvlan(3));
        }
        await waitUntil(
          async () => (await node.cni("ADD", sandbox)).code === 0,
          {
            what: "an ADD that works again",
          },
        );
        assertDone(node, await node.cni("DEL", sandbox));
        await assertNothingLeft(node, networks, [sandbox]);
      });
    }
  },
);

nodeTest("ADD gives up with 11 when the API server says nothing", async () => {
  await using scene = await createScene({ requestTimeoutSeconds: 2 });
  const { node, networks } = scene;
  const sandbox = await createPod(node, "waiting", { nodeName: "another" });
  const end = node.api.faults.add({
    match: { verb: "get", resource: "pods" },
    hang: true,
  });
  const outcome = await node.cni("ADD", sandbox);
  end();
  assertError(
    outcome,
    {
      code: 11,
      msg:
        "Gave up after 2 s: the request was not done; the Kubernetes API had not answered for pod default/waiting",
    },
    "1.0.0",
  );
  await assertNothingLeft(node, networks, [sandbox]);
});

nodeTest(
  "ADD of a pod that is known goes on while the API server is down, and its status follows",
  async () => {
    await using scene = await createScene();
    const { node, networks } = scene;
    putPod(node, "first", { networks: "macvlan" });
    const first = await sandboxOf(node, "first");
    await addPod(node, first);
    await waitForStatus(node, first, ["eth0", "net1"]);
    // Whoever sees the status of the second sees the pod: both come by the same watch.
    putPod(node, "second", { networks: "macvlan" });
    const second = await sandboxOf(node, "second");
    await addPod(node, second);
    assertDone(node, await node.cni("DEL", second));
    await node.api.stop();
    await addPod(node, second);
    await node.api.start();
    await waitForStatus(node, second, ["eth0", "net1"]);
    for (const sandbox of [first, second]) {
      assertDone(node, await node.cni("DEL", sandbox));
    }
    await assertNothingLeft(node, networks, [first, second]);
  },
);

nodeTest("ADD ends a plugin that hangs, with all its children", async (t) => {
  await using scene = await createScene({ pluginTimeoutSeconds: 2 });
  const { node } = scene;
  const hung: BadInput = {
    title: "it hangs",
    networks: "macvlan, bad",
    definitions: { bad: { cniVersion: "1.0.0", type: "bad" } },
    plugin: "hang",
    code: 11,
    msg:
      'Cannot attach "default/bad" as net2: plugin bad did not finish within 2 s and was ended',
  };
  const cases: BadInput[] = [
    hung,
    { ...hung, title: "its children hang too", plugin: "brood; hang" },
    {
      ...hung,
      title: "it says something first",
      plugin: 'print "{"; say "waiting for a lease"; hang',
    },
    {
      ...hung,
      title: "the second of its chain hangs",
      definitions: {
        bad: {
          cniVersion: "1.0.0",
          plugins: [
            {
              type: "macvlan",
              master: "$UPLINK",
              ipam: {
                type: "static",
                addresses: [{ address: "192.0.2.9/24" }],
              },
            },
            { type: "bad" },
          ],
        },
      },
    },
  ];
  for (const bad of cases) {
    await step(t, bad.title, async () => {
      const before = (await readCalls(node.binDir)).length;
      await tryCase(scene, bad);
      const calls = (await readCalls(node.binDir)).slice(before);
      deepEqual(calls.map(({ command }) => command), ["ADD", "DEL"]);
      // Whom a plugin starts has its environment.
      await processesGone(calls[0]?.env["CNI_CONTAINERID"] ?? "no container");
    });
  }
});

nodeTest("ADD does not wait for what a plugin leaves running", async () => {
  await using scene = await createScene();
  const { node, networks } = scene;
  await installNoopPlugin(node.binDir, "bad", { ADD: "leave 30; default" });
  putDefinition(node, "bad", { cniVersion: "1.0.0", type: "bad" });
  const sandbox = await createPod(node, "quick", { networks: "bad" });
  const outcome = await node.cni("ADD", sandbox);
  assertDone(node, outcome);
  ok(outcome.durationMs < 10_000, `${outcome.durationMs} ms`);
  assertDone(node, await node.cni("DEL", sandbox));
  await assertNothingLeft(node, networks, [sandbox]);
});

nodeTest("ADD keeps what it cannot undo, until it can", async () => {
  await using scene = await createScene();
  const { node, networks } = scene;
  await installNoopPlugin(node.binDir, "bad", {
    ADD: 'fail 100 "No port free"',
    DEL: 'fail 101 "Switch is down"',
  });
  putDefinition(node, "bad", { cniVersion: "1.0.0", type: "bad" });
  const sandbox = await createPod(node, "kept", { networks: "macvlan, bad" });
  const outcome = await node.cni("ADD", sandbox);
  assertError(
    outcome,
    {
      code: 100,
      msg: 'Cannot attach "default/bad" as net2: plugin bad: No port free',
    },
    "1.0.0",
  );
  const left = await listLeft(node, networks, [sandbox]);
  deepEqual(left.map((path) => path.includes(sandbox.containerId)), [
    true,
    true,
  ], "a record and a DEL, and no interface or address");
  ok(node.daemonLog.includes("Switch is down"), node.daemonLog);
  await installNoopPlugin(node.binDir, "bad", { DEL: ":" });
  await waitUntil(
    async () => (await listLeft(node, networks, [sandbox])).length === 0,
    { what: "the DEL that was kept", timeoutMs: 30_000 },
  );
});

nodeTest(
  "DEL that fails is told to the runtime with retryDeleteOnError, and kept without",
  async (t) => {
    await using scene = await createScene();
    const { node, networks } = scene;
    putDefinition(node, "bad", { cniVersion: "1.0.0", type: "bad" });
    for (const retryDeleteOnError of [true, false]) {
      await step(t, `retryDeleteOnError: ${retryDeleteOnError}`, async () => {
        await installNoopPlugin(node.binDir, "bad", {
          ADD: "default",
          DEL: 'fail 101 "Switch is down"',
        });
        const sandbox = await createPod(node, `stuck-${retryDeleteOnError}`, {
          networks: "bad, macvlan",
        });
        const conf = JSON.stringify({
          ...node.runtimeConf,
          retryDeleteOnError,
        });
        assertDone(node, await node.cni("ADD", sandbox, { conf }));
        const outcome = await node.cni("DEL", sandbox, { conf });
        if (retryDeleteOnError) {
          assertError(
            outcome,
            {
              code: 101,
              msg:
                'Cannot detach "default/bad" from net1: plugin bad: Switch is down',
            },
            "1.0.0",
          );
        } else assertDone(node, outcome);
        deepEqual(await networks.addressesInUse(), [], "the others are undone");
        await installNoopPlugin(node.binDir, "bad", { DEL: ":" });
        assertDone(node, await node.cni("DEL", sandbox, { conf }));
        await waitUntil(
          async () => (await listLeft(node, networks, [sandbox])).length === 0,
          { what: "the DEL that was kept", timeoutMs: 30_000 },
        );
      });
    }
  },
);

nodeTest(
  "the shim says what to look for when there is no daemon",
  async (t) => {
    await using scene = await createScene();
    const { node, networks } = scene;
    const sandbox = await createPod(node, "alone", { networks: "macvlan" });
    await node.stopDaemon();
    const socket = join(node.profile.hostSocketDir, "multus.sock");
    const msg =
      `The daemon does not answer on ${socket}: is the multus DaemonSet running on this node?`;
    const codes = { ADD: 11, CHECK: 11, GC: 11, STATUS: 50 };
    for (const [command, code] of Object.entries(codes)) {
      await step(t, command, async () => {
        const conf = JSON.stringify({
          ...node.runtimeConf,
          cniVersion: "1.1.0",
          shimWaitSeconds: 0,
        });
        const outcome = await node.cni(command, sandbox, { conf });
        assertError(outcome, { code, msg }, "1.1.0");
        await assertNothingLeft(node, networks, [sandbox]);
      });
    }
  },
);

nodeTest("ADD waits for a daemon that comes", async () => {
  await using scene = await createScene();
  const { node, networks } = scene;
  await node.stopDaemon();
  const sandbox = await createPod(node, "early", { networks: "macvlan" });
  const adding = node.cni("ADD", sandbox);
  await node.startDaemon();
  assertDone(node, await adding);
  assertDone(node, await node.cni("DEL", sandbox));
  await assertNothingLeft(node, networks, [sandbox]);
});

nodeTest(
  "DEL is kept when there is no daemon, and done by the next one",
  async () => {
    await using scene = await createScene();
    const { node, networks } = scene;
    const sandbox = await createPod(node, "orphan", { networks: "macvlan" });
    await addPod(node, sandbox);
    await node.stopDaemon();
    for (const _ of ["once", "again"]) {
      assertDone(node, await node.cni("DEL", sandbox));
    }
    const left = await listLeft(node, networks, [sandbox]);
    equal(left.filter((path) => path.includes("/spool/")).length, 1);
    await node.startDaemon();
    await waitUntil(
      async () => (await listLeft(node, networks, [sandbox])).length === 0,
      { what: "the DEL that was kept", timeoutMs: 30_000 },
    );
  },
);

nodeTest("ADD says so when the daemon dies under it", async () => {
  await using scene = await createScene();
  const { node, networks } = scene;
  await installNoopPlugin(node.binDir, "bad", { ADD: "mark begun; hang" });
  putDefinition(node, "bad", { cniVersion: "1.0.0", type: "bad" });
  const sandbox = await createPod(node, "cut", { networks: "macvlan, bad" });
  const adding = node.cni("ADD", sandbox);
  await waitForFile(join(node.binDir, "bad.mark.begun"));
  await node.stopDaemon("SIGKILL");
  const socket = join(node.profile.hostSocketDir, "multus.sock");
  assertError(
    await adding,
    {
      code: 11,
      msg:
        `The daemon went away before it had answered on ${socket}: its log on this node says why`,
    },
    "1.0.0",
  );
  await node.startDaemon();
  await waitUntil(
    async () => (await listLeft(node, networks, [sandbox])).length === 0,
    { what: "what the ADD had begun", timeoutMs: 30_000 },
  );
});
