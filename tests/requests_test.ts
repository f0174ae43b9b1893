/**
 * What a pod may ask of an attachment, each request through the real shim and
 * the real daemon to real plugins. After each ADD the kernel, the result,
 * libcni's cache and network-status are read, and must agree.
 */
import { deepEqual, equal, match, ok } from "node:assert/strict";
import {
  hasLinkKind,
  installHandOnPlugin,
  installLinkPlugin,
  titleOf,
} from "./kernel_links.ts";
import { layNetworks, type Networks } from "./networks.ts";
import { runProgram, type Sandbox, TestNode } from "./node.ts";
import { readCalls } from "./noop_plugin.ts";
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
  readCache,
  readDefaultRoutes,
  readKernel,
  waitForStatus,
} from "./pods.ts";

const DEFAULT: Expected = {
  name: "cluster-net",
  network: "cluster-net",
  ifname: "eth0",
};

function attachmentOf(name: string, ifname = "net1"): Expected {
  return { name: `default/${name}`, network: name, ifname };
}

/** A pod with one request: its sandbox while `look` looks at it; then it is deleted, and nothing may be left. */
async function withPod(
  node: TestNode,
  networks: Networks,
  options: {
    name: string;
    asks: Record<string, unknown>;
    ifname?: string;
    /** Whether the plugins' CHECK can be trusted; it is unless said otherwise. */
    checks?: boolean;
    look: (sandbox: Sandbox) => Promise<void>;
  },
): Promise<void> {
  const { name, asks, ifname = "net1", checks = true, look } = options;
  const network = String(asks.name);
  const sandbox = await createPod(node, name, { networks: [asks] });
  const result = await addPod(node, sandbox);
  const cached = await readCache(node, sandbox, DEFAULT);
  deepEqual(result, cached.result, "result and cache of the default network");
  await assertAgreement(node, sandbox, [
    DEFAULT,
    attachmentOf(network, ifname),
  ]);
  if (checks) assertDone(node, await node.cni("CHECK", sandbox));
  await look(sandbox);
  await deletePod(node, sandbox, networks);
}

/** A list of one plugin with capabilities, perhaps with others behind. */
function chain(
  name: string,
  ...plugins: readonly Record<string, unknown>[]
): Record<string, unknown> {
  return {
    cniVersion: "1.0.0",
    name,
    plugins: plugins.map(({ cniVersion: _, ...plugin }) => plugin),
  };
}

nodeTest("the request ips gives these addresses", async (t) => {
  await using node = await TestNode.create();
  await using networks = await layNetworks(node);
  const subnet = networks.subnet(1);
  // host-local takes one address from CNI_ARGS, where all of them stand.
  const ranged = { ranges: `${subnet}.0/24`, ranges6: "fd01::/64" };
  for (const [name, range] of Object.entries(ranged)) {
    const ipam = networks.hostLocal(1, { ranges: [[{ subnet: range }]] });
    const plugin = networks.bridge(1, { capabilities: { ips: true }, ipam });
    putDefinition(node, name, chain(name, plugin));
  }
  putDefinition(
    node,
    "fixed",
    chain(
      "fixed",
      networks.macvlan(2, {
        capabilities: { ips: true },
        ipam: { type: "static" },
      }),
    ),
  );
  await node.startDaemon();
  const cases = [
    {
      name: "v4",
      asks: { name: "ranges", ips: [`${subnet}.77`] },
      addresses: [`${subnet}.77/24`],
    },
    {
      name: "v6",
      asks: { name: "ranges6", ips: ["fd01::77"] },
      addresses: ["fd01::77/64"],
    },
    {
      name: "v4-cidr",
      asks: { name: "fixed", ips: ["192.0.2.9/28"] },
      addresses: ["192.0.2.9/28"],
    },
    {
      name: "v6-cidr",
      asks: { name: "fixed", ips: ["2001:db8:1::9/120"] },
      addresses: ["2001:db8:1::9/120"],
    },
    {
      name: "both-families",
      asks: { name: "fixed", ips: ["192.0.2.9/24", "2001:db8:1::9/64"] },
      addresses: ["192.0.2.9/24", "2001:db8:1::9/64"],
    },
  ];
  for (const { name, asks, addresses } of cases) {
    await step(t, name, () =>
      withPod(node, networks, {
        name,
        asks,
        look: async (sandbox) => {
          const { net1 } = await readKernel(sandbox);
          deepEqual(net1?.addresses, addresses);
        },
      }));
  }
});

