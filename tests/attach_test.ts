/**
 * Pods get their networks: ADD, CHECK and DEL through the real shim and the
 * real daemon, with the reference plugins, on real interfaces. What is looked
 * at is the world afterwards: the kernel, libcni's cache, the result, the
 * annotation, the addresses in use, and what the API server was asked.
 */
import { deepEqual, equal, match, notEqual, ok } from "node:assert/strict";
import { SUPPORTED_VERSIONS } from "../lib/cni/version.ts";
import { waitUntil } from "./api_server/wait.ts";
import { layNetworks, type Networks } from "./networks.ts";
import { ip, type Sandbox, TestNode } from "./node.ts";
import { installNoopPlugin, readCalls } from "./noop_plugin.ts";
import { nodeTest, step } from "./on_node.ts";
import {
  addPod,
  assertAgreement,
  assertDone,
  assertNothingLeft,
  createPod,
  deletePod,
  type Expected,
  ipIn,
  putDefinition,
  putPod,
  readCache,
  readDefaultRoutes,
  readKernel,
  sandboxOf,
  waitForStatus,
} from "./pods.ts";

const DEFAULT: Expected = {
  name: "cluster-net",
  network: "cluster-net",
  ifname: "eth0",
};

/** Many times what it takes; only a wait for something that does not answer takes longer. */
const QUICK_MS = 5_000;

/** Definitions that the pods of this file ask for. */
function putDefinitions(node: TestNode, networks: Networks): void {
  putDefinition(node, "macvlan", networks.macvlan(1));
  // As a gateway it keeps its own MAC: without, it takes that of the lowest port, and the plugin's CHECK of other pods fails.
  const labBridge = networks.bridge(2, { isGateway: true });
  putDefinition(node, "lab-bridge", labBridge, "lab");
  putDefinition(node, "chosen", {
    cniVersion: "1.0.0",
    name: "chosen-conf",
    plugins: [{
      ...networks.macvlan(3),
      capabilities: { mac: true, ips: true },
      ipam: { type: "static" },
    }, { type: "tuning", capabilities: { mac: true } }],
  });
}

/** Requests other than those by which caches are kept, as "verb resource/subresource". */
function requestsOf(node: TestNode): string[] {
  return node.api.log.records
    .filter(({ verb }) => verb !== "watch" && verb !== "list")
    .map(({ verb, resource, subresource = "" }) =>
      `${verb} ${resource}/${subresource}`
    );
}

nodeTest(
  "ADD, CHECK and DEL do what both forms of the annotation ask for",
  async (t) => {
    await using node = await TestNode.create();
    await using networks = await layNetworks(node);
    putDefinitions(node, networks);
    await node.startDaemon();

    const cases: {
      readonly name: string;
      readonly networks?: string | unknown[];
      readonly attachments: readonly Expected[];
    }[] = [
      { name: "nothing", attachments: [] },
      { name: "blank", networks: "  ", attachments: [] },
      {
        name: "text",
        networks: " macvlan , lab/lab-bridge@second",
        attachments: [
          { name: "default/macvlan", network: "macvlan", ifname: "net1" },
          { name: "lab/lab-bridge", network: "lab-bridge", ifname: "second" },
        ],
      },
      {
        name: "same-twice",
        networks: "macvlan,macvlan@other",
        attachments: [
          { name: "default/macvlan", network: "macvlan", ifname: "net1" },
          { name: "default/macvlan", network: "macvlan", ifname: "other" },
        ],
      },
      {
        name: "json",
        networks: [
          { name: "lab-bridge", namespace: "lab", interface: "left" },
          {
            name: "chosen",
            ips: ["192.0.2.7/24"],
            mac: "02:00:00:00:00:42",
          },
        ],
        attachments: [
          { name: "lab/lab-bridge", network: "lab-bridge", ifname: "left" },
          { name: "default/chosen", network: "chosen-conf", ifname: "net2" },
        ],
      },
    ];
    for (const { name, networks: asked, attachments } of cases) {
      await step(t, name, async () => {
        const sandbox = await createPod(
          node,
          name,
          asked === undefined ? {} : { networks: asked },
        );
        const result = await addPod(node, sandbox);
        await assertAgreement(node, sandbox, [DEFAULT, ...attachments]);
        const cached = await readCache(node, sandbox, DEFAULT);
        deepEqual(result, cached.result);
        assertDone(node, await node.cni("CHECK", sandbox));
        await deletePod(node, sandbox, networks);
      });
    }
  },
);

