/**
 * Interfaces that are plugged into running pods and out again, as hot-plug
 * controllers ask for it: `POST /delegate` on the daemon's socket. They are
 * part of the pod from then on: in its status, in its record, gone with it.
 */
import { deepEqual, equal, match, ok } from "node:assert/strict";
import { join } from "node:path";
import { ask } from "../lib/wire/ask.ts";
import { socketPathIn } from "../lib/wire/places.ts";
import {
  DELEGATE_ROUTE,
  encodeConfig,
  encodeRequest,
  type InterfaceAttributes,
} from "../lib/wire/request.ts";
import { waitUntil } from "./api_server/wait.ts";
import { layNetworks, type Networks } from "./networks.ts";
import { type Sandbox, TestNode } from "./node.ts";
import { installNoopPlugin, readCalls, waitForFile } from "./noop_plugin.ts";
import { nodeTest, step } from "./on_node.ts";
import {
  addPod,
  assertDone,
  assertNothingLeft,
  createPod,
  deletePod,
  ipIn,
  readKernel,
  waitForStatus,
} from "./pods.ts";

/** A daemon that works answers well within that. */
const ANSWER_MS = 60_000;

interface Plug {
  readonly ifname: string;
  readonly conf: Record<string, unknown>;
  readonly attributes?: InterfaceAttributes;
}

interface Answered {
  readonly status: number;
  // deno-lint-ignore no-explicit-any -- a result or an error, looked at by assertions
  readonly body: any;
}

/** What a controller says to the daemon, and what it hears. */
async function plug(
  node: TestNode,
  command: string,
  sandbox: Sandbox,
  { ifname, conf, attributes }: Plug,
): Promise<Answered> {
  const body = encodeRequest({
    env: { ...node.cniEnv(command, sandbox), CNI_IFNAME: ifname },
    config: encodeConfig(new TextEncoder().encode(JSON.stringify(conf))),
    ...(attributes === undefined ? {} : { interfaceAttributes: attributes }),
  });
  const socketPath = socketPathIn(node.profile.socketDir);
  const answer = await ask({ socketPath, route: DELEGATE_ROUTE, body }, {
    signal: AbortSignal.timeout(ANSWER_MS),
  });
  return {
    status: answer.status,
    body: answer.body === "" ? undefined : JSON.parse(answer.body),
  };
}

/** A macvlan that takes address and hardware address as asked for. */
function choosable(networks: Networks): Record<string, unknown> {
  return {
    cniVersion: "1.0.0",
    name: "plugged",
    plugins: [{
      type: "macvlan",
      master: networks.uplink,
      mode: "bridge",
      capabilities: { mac: true, ips: true },
      ipam: { type: "static" },
    }],
  };
}

const NOOP = { cniVersion: "1.1.0", name: "noop-net", type: "noop" };

interface Scene {
  readonly node: TestNode;
  readonly networks: Networks;
}

async function createScene(): Promise<Scene & AsyncDisposable> {
  await using stack = new AsyncDisposableStack();
  const node = stack.use(await TestNode.create({ plugins: ["noop"] }));
  const networks = stack.use(await layNetworks(node));
  await Deno.mkdir(join(node.binDir, "calls"));
  await installNoopPlugin(node.binDir, "noop", {});
  await node.startDaemon();
  const kept = stack.move();
  return { node, networks, [Symbol.asyncDispose]: () => kept.disposeAsync() };
}

nodeTest(
  "delegate ADD makes an interface that is the pod's from then on",
  async () => {
    await using scene = await createScene();
    const { node, networks } = scene;
    const sandbox = await createPod(node, "running");
    await addPod(node, sandbox);
    const asked = {
      ifname: "hot1",
      conf: choosable(networks),
      attributes: { ips: ["192.0.2.50/24"], mac: "02:00:00:00:00:50" },
    };
    const added = await plug(node, "ADD", sandbox, asked);
    equal(added.status, 200, JSON.stringify(added.body));
    deepEqual(added.body.Result, {
      cniVersion: "1.1.0",
      interfaces: [{
        name: "hot1",
        mac: "02:00:00:00:00:50",
        sandbox: sandbox.netns,
      }],
      ips: [{ address: "192.0.2.50/24", interface: 0 }],
    });
    deepEqual((await readKernel(sandbox)).hot1, {
      mac: "02:00:00:00:00:50",
      addresses: ["192.0.2.50/24"],
    });
    const status = await waitForStatus(node, sandbox, ["eth0", "hot1"]);
    deepEqual(status[1], {
      name: "plugged",
      interface: "hot1",
      ips: ["192.0.2.50"],
      mac: "02:00:00:00:00:50",
      dns: {},
    });
    ok(status[0]?.default);
    assertDone(node, await node.cni("CHECK", sandbox));
    await deletePod(node, sandbox, networks);
  },
);