nodeTest("the request mac gives this hardware address", async (t) => {
  await using node = await TestNode.create();
  await using networks = await layNetworks(node);
  const capabilities = { mac: true };
  putDefinition(
    node,
    "tuned",
    chain("tuned", networks.bridge(1), { type: "tuning", capabilities }),
  );
  putDefinition(node, "by-bridge", networks.bridge(2, { capabilities }));
  putDefinition(node, "by-macvlan", networks.macvlan(3, { capabilities }));
  putDefinition(node, "by-cni-args", networks.bridge(4));
  await node.startDaemon();
  const mac = "02:11:22:33:44:55";
  for (const network of ["tuned", "by-bridge", "by-macvlan", "by-cni-args"]) {
    await step(t, network, () =>
      withPod(node, networks, {
        name: network,
        asks: { name: network, mac: mac.toUpperCase() },
        look: async (sandbox) => {
          const { net1 } = await readKernel(sandbox);
          equal(net1?.mac, mac);
          const [, told] = await waitForStatus(node, sandbox, ["eth0", "net1"]);
          equal(told?.mac, mac);
        },
      }));
  }
});

nodeTest("the request interface gives this name", async (t) => {
  await using node = await TestNode.create();
  await using networks = await layNetworks(node);
  putDefinition(node, "named", networks.bridge(1));
  await node.startDaemon();
  for (const key of ["interface", "interfaceRequest"]) {
    await step(t, key, () =>
      withPod(node, networks, {
        name: key.toLowerCase(),
        asks: { name: "named", [key]: "storage0" },
        ifname: "storage0",
        look: async (sandbox) => {
          const kernel = await readKernel(sandbox);
          deepEqual(Object.keys(kernel).sort(), ["eth0", "storage0"]);
        },
      }));
  }
});

/** All rules of the node's IPv4 tables. */
async function readRules(): Promise<string> {
  const tables = ["filter", "nat", "mangle"].map((table) =>
    runProgram(["iptables", "-t", table, "-S"])
  );
  const read = await Promise.all(tables);
  return read.map(({ stdout }) => stdout).join("");
}

nodeTest(
  "the request portMappings leads ports of the host to the pod",
  async (t) => {
    await using node = await TestNode.create();
    await using networks = await layNetworks(node);
    putDefinition(
      node,
      "published",
      chain("published", networks.bridge(1, { isGateway: true }), {
        type: "portmap",
        capabilities: { portMappings: true },
      }),
    );
    await node.startDaemon();
    const [first = 0, second = 0] = crypto.getRandomValues(new Uint8Array(2));
    const tcp = 20_000 + first;
    const udp = 30_000 + second;
    const portMappings = [
      { hostPort: tcp, containerPort: 80, protocol: "tcp" },
      { hostPort: udp, containerPort: 53, protocol: "UDP" },
      {
        hostPort: tcp + 300,
        containerPort: 81,
        protocol: "tcp",
        hostIP: "127.0.0.1",
      },
    ];
    await step(t, "in the kernel", () =>
      withPod(node, networks, {
        name: "publisher",
        asks: { name: "published", portMappings },
        // CHECK of portmap 1.1.1 looks for rules of IPv6 on a pod that has none of it.
        checks: false,
        look: async (sandbox) => {
          const rules = await readRules();
          const { net1 } = await readKernel(sandbox);
          const address = net1?.addresses[0]?.replace(/\/.*/, "");
          ok(rules.includes(`--to-destination ${address}:80`), rules);
          match(rules, new RegExp(`-p tcp .*--dport ${tcp} .*DNAT`));
          match(rules, new RegExp(`-p udp .*--dport ${udp} .*DNAT`));
          match(rules, /-d 127\.0\.0\.1\/32 -p tcp .*:81/);
          const cached = await readCache(
            node,
            sandbox,
            attachmentOf("published"),
          );
          deepEqual(cached.capabilityArgs, { portMappings });
        },
      }));
    await step(t, "and nowhere after DEL", async () => {
      ok(!(await readRules()).includes(String(tcp)));
    });
  },
);