nodeTest(
  "ADD gives the address and the hardware address that were asked for",
  async () => {
    await using node = await TestNode.create();
    await using networks = await layNetworks(node);
    putDefinitions(node, networks);
    await node.startDaemon();
    const sandbox = await createPod(node, "picky", {
      networks: [{
        name: "chosen",
        ips: ["192.0.2.7/24", "2001:db8::7/64"],
        mac: "02:00:00:00:00:42",
      }],
    });
    await addPod(node, sandbox);
    const { net1 } = await readKernel(sandbox);
    deepEqual(net1, {
      mac: "02:00:00:00:00:42",
      addresses: ["192.0.2.7/24", "2001:db8::7/64"],
    });
    const [, told] = await waitForStatus(node, sandbox, ["eth0", "net1"]);
    deepEqual(told?.ips, ["192.0.2.7", "2001:db8::7"]);
    await deletePod(node, sandbox, networks);
  },
);

nodeTest(
  "ADD answers in the version of the runtime's configuration, whatever the plugins speak",
  async (t) => {
    await using node = await TestNode.create();
    await using networks = await layNetworks(node);
    await node.startDaemon();
    putPod(node, "versions");
    const { name, type, daemonSocketDir, cniDir } = node.runtimeConf;
    // The plugins of Debian 12 do not know the newest version yet.
    const spoken = SUPPORTED_VERSIONS.filter((version) => version !== "1.1.0");
    for (const cniVersion of SUPPORTED_VERSIONS) {
      for (const pluginVersion of cniVersion === "1.0.0" ? spoken : ["1.0.0"]) {
        await step(t, `${cniVersion}, plugins ${pluginVersion}`, async () => {
          const plugin = networks.bridge(0, {
            name: "cluster-net",
            cniVersion: pluginVersion,
            isGateway: true,
            ipam: networks.hostLocal(0, { routes: [{ dst: "0.0.0.0/0" }] }),
          });
          node.runtimeConf = {
            cniVersion,
            name,
            type,
            daemonSocketDir,
            cniDir,
            delegates: [plugin],
          };
          const sandbox = await sandboxOf(node, "versions");
          assertShape(await addPod(node, sandbox), {
            cniVersion,
            gateway: `${networks.subnet(0)}.1`,
            hasInterfaces: compare(pluginVersion, "0.3.0"),
            address: (await readKernel(sandbox)).eth0?.addresses[0] ?? "",
          });
          await deletePod(node, sandbox, networks);
        });
      }
    }
  },
);

/** Whether a version is at least another; all of them have one digit in each place. */
function compare(version: string, other: string): boolean {
  return version >= other;
}

/** Asserts that a result says this, in the shape of its version. */
function assertShape(
  // deno-lint-ignore no-explicit-any -- a result of any version
  result: any,
  expected: {
    cniVersion: string;
    address: string;
    gateway: string;
    hasInterfaces: boolean;
  },
): void {
  const { cniVersion, address, gateway, hasInterfaces } = expected;
  equal(result.cniVersion, cniVersion);
  if (!compare(cniVersion, "0.3.0")) {
    equal(result.ip4.ip, address);
    equal(result.ip4.gateway, gateway);
    equal(result.ip4.routes[0].dst, "0.0.0.0/0");
    deepEqual([result.interfaces, result.ips], [undefined, undefined]);
    return;
  }
  equal(result.ip4, undefined);
  equal(result.ips[0].address, address);
  equal(result.ips[0].gateway, gateway);
  equal(
    result.ips[0].version,
    compare(cniVersion, "1.0.0") ? undefined : "4",
  );
  equal(result.routes[0].dst, "0.0.0.0/0");
  if (!hasInterfaces) return;
  const names = result.interfaces.map(({ name }: { name: string }) => name);
  ok(names.includes("eth0"), names.join());
  equal(result.interfaces[result.ips[0].interface].name, "eth0");
}