nodeTest(
  "delegate DEL takes the interface away, also after a restart, and the pod goes on",
  async (t) => {
    await using scene = await createScene();
    const { node, networks } = scene;
    for (const signal of [undefined, "SIGTERM", "SIGKILL"] as const) {
      await step(t, `${signal ?? "no restart"}`, async () => {
        const sandbox = await createPod(node, "lasting");
        await addPod(node, sandbox);
        const before = await readKernel(sandbox);
        const asked = {
          ifname: "hot1",
          conf: choosable(networks),
          attributes: { ips: ["192.0.2.51/24"] },
        };
        equal((await plug(node, "ADD", sandbox, asked)).status, 200);
        if (signal !== undefined) {
          await node.stopDaemon(signal);
          await node.startDaemon();
        }
        await waitForStatus(node, sandbox, ["eth0", "hot1"]);
        deepEqual(await plug(node, "CHECK", sandbox, asked), {
          status: 200,
          body: undefined,
        });
        for (const _ of ["once", "again"]) {
          deepEqual(await plug(node, "DEL", sandbox, asked), {
            status: 200,
            body: undefined,
          });
        }
        deepEqual(await readKernel(sandbox), before);
        await waitForStatus(node, sandbox, ["eth0"]);
        assertDone(node, await node.cni("CHECK", sandbox));
        await deletePod(node, sandbox, networks);
      });
    }
  },
);

nodeTest(
  "delegate CHECK notices a removed interface, and one that was never there",
  async () => {
    await using scene = await createScene();
    const { node, networks } = scene;
    const sandbox = await createPod(node, "checked");
    await addPod(node, sandbox);
    const asked = {
      ifname: "hot1",
      conf: choosable(networks),
      attributes: { ips: ["192.0.2.52/24"] },
    };
    const missing = await plug(node, "CHECK", sandbox, asked);
    equal(missing.status, 400);
    equal(missing.body.code, 3);
    equal(
      missing.body.msg,
      `Interface "hot1" is not attached to container "${sandbox.containerId}"`,
    );
    equal((await plug(node, "ADD", sandbox, asked)).status, 200);
    await ipIn(sandbox, "link", "delete", "hot1");
    const removed = await plug(node, "CHECK", sandbox, asked);
    equal(removed.status, 400);
    match(
      removed.body.msg,
      /^Cannot check "plugged" as hot1: plugin macvlan: /,
    );
    await deletePod(node, sandbox, networks);
  },
);

nodeTest(
  "delegate ADD hands on addresses, hardware address and cni-args",
  async () => {
    await using scene = await createScene();
    const { node } = scene;
    const sandbox = await createPod(node, "asking");
    await addPod(node, sandbox);
    const added = await plug(node, "ADD", sandbox, {
      ifname: "hot1",
      conf: {
        ...NOOP,
        capabilities: { ips: true, mac: true },
        args: { cni: { kept: true } },
      },
      attributes: {
        ips: ["192.0.2.5/24", "2001:db8::5/64"],
        mac: "02:00:00:00:00:05",
        "cni-args": { color: "green" },
      },
    });
    equal(added.status, 200, JSON.stringify(added.body));
    const [call] = await readCalls(node.binDir);
    const conf = JSON.parse(call?.stdin ?? "{}");
    deepEqual(conf.runtimeConfig, {
      ips: ["192.0.2.5/24", "2001:db8::5/64"],
      mac: "02:00:00:00:00:05",
    });
    deepEqual(conf.args.cni, { kept: true, color: "green" });
    equal(call?.env["CNI_IFNAME"], "hot1");
    match(
      call?.env["CNI_ARGS"] ?? "",
      /^IgnoreUnknown=true;K8S_POD_NAMESPACE=default;K8S_POD_NAME=asking;/,
    );
    assertDone(node, await node.cni("DEL", sandbox));
  },
);

nodeTest("delegate refuses what it cannot do, in a CNI error", async (t) => {
  await using scene = await createScene();
  const { node, networks } = scene;
  const sandbox = await createPod(node, "refusing");
  await addPod(node, sandbox);
  const cases: {
    readonly title: string;
    readonly command?: string;
    readonly asked: Plug;
    readonly code: number;
    readonly msg: string;
  }[] = [
    {
      title: "a name that is taken",
      asked: { ifname: "eth0", conf: NOOP },
      code: 7,
      msg: "The pod has an interface of this name already: eth0",
    },
    {
      title: "an address that is none",
      asked: { ifname: "hot1", conf: NOOP, attributes: { ips: ["here"] } },
      code: 7,
      msg:
        'interfaceAttributes.ips[0]: expected an address or CIDR, found "here"',
    },
    {
      title: "a configuration without type",
      asked: { ifname: "hot1", conf: { cniVersion: "1.0.0", name: "x" } },
      code: 7,
      msg: '"type" of network "x" is missing',
    },
    {
      title: "Multus itself",
      asked: { ifname: "hot1", conf: { ...NOOP, type: "multus" } },
      code: 7,
      msg:
        'The configuration leads back to Multus itself and cannot be a delegate: type "multus"',
    },
    {
      title: "GC",
      command: "GC",
      asked: { ifname: "hot1", conf: NOOP },
      code: 4,
      msg: "The daemon does not do CNI_COMMAND GC",
    },
  ];
  for (const { title, command = "ADD", asked, code, msg } of cases) {
    await step(t, title, async () => {
      const { status, body } = await plug(node, command, sandbox, asked);
      equal(status, 400);
      deepEqual([body.code, body.msg], [code, msg]);
      deepEqual(Object.keys(await readKernel(sandbox)), ["eth0"]);
    });
  }
  await deletePod(node, sandbox, networks);
});