nodeTest("the request bandwidth limits the pod's traffic", async (t) => {
  await using node = await TestNode.create();
  await using networks = await layNetworks(node);
  putDefinition(
    node,
    "slow",
    chain("slow", networks.bridge(1), {
      type: "bandwidth",
      capabilities: { bandwidth: true },
    }),
  );
  await node.startDaemon();
  const qdiscs = async (): Promise<string> =>
    (await runProgram(["tc", "qdisc", "show"])).stdout;
  const bandwidth = {
    ingressRate: 4_000_000,
    ingressBurst: 800_000,
    egressRate: 2_000_000,
    egressBurst: 400_000,
  };
  // The plugin tells of the ifb device that it makes beside the pod's own interface.
  await step(t, "in the kernel", async () => {
    const sandbox = await createPod(node, "crawler", {
      networks: [{ name: "slow", bandwidth }],
    });
    await addPod(node, sandbox);
    await assertAgreement(node, sandbox, [DEFAULT, attachmentOf("slow")]);
    const shaped = await qdiscs();
    match(shaped, /qdisc tbf .* rate 4Mbit/);
    match(shaped, /qdisc tbf .* rate 2Mbit/);
    assertDone(node, await node.cni("CHECK", sandbox));
    await deletePod(node, sandbox, networks);
  });
  await step(t, "and nowhere after DEL", async () => {
    ok(!(await qdiscs()).includes("tbf"));
  });
});

nodeTest("the request cni-args reaches each plugin of a list", async () => {
  await using node = await TestNode.create({ plugins: ["listener"] });
  await using networks = await layNetworks(node);
  await installHandOnPlugin(node, "listener");
  const args = { cni: { kept: 9007199254740993n.toString(), labels: [] } };
  const text = JSON.stringify(
    chain(
      "argued",
      networks.bridge(1, { ipam: networks.hostLocal(1) }),
      { type: "listener", args },
    ),
  );
  putDefinition(node, "argued", text);
  await node.startDaemon();
  const wanted = `${networks.subnet(1)}.99`;
  await withPod(node, networks, {
    name: "arguer",
    asks: {
      name: "argued",
      "cni-args": { ips: [wanted], labels: [{ key: "a", value: "b" }] },
    },
    look: async (sandbox) => {
      // host-local takes addresses from args.cni.ips.
      const { net1 } = await readKernel(sandbox);
      deepEqual(net1?.addresses, [`${wanted}/24`]);
      const call = (await readCalls(node.binDir)).find(({ command, env }) =>
        command === "ADD" && env.CNI_CONTAINERID === sandbox.containerId
      );
      deepEqual(JSON.parse(call?.stdin ?? "{}").args, {
        cni: {
          kept: "9007199254740993",
          labels: [{ key: "a", value: "b" }],
          ips: [wanted],
        },
      });
    },
  });
});

nodeTest(
  "the requests infiniband-guid and deviceID reach the plugin (scripted: no such hardware)",
  async (t) => {
    await using node = await TestNode.create({
      plugins: ["ib-sriov", "sriov"],
    });
    await using networks = await layNetworks(node);
    await installLinkPlugin(node, "ib-sriov", "192.0.2.20/24");
    await installLinkPlugin(node, "sriov", "192.0.2.21/24");
    putDefinition(node, "ib", {
      cniVersion: "1.0.0",
      name: "ib",
      type: "ib-sriov",
      capabilities: { infinibandGUID: true },
    });
    putDefinition(
      node,
      "vf",
      chain("vf", { type: "sriov", capabilities: { deviceID: true } }),
    );
    await node.startDaemon();
    const added = async (
      type: string,
      { containerId }: Sandbox,
      // deno-lint-ignore no-explicit-any -- a configuration, looked at by assertions
    ): Promise<any> => {
      const call = (await readCalls(node.binDir)).find((one) =>
        one.type === type && one.command === "ADD" &&
        one.env.CNI_CONTAINERID === containerId
      );
      return JSON.parse(call?.stdin ?? "{}");
    };
    await step(t, "infiniband-guid", () =>
      withPod(node, networks, {
        name: "ib-pod",
        asks: { name: "ib", "infiniband-guid": "c2:11:22:33:44:55:66:77" },
        look: async (sandbox) => {
          const { runtimeConfig } = await added("ib-sriov", sandbox);
          deepEqual(runtimeConfig, {
            infinibandGUID: "c2:11:22:33:44:55:66:77",
          });
        },
      }));
    await step(t, "deviceID", () =>
      withPod(node, networks, {
        name: "vf-pod",
        asks: { name: "vf", deviceID: "0000:03:02.1" },
        look: async (sandbox) => {
          const conf = await added("sriov", sandbox);
          deepEqual(
            [conf.deviceID, conf.pciBusID, conf.runtimeConfig],
            [undefined, undefined, { deviceID: "0000:03:02.1" }],
          );
        },
      }));
  },
);