nodeTest("CHECK notices what somebody has removed", async (t) => {
  await using node = await TestNode.create();
  await using networks = await layNetworks(node);
  putDefinitions(node, networks);
  await node.startDaemon();
  const damages: {
    readonly name: string;
    readonly command: readonly string[];
    readonly msg: RegExp;
  }[] = [
    {
      name: "a secondary interface",
      command: ["link", "delete", "net1"],
      msg: /^Cannot check "default\/macvlan" as net1: plugin macvlan: .*net1/,
    },
    {
      name: "an address",
      command: ["addr", "flush", "dev", "net1"],
      msg: /^Cannot check "default\/macvlan" as net1: plugin macvlan: .*net1/,
    },
    {
      name: "the default network's interface",
      command: ["link", "delete", "eth0"],
      msg: /^Cannot check "cluster-net" as eth0: plugin bridge: .*eth0/,
    },
  ];
  for (const { name, command, msg } of damages) {
    await step(t, name, async () => {
      const sandbox = await createPod(node, "checked", { networks: "macvlan" });
      await addPod(node, sandbox);
      assertDone(node, await node.cni("CHECK", sandbox));
      await ipIn(sandbox, ...command);
      const { code, json } = await node.cni("CHECK", sandbox);
      equal(code, 1);
      match(json.msg, msg);
      await deletePod(node, sandbox, networks);
    });
  }
});

nodeTest("CHECK of a container that is not attached is error 3", async () => {
  await using node = await TestNode.create();
  await using _networks = await layNetworks(node);
  await node.startDaemon();
  const sandbox = await createPod(node, "never-added");
  const { code, json } = await node.cni("CHECK", sandbox);
  equal(code, 1);
  deepEqual(json, {
    cniVersion: "1.0.0",
    code: 3,
    msg: `Nothing is attached to container "${sandbox.containerId}"`,
  });
});

nodeTest(
  "DEL succeeds twice, without the netns, and when pod and networks are gone",
  async (t) => {
    await using node = await TestNode.create();
    await using networks = await layNetworks(node);
    putDefinitions(node, networks);
    await node.startDaemon();
    putPod(node, "leaver", { networks: "macvlan, lab/lab-bridge" });

    await step(t, "twice", async () => {
      const sandbox = await sandboxOf(node, "leaver");
      await addPod(node, sandbox);
      await deletePod(node, sandbox, networks);
      await deletePod(node, sandbox, networks);
    });
    await step(t, "when the netns is gone", async () => {
      const sandbox = await sandboxOf(node, "leaver");
      await addPod(node, sandbox);
      notEqual((await networks.addressesInUse()).length, 0);
      await node.removeSandbox(sandbox);
      assertDone(node, await node.cni("DEL", sandbox));
      await assertNothingLeft(node, networks, []);
    });
    await step(t, "when the runtime names no netns", async () => {
      const sandbox = await sandboxOf(node, "leaver");
      await addPod(node, sandbox);
      const outcome = await node.cni("DEL", sandbox, {
        env: { CNI_NETNS: "" },
      });
      assertDone(node, outcome);
      await assertNothingLeft(node, networks, [sandbox]);
    });
    await step(
      t,
      "when pod and networks are gone from the cluster",
      async () => {
        const sandbox = await sandboxOf(node, "leaver");
        await addPod(node, sandbox);
        node.api.delete("NetworkAttachmentDefinition", "macvlan");
        node.api.delete("Pod", "leaver");
        await deletePod(node, sandbox, networks);
      },
    );
  },
);

nodeTest(
  "DEL of a container that nobody knows is done at once and asks nobody",
  async () => {
    await using node = await TestNode.create();
    await using networks = await layNetworks(node);
    putPod(node, "stranger");
    await node.startDaemon();
    const sandbox = await sandboxOf(node, "stranger");
    node.api.log.clear();
    const outcome = await node.cni("DEL", sandbox);
    assertDone(node, outcome);
    ok(outcome.durationMs < QUICK_MS, `${outcome.durationMs} ms`);
    deepEqual(requestsOf(node), []);
    await assertNothingLeft(node, networks, [sandbox]);
  },
);