nodeTest("delegate ADD that fails leaves the pod as it was", async (t) => {
  await using scene = await createScene();
  const { node, networks } = scene;
  const sandbox = await createPod(node, "unharmed");
  await addPod(node, sandbox);
  const before = await readKernel(sandbox);
  const asked = { ifname: "hot1", conf: NOOP };
  const error = {
    cniVersion: "1.1.0",
    code: 101,
    msg: 'Cannot attach "noop-net" as hot1: plugin noop: No port free',
  };
  await step(t, "and is undone", async () => {
    await installNoopPlugin(node.binDir, "noop", {
      ADD: 'fail 101 "No port free"',
    });
    deepEqual(await plug(node, "ADD", sandbox, asked), {
      status: 400,
      body: error,
    });
    deepEqual(await readKernel(sandbox), before);
    assertDone(node, await node.cni("CHECK", sandbox));
  });
  await step(t, "and cannot be undone", async () => {
    await installNoopPlugin(node.binDir, "noop", {
      DEL: 'fail 102 "Switch is down"',
    });
    deepEqual(await plug(node, "ADD", sandbox, asked), {
      status: 400,
      body: error,
    });
    deepEqual(await readKernel(sandbox), before);
    assertDone(node, await node.cni("CHECK", sandbox));
  });
  await step(t, "and works the next time", async () => {
    await installNoopPlugin(node.binDir, "noop", { ADD: "default", DEL: ":" });
    equal((await plug(node, "ADD", sandbox, asked)).status, 200);
    await waitForStatus(node, sandbox, ["eth0", "hot1"]);
  });
  await deletePod(node, sandbox, networks);
});

nodeTest(
  "delegate ADD that a crash interrupted is undone, and the pod goes on",
  async () => {
    await using scene = await createScene();
    const { node, networks } = scene;
    const sandbox = await createPod(node, "surviving");
    await addPod(node, sandbox);
    const first = {
      ifname: "hot1",
      conf: choosable(networks),
      attributes: { ips: ["192.0.2.53/24"] },
    };
    equal((await plug(node, "ADD", sandbox, first)).status, 200);
    await installNoopPlugin(node.binDir, "noop", { ADD: "mark begun; hang" });
    const cut = plug(node, "ADD", sandbox, { ifname: "hot2", conf: NOOP })
      .catch((error: unknown) => error);
    await waitForFile(join(node.binDir, "noop.mark.begun"));
    const before = await readKernel(sandbox);
    await node.stopDaemon("SIGKILL");
    ok(await cut instanceof Error);
    await node.startDaemon();
    await waitUntil(
      async () =>
        (await readCalls(node.binDir)).some(({ command, env }) =>
          command === "DEL" && env["CNI_IFNAME"] === "hot2"
        ),
      { what: "the undoing of hot2" },
    );
    deepEqual(await readKernel(sandbox), before);
    assertDone(node, await node.cni("CHECK", sandbox));
    await installNoopPlugin(node.binDir, "noop", { ADD: "default" });
    const again = await plug(node, "ADD", sandbox, {
      ifname: "hot2",
      conf: NOOP,
    });
    equal(again.status, 200, JSON.stringify(again.body));
    await waitForStatus(node, sandbox, ["eth0", "hot1", "hot2"]);
    await deletePod(node, sandbox, networks);
  },
);

nodeTest("delegate STATUS asks the delegate's plugins", async (t) => {
  await using scene = await createScene();
  const { node, networks } = scene;
  const sandbox = await createPod(node, "any");
  const asked = { ifname: "hot1", conf: NOOP };
  await step(t, "one that is ready", async () => {
    deepEqual(await plug(node, "STATUS", sandbox, asked), {
      status: 200,
      body: undefined,
    });
  });
  await step(t, "one that is not", async () => {
    await installNoopPlugin(node.binDir, "noop", {
      STATUS: 'fail 50 "No agent"',
    });
    const { status, body } = await plug(node, "STATUS", sandbox, asked);
    equal(status, 400);
    deepEqual([body.code, body.msg], [50, "plugin noop: No agent"]);
  });
  await assertNothingLeft(node, networks, [sandbox]);
});