nodeTest(
  "networks with sbr, firewall and tuning do in the kernel what they say",
  async (t) => {
    await using node = await TestNode.create();
    await using networks = await layNetworks(node);
    putDefinition(
      node,
      "by-source",
      chain(
        "by-source",
        networks.bridge(1, {
          isGateway: true,
          ipam: networks.hostLocal(1, { routes: [{ dst: "0.0.0.0/0" }] }),
        }),
        { type: "sbr" },
      ),
    );
    putDefinition(
      node,
      "guarded",
      chain("guarded", networks.bridge(2), {
        type: "firewall",
        backend: "iptables",
      }),
    );
    putDefinition(
      node,
      "jumbo",
      chain("jumbo", networks.bridge(3), {
        type: "tuning",
        mtu: 1400,
        sysctl: { "net.ipv4.conf.net1.arp_filter": "1" },
      }),
    );
    await node.startDaemon();
    await step(t, "sbr", async () => {
      const sandbox = await createPod(node, "sourced", {
        networks: "by-source",
      });
      await addPod(node, sandbox);
      await assertAgreement(node, sandbox, [
        DEFAULT,
        attachmentOf("by-source"),
      ]);
      const { net1 } = await readKernel(sandbox);
      const address = net1?.addresses[0]?.replace(/\/.*/, "") ?? "";
      match(
        await ipIn(sandbox, "rule", "list"),
        new RegExp(`from ${address.replaceAll(".", "\\.")} lookup 100`),
      );
      match(
        await ipIn(sandbox, "route", "show", "table", "100"),
        new RegExp(`default via ${networks.subnet(1)}\\.1 dev net1`),
      );
      deepEqual(await readDefaultRoutes(sandbox), [
        `${networks.subnet(0)}.1 eth0`,
      ]);
      await deletePod(node, sandbox, networks);
    });
    await step(t, "firewall", () =>
      withPod(node, networks, {
        name: "guarded",
        asks: { name: "guarded" },
        look: async (sandbox) => {
          const { net1 } = await readKernel(sandbox);
          const address = net1?.addresses[0]?.replace(/\/.*/, "");
          const rules = await readRules();
          ok(
            rules.includes(`-A CNI-FORWARD -s ${address}/32 -j ACCEPT`),
            rules,
          );
        },
      }));
    await step(t, "tuning", () =>
      withPod(node, networks, {
        name: "tuned",
        asks: { name: "jumbo" },
        look: async (sandbox) => {
          match(await ipIn(sandbox, "link", "show", "net1"), /mtu 1400/);
          const netns = sandbox.netns.replace(/^.*\//, "");
          const { stdout } = await runProgram([
            "ip",
            "netns",
            "exec",
            netns,
            "cat",
            "/proc/sys/net/ipv4/conf/net1/arp_filter",
          ]);
          equal(stdout.trim(), "1");
        },
      }));
  },
);

nodeTest("networks on ipvlan, vlan and vrf attach", async (t) => {
  await using node = await TestNode.create({
    plugins: ["ipvlan", "vlan", "vrf"],
  });
  await using networks = await layNetworks(node);
  const master = networks.uplink;
  const definitions = {
    ipvlan: networks.macvlan(1, { type: "ipvlan", mode: "l2" }),
    vlan: networks.macvlan(2, { type: "vlan", vlanId: 100 }),
    vrf: chain("vrf", networks.bridge(3), { type: "vrf", vrfname: "blue" }),
  };
  const isReal: Record<string, boolean> = {};
  for (const [kind, definition] of Object.entries(definitions)) {
    putDefinition(node, kind, definition);
    isReal[kind] = await hasLinkKind(kind, master);
    if (isReal[kind]) continue;
    if (kind === "vrf") await installHandOnPlugin(node, kind);
    else await installLinkPlugin(node, kind, "192.0.2.40/24");
  }
  await node.startDaemon();
  for (const kind of Object.keys(definitions)) {
    const real = isReal[kind] === true;
    await step(t, titleOf(kind, real), async () => {
      const sandbox = await createPod(node, `on-${kind}`, { networks: kind });
      await addPod(node, sandbox);
      if (kind === "vrf" && real) {
        await waitForStatus(node, sandbox, ["eth0", "net1"]);
        match(await ipIn(sandbox, "link", "show", "net1"), /master blue/);
      } else {
        await assertAgreement(node, sandbox, [DEFAULT, attachmentOf(kind)]);
      }
      assertDone(node, await node.cni("CHECK", sandbox));
      await deletePod(node, sandbox, networks);
    });
  }
});

/** Gateways by interface, as the kernel has them: "gateway interface". */
interface RouteCase {
  readonly name: string;
  readonly networks: readonly Record<string, unknown>[];
  readonly v4: readonly string[];
  readonly v6: readonly string[];
}

nodeTest(
  "the request default-route of one family, of an empty list, and of none",
  async (t) => {
    await using node = await TestNode.create();
    await using networks = await layNetworks(node);
    const dual = (number: number): Record<string, unknown> =>
      networks.bridge(number, {
        isGateway: true,
        ipam: networks.hostLocal(number, {
          ranges: [
            [{ subnet: `${networks.subnet(number)}.0/24` }],
            [{ subnet: `fd00:${number}::/64` }],
          ],
        }),
      });
    putDefinition(node, "quiet", dual(1));
    putDefinition(node, "loud6", {
      ...dual(2),
      ipam: networks.hostLocal(2, {
        ranges: [[{ subnet: "fd00:2::/64" }]],
        routes: [{ dst: "::/0" }],
      }),
    });
    putDefinition(node, "loud4", {
      ...dual(3),
      ipMasq: false,
      ipam: networks.hostLocal(3, { routes: [{ dst: "0.0.0.0/0" }] }),
    });
    await node.startDaemon();
    const gateway = (number: number): string => `${networks.subnet(number)}.1`;
    const cluster = `${gateway(0)} eth0`;
    const cases: readonly RouteCase[] = [
      {
        name: "v6-only",
        networks: [{ name: "quiet", "default-route": ["fd00:1::1"] }],
        v4: [cluster],
        v6: ["fd00:1::1 net1"],
      },
      {
        name: "one-family-each",
        networks: [
          { name: "quiet", "default-route": ["fd00:1::1"] },
          { name: "loud4", "default-route": [gateway(3)] },
        ],
        v4: [`${gateway(3)} net2`],
        v6: ["fd00:1::1 net1"],
      },
      {
        name: "empty-list-v6",
        networks: [{ name: "loud6", "default-route": [] }],
        v4: [cluster],
        v6: ["fd00:2::1 net1"],
      },
      {
        name: "empty-list-without-route",
        networks: [{ name: "quiet", "default-route": [] }],
        v4: [cluster],
        v6: [],
      },
    ];
    for (const { name, networks: asked, v4, v6 } of cases) {
      await step(t, name, async () => {
        const sandbox = await createPod(node, name, { networks: asked });
        const result = await addPod(node, sandbox);
        deepEqual(await readDefaultRoutes(sandbox, 4), v4);
        deepEqual(await readDefaultRoutes(sandbox, 6), v6);
        const ifnames = ["eth0", ...asked.map((_, index) => `net${index + 1}`)];
        const status = await waitForStatus(node, sandbox, ifnames);
        const told = status.flatMap((element) =>
          (element.gateway ?? []).map((one) => `${one} ${element.interface}`)
        );
        deepEqual(told.sort(), [...v4, ...v6].sort());
        for (const { name, interface: ifname = "" } of status) {
          const network = name.replace(/^.*\//, "");
          const cached = await readCache(node, sandbox, { network, ifname });
          const own = [...v4, ...v6].filter((one) =>
            one.endsWith(` ${ifname}`)
          );
          equal(defaultRoutesOf(cached.result), own.length, ifname);
        }
        equal(
          defaultRoutesOf(result),
          v4.filter((one) => one === cluster).length,
        );
        assertDone(node, await node.cni("CHECK", sandbox));
        await deletePod(node, sandbox, networks);
      });
    }
  },
);

// deno-lint-ignore no-explicit-any -- a result of version 1.0.0
function defaultRoutesOf({ routes = [] }: any): number {
  return routes.filter(({ dst }: { dst: string }) => /\/0$/.test(dst)).length;
}

nodeTest(
  "two requests for the default route of one family fail before anything runs",
  async () => {
    await using node = await TestNode.create();
    await using networks = await layNetworks(node);
    putDefinition(node, "one", networks.bridge(1));
    putDefinition(node, "two", networks.bridge(2));
    await node.startDaemon();
    const sandbox = await createPod(node, "greedy", {
      networks: [
        { name: "one", "default-route": ["10.0.0.1"] },
        { name: "two", "default-route": ["10.0.0.2"] },
      ],
    });
    const { code, json } = await node.cni("ADD", sandbox);
    equal(code, 1);
    deepEqual([json.code, json.msg], [
      7,
      "networks[1].default-route: the IPv4 default route is already asked for by networks[0]",
    ]);
    deepEqual(await readKernel(sandbox), {});
    await assertNothingLeft(node, networks, [sandbox]);
  },
);