nodeTest(
  "ADD asks the API server for nothing and writes one status",
  async () => {
    await using node = await TestNode.create();
    await using networks = await layNetworks(node);
    putDefinitions(node, networks);
    const names = ["first", "second", "third"];
    for (const name of names) {
      putPod(node, name, { networks: "macvlan, lab/lab-bridge" });
    }
    await node.startDaemon();
    node.api.log.clear();
    const sandboxes = await Promise.all(
      names.map((name) => sandboxOf(node, name)),
    );
    for (const sandbox of sandboxes) {
      await addPod(node, sandbox);
      await waitForStatus(node, sandbox, ["eth0", "net1", "net2"]);
    }
    const asked = requestsOf(node).filter((one) => !one.endsWith(" events/"));
    deepEqual(asked, names.map(() => "patch pods/status"));
    await waitUntil(
      () =>
        node.api.list("Event", "default")
          .flatMap(({ message }) => String(message).split("\n"))
          .length >= 3 * names.length,
      { what: "each attachment in an event" },
    );
    for (const sandbox of sandboxes) {
      assertDone(node, await node.cni("CHECK", sandbox));
      assertDone(node, await node.cni("DEL", sandbox));
    }
    const askedAfter = requestsOf(node).filter((one) =>
      !one.endsWith(" events/")
    );
    deepEqual(askedAfter, asked, "CHECK and DEL ask for nothing");
    await assertNothingLeft(node, networks, sandboxes);
  },
);

nodeTest("ADD tells the pod what it got by events", async () => {
  await using node = await TestNode.create();
  await using networks = await layNetworks(node);
  putDefinitions(node, networks);
  await node.startDaemon();
  const sandbox = await createPod(node, "told", { networks: "macvlan" });
  await addPod(node, sandbox);
  const kernel = await readKernel(sandbox);
  const messages = (): string[] =>
    node.api.list("Event", "default").map((event) =>
      `${event.type} ${event.reason} ${event.note ?? event.message}`
    ).sort();
  await waitUntil(() => messages().length >= 2, { what: "two events" });
  deepEqual(messages(), [
    `Normal AddedInterface Add eth0 [${kernel.eth0?.addresses}] from cluster-net`,
    `Normal AddedInterface Add net1 [${kernel.net1?.addresses}] from default/macvlan`,
  ]);
  await deletePod(node, sandbox, networks);
});

nodeTest("ADD undoes what it began when a network fails", async (t) => {
  await using node = await TestNode.create({ plugins: ["one", "two"] });
  await using networks = await layNetworks(node);
  putDefinitions(node, networks);
  await Deno.mkdir(`${node.binDir}/calls`);
  await installNoopPlugin(node.binDir, "one", {});
  await installNoopPlugin(node.binDir, "two", {
    ADD: 'fail 101 "No port free" "switch 7"',
  });
  putDefinition(node, "one", { cniVersion: "1.0.0", type: "one" });
  putDefinition(node, "two", { cniVersion: "1.0.0", type: "two" });
  await node.startDaemon();
  const orders = [
    { networks: "two", undone: ["two"], ifname: "net1" },
    { networks: "macvlan,two", undone: ["two"], ifname: "net2" },
    {
      networks: "macvlan, one, lab/lab-bridge, two, macvlan@never",
      undone: ["two", "one"],
      ifname: "net4",
    },
  ];
  for (const [index, { networks: asked, undone, ifname }] of orders.entries()) {
    await step(t, asked, async () => {
      const before = (await readCalls(node.binDir)).length;
      const sandbox = await createPod(node, `unlucky${index}`, {
        networks: asked,
      });
      const { code, json } = await node.cni("ADD", sandbox);
      equal(code, 1);
      deepEqual(json, {
        cniVersion: "1.0.0",
        code: 101,
        msg:
          `Cannot attach "default/two" as ${ifname}: plugin two: No port free (switch 7)`,
      });
      await assertNothingLeft(node, networks, [sandbox]);
      const calls = (await readCalls(node.binDir)).slice(before);
      deepEqual(
        calls.filter(({ command }) => command === "DEL").map(({ type }) =>
          type
        ),
        undone,
      );
      assertDone(node, await node.cni("DEL", sandbox));
    });
  }
});

nodeTest("ADD after an ADD without DEL begins anew", async () => {
  await using node = await TestNode.create();
  await using networks = await layNetworks(node);
  putDefinitions(node, networks);
  await node.startDaemon();
  const sandbox = await createPod(node, "again", { networks: "macvlan" });
  await addPod(node, sandbox);
  await addPod(node, sandbox);
  await assertAgreement(node, sandbox, [DEFAULT, {
    name: "default/macvlan",
    network: "macvlan",
    ifname: "net1",
  }]);
  equal((await networks.addressesInUse()).length, 2);
  await deletePod(node, sandbox, networks);
});

nodeTest(
  "ADD moves the default route where the pod wants it, and everybody says so",
  async (t) => {
    await using node = await TestNode.create();
    await using networks = await layNetworks(node);
    const both = (number: number): Record<string, unknown> => ({
      isGateway: true,
      ipam: networks.hostLocal(number, {
        ranges: [
          [{ subnet: `${networks.subnet(number)}.0/24` }],
          [{ subnet: `fd00:${number + 1}::/64` }],
        ],
        routes: [{ dst: "0.0.0.0/0" }, { dst: "::/0" }],
      }),
    });
    putDefinition(node, "dual", networks.bridge(4, both(4)));
    putDefinition(node, "uplink", networks.bridge(5, { isGateway: true }));
    await node.startDaemon();
    const gateway4 = `${networks.subnet(4)}.1`;
    const gateway5 = `${networks.subnet(5)}.1`;
    const clusterGateway = `${networks.subnet(0)}.1`;
    const cases = [
      {
        name: "nobody-asks",
        networks: [{ name: "uplink" }],
        v4: { eth0: [clusterGateway], net1: [] },
        v6: { eth0: [], net1: [] },
      },
      {
        name: "of-one-family",
        networks: [{ name: "uplink", "default-route": [gateway5] }],
        v4: { eth0: [], net1: [gateway5] },
        v6: { eth0: [], net1: [] },
      },
      {
        name: "of-both-families",
        networks: [{
          name: "dual",
          "default-route": [gateway4, "fd00:5::1"],
        }],
        v4: { eth0: [], net1: [gateway4] },
        v6: { eth0: [], net1: ["fd00:5::1"] },
      },
      {
        name: "to-another",
        networks: [
          { name: "uplink", "default-route": [gateway5] },
          { name: "dual" },
        ],
        v4: { eth0: [], net1: [gateway5], net2: [] },
        v6: { eth0: [], net1: [], net2: ["fd00:5::1"] },
      },
    ];
    for (const { name, networks: asked, v4, v6 } of cases) {
      await step(t, name, async () => {
        const sandbox = await createPod(node, name, { networks: asked });
        const result = await addPod(node, sandbox);
        await assertDefaultRoutes(node, sandbox, { v4, v6, result });
        assertDone(node, await node.cni("CHECK", sandbox));
        await deletePod(node, sandbox, networks);
      });
    }
  },
);

type Gateways = Readonly<Record<string, readonly string[]>>;

/** Asserts that kernel, cache, result and network-status tell of these default routes, by interface, and of no other. */
async function assertDefaultRoutes(
  node: TestNode,
  sandbox: Sandbox,
  // deno-lint-ignore no-explicit-any -- the result as the shim printed it
  { v4, v6, result }: { v4: Gateways; v6: Gateways; result: any },
): Promise<void> {
  const flat = (gateways: Gateways): string[] =>
    Object.entries(gateways).flatMap(([ifname, list]) =>
      list.map((gateway) => `${gateway} ${ifname}`)
    ).sort();
  deepEqual(await readDefaultRoutes(sandbox, 4), flat(v4));
  deepEqual(await readDefaultRoutes(sandbox, 6), flat(v6));
  const ifnames = Object.keys(v4);
  const status = await waitForStatus(node, sandbox, ifnames);
  for (const [index, ifname] of ifnames.entries()) {
    const expected = [...v4[ifname] ?? [], ...v6[ifname] ?? []];
    deepEqual(status[index]?.gateway ?? [], expected, `status of ${ifname}`);
    const name = status[index]?.name ?? "";
    const network = name.slice(name.indexOf("/") + 1);
    const cached = await readCache(node, sandbox, { network, ifname });
    deepEqual(gatewaysOf(cached.result), expected, `cache of ${ifname}`);
    if (index === 0) deepEqual(gatewaysOf(result), expected, "result");
  }
}

/** The gateways of a result's default routes; one that names none goes by the gateway of its family's address. */
// deno-lint-ignore no-explicit-any -- a result of version 1.0.0
function gatewaysOf({ routes = [], ips = [] }: any): string[] {
  return routes.filter(({ dst }: { dst: string }) => /\/0$/.test(dst)).map(
    ({ dst, gw }: { dst: string; gw?: string }) =>
      gw ??
        ips.find(({ address }: { address: string }) =>
          address.includes(":") === dst.includes(":")
        )?.gateway,
  );
}

nodeTest(
  "ADD and DEL of many pods at once give each its own addresses and leave none",
  async () => {
    await using node = await TestNode.create();
    await using networks = await layNetworks(node);
    putDefinitions(node, networks);
    await node.startDaemon();
    const sandboxes = await Promise.all(
      Array.from(
        { length: 12 },
        (_, index) =>
          createPod(node, `crowd${index}`, {
            networks: index % 2 === 0 ? "macvlan, lab/lab-bridge" : "macvlan",
          }),
      ),
    );
    await Promise.all(sandboxes.map((sandbox) => addPod(node, sandbox)));
    const kernels = await Promise.all(sandboxes.map(readKernel));
    const addresses = kernels.flatMap((kernel) =>
      Object.values(kernel).flatMap((one) => one.addresses)
    );
    equal(addresses.length, 12 + 12 + 6);
    equal(new Set(addresses).size, addresses.length);
    await Promise.all(
      sandboxes.map(async (sandbox) =>
        assertDone(node, await node.cni("DEL", sandbox))
      ),
    );
    await assertNothingLeft(node, networks, sandboxes);
  },
);

nodeTest(
  "DEL that comes while ADD works ends it, and nothing is left",
  async () => {
    await using node = await TestNode.create({ plugins: ["slow"] });
    await using networks = await layNetworks(node);
    await installNoopPlugin(node.binDir, "slow", { ADD: "mark begun; hang" });
    putDefinition(node, "slow", { cniVersion: "1.0.0", type: "slow" });
    await node.startDaemon();
    const sandbox = await createPod(node, "hasty", { networks: "slow" });
    const adding = node.cni("ADD", sandbox);
    await waitUntil(
      () =>
        Deno.stat(`${node.binDir}/slow.mark.begun`).then(
          () => true,
          () => false,
        ),
      { what: "the slow plugin" },
    );
    const deleted = await node.cni("DEL", sandbox);
    const added = await adding;
    assertDone(node, deleted);
    ok(deleted.durationMs < QUICK_MS, `${deleted.durationMs} ms`);
    equal(added.code, 1);
    equal(added.json.code, 11);
    await assertNothingLeft(node, networks, [sandbox]);
  },
);

nodeTest(
  "ADD of a NAD without configuration takes the file of its name",
  async () => {
    await using node = await TestNode.create();
    await using networks = await layNetworks(node);
    const { cniVersion, ...plugin } = networks.bridge(6);
    await Deno.writeTextFile(
      `${node.profile.multusConfDir}/50-storage.conflist`,
      JSON.stringify({ cniVersion, name: "storage", plugins: [plugin] }),
    );
    putDefinition(node, "storage", "");
    await node.startDaemon();
    const sandbox = await createPod(node, "database", { networks: "storage" });
    await addPod(node, sandbox);
    await assertAgreement(node, sandbox, [DEFAULT, {
      name: "default/storage",
      network: "storage",
      ifname: "net1",
    }]);
    await ip("link", "show", networks.bridgeName("b6"));
    await deletePod(node, sandbox, networks);
  },
);
