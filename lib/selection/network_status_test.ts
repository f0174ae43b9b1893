import assert from "node:assert/strict";
import fc from "fast-check";
import type { Result } from "../cni/result.ts";
import { buildNetworkStatus, formatNetworkStatus } from "./network_status.ts";
import type { StatusSource } from "./network_status.ts";

const NETNS = "/var/run/netns/x";
const DEFAULT = { displayName: "cbr0", ifname: "eth0", isDefault: true };
const NET1 = { displayName: "ns/a", ifname: "net1", isDefault: false };

function resultOf(parts: Partial<Result>): Result {
  return { interfaces: [], ips: [], routes: [], ...parts };
}

function statusOf(
  parts: Partial<Result>,
  source: Partial<StatusSource> = {},
): unknown[] {
  return buildNetworkStatus([
    { delegate: NET1, result: resultOf(parts), ...source },
  ]);
}

Deno.test("buildNetworkStatus() describes a bridge, in the order of keys that people know", () => {
  const statuses = buildNetworkStatus([
    {
      delegate: DEFAULT,
      result: resultOf({
        interfaces: [
          { name: "cni0", mac: "02:00:00:00:00:01" },
          { name: "veth1", mac: "02:00:00:00:00:02" },
          { name: "eth0", mac: "02:00:00:00:00:03", mtu: 1450, sandbox: NETNS },
        ],
        ips: [
          { address: "10.0.0.2/24", gateway: "10.0.0.1", interface: 2 },
          { address: "fd00::2/64", interface: 2 },
        ],
        routes: [{ dst: "0.0.0.0/0" }, { dst: "10.0.0.0/8", gw: "10.0.0.9" }],
        dns: { nameservers: ["10.0.0.53"], search: [], domain: "x" },
      }),
    },
    {
      delegate: NET1,
      result: resultOf({ interfaces: [{ name: "net1", sandbox: NETNS }] }),
      deviceInfo: { type: "pci" },
    },
  ]);
  assert.equal(
    JSON.stringify(statuses),
    JSON.stringify([
      {
        name: "cbr0",
        interface: "eth0",
        ips: ["10.0.0.2", "fd00::2"],
        mac: "02:00:00:00:00:03",
        mtu: 1450,
        default: true,
        dns: { nameservers: ["10.0.0.53"], domain: "x" },
        gateway: ["10.0.0.1"],
      },
      {
        name: "ns/a",
        interface: "net1",
        dns: {},
        "device-info": { type: "pci" },
      },
    ]),
  );
});

Deno.test("buildNetworkStatus() has one element for each interface in the pod", async (t) => {
  const host = { name: "veth1" };
  const inside = { name: "net1", sandbox: NETNS };
  const second = { name: "net1b", sandbox: NETNS };
  const cases: [name: string, parts: Partial<Result>, expected: string[]][] = [
    ["one without sandbox", { interfaces: [{ name: "cali1" }] }, ["cali1"]],
    ["one of two", { interfaces: [host, inside] }, ["net1"]],
    ["two of three", { interfaces: [host, inside, second] }, [
      "net1",
      "net1b",
    ]],
    ["an empty sandbox", {
      interfaces: [{ name: "veth1", sandbox: "" }, inside],
    }, ["net1"]],
    ["none of two, one by its name", {
      interfaces: [host, { name: "net1" }],
    }, ["net1"]],
    ["none of two, none by its name", {
      interfaces: [host, { name: "veth2" }],
    }, ["net1"]],
    ["none, but an address", { ips: [{ address: "10.0.0.2/24" }] }, ["net1"]],
    ["a name that is missing", { interfaces: [{ name: "" }] }, ["net1"]],
    ["nothing at all", {}, []],
  ];
  for (const [name, parts, expected] of cases) {
    await t.step(name, () => {
      const names = (statusOf(parts) as { interface: string }[])
        .map((status) => status.interface);
      assert.deepEqual(names, expected);
    });
  }
});

Deno.test("buildNetworkStatus() tells of a device without interface", () => {
  assert.deepEqual(statusOf({}, { deviceInfo: { type: "vdpa" } }), [{
    name: "ns/a",
    interface: "net1",
    dns: {},
    "device-info": { type: "vdpa" },
  }]);
});

Deno.test("buildNetworkStatus() puts addresses on the interface that they index, else on the last", async (t) => {
  const interfaces = [
    { name: "host" },
    { name: "a", sandbox: NETNS },
    { name: "b", sandbox: NETNS },
  ];
  const cases: [
    name: string,
    index: number | undefined,
    expected: (string[] | undefined)[],
  ][] = [
    ["the first in the pod", 1, [["10.0.0.2"], undefined]],
    ["the second in the pod", 2, [undefined, ["10.0.0.2"]]],
    ["no index", undefined, [undefined, ["10.0.0.2"]]],
    ["an index beyond the end", 7, [undefined, ["10.0.0.2"]]],
    ["a negative index", -1, [undefined, ["10.0.0.2"]]],
    ["one on the host", 0, [undefined, undefined]],
  ];
  for (const [name, index, expected] of cases) {
    await t.step(name, () => {
      const ip = {
        address: "10.0.0.2/24",
        ...(index === undefined ? {} : { interface: index }),
      };
      const statuses = statusOf({ interfaces, ips: [ip] }) as {
        ips?: string[];
      }[];
      assert.deepEqual(statuses.map(({ ips }) => ips), expected);
    });
  }
});

Deno.test("buildNetworkStatus() has the gateways of default routes and never one that is none", async (t) => {
  const ips = [
    { address: "10.0.0.2/24", gateway: "10.0.0.1" },
    { address: "fd00::2/64", gateway: "fd00::1" },
  ];
  const cases: [
    name: string,
    parts: Partial<Result>,
    expected: string[] | undefined,
  ][] = [
    ["no route", { ips }, undefined],
    ["no default route", {
      ips,
      routes: [{ dst: "10.0.0.0/8", gw: "10.0.0.9" }],
    }, undefined],
    [
      "its own gateway",
      { ips, routes: [{ dst: "0.0.0.0/0", gw: "10.0.0.9" }] },
      ["10.0.0.9"],
    ],
    ["without gateway, IPv4", { ips, routes: [{ dst: "0.0.0.0/0" }] }, [
      "10.0.0.1",
    ]],
    ["without gateway, IPv6", { ips, routes: [{ dst: "::/0" }] }, ["fd00::1"]],
    ["unspecified gateway", {
      ips,
      routes: [{ dst: "0.0.0.0/0", gw: "0.0.0.0" }, { dst: "::/0", gw: "::" }],
    }, ["10.0.0.1", "fd00::1"]],
    [
      "without any gateway",
      {
        ips: [{ address: "10.0.0.2/24" }],
        routes: [{ dst: "0.0.0.0/0" }],
      },
      undefined,
    ],
    ["none of the other family", {
      ips: [{ address: "fd00::2/64", gateway: "fd00::1" }],
      routes: [{ dst: "0.0.0.0/0" }],
    }, undefined],
    ["the same twice", {
      ips,
      routes: [{ dst: "0.0.0.0/0" }, { dst: "0.0.0.0/0", gw: "10.0.0.1" }],
    }, ["10.0.0.1"]],
    ["another table", {
      ips,
      routes: [{ dst: "0.0.0.0/0", gw: "10.0.0.1", table: 100 }],
    }, undefined],
  ];
  for (const [name, parts, expected] of cases) {
    await t.step(name, () => {
      const [status] = statusOf({
        interfaces: [{ name: "net1" }],
        ...parts,
      }) as { gateway?: string[] }[];
      assert.deepEqual(status?.gateway, expected);
    });
  }
});

Deno.test("buildNetworkStatus() gives each of several interfaces the gateways of its families", () => {
  const statuses = statusOf({
    interfaces: [{ name: "a", sandbox: NETNS }, { name: "b", sandbox: NETNS }],
    ips: [
      { address: "10.0.0.2/24", gateway: "10.0.0.1", interface: 0 },
      { address: "fd00::2/64", interface: 1 },
    ],
    routes: [{ dst: "0.0.0.0/0" }, { dst: "::/0", gw: "fd00::1" }],
  }) as { gateway?: string[] }[];
  assert.deepEqual(statuses.map(({ gateway }) => gateway), [
    ["10.0.0.1"],
    ["fd00::1"],
  ]);
});

Deno.test("buildNetworkStatus() marks the default network's interface whose address has a gateway, else its first", async (t) => {
  const interfaces = [
    { name: "a", sandbox: NETNS },
    { name: "b", sandbox: NETNS },
  ];
  const cases: [name: string, parts: Partial<Result>, expected: string][] = [
    ["the first", { interfaces }, "a"],
    ["the one with a gateway", {
      interfaces,
      ips: [
        { address: "10.0.0.2/24", interface: 0 },
        { address: "10.0.0.3/24", gateway: "10.0.0.1", interface: 1 },
      ],
    }, "b"],
    ["the first of two with gateways", {
      interfaces,
      ips: [
        { address: "10.0.0.2/24", gateway: "10.0.0.1", interface: 0 },
        { address: "10.0.0.3/24", gateway: "10.0.0.1", interface: 1 },
      ],
    }, "a"],
  ];
  const other = resultOf({
    interfaces: [{ name: "net1" }],
    ips: [{ address: "10.1.0.2/24", gateway: "10.1.0.1" }],
  });
  for (const [name, parts, expected] of cases) {
    await t.step(name, () => {
      const marked = buildNetworkStatus([
        { delegate: NET1, result: other },
        { delegate: DEFAULT, result: resultOf(parts) },
      ]).filter((status) => status.default === true);
      assert.deepEqual(marked.map((status) => status.interface), [expected]);
    });
  }
});

Deno.test("buildNetworkStatus() marks one interface of the default network and leaves empty lists out", () => {
  const item = fc.record({
    name: fc.constantFrom("a", "b", "c"),
    sandbox: fc.constantFrom("", NETNS),
  });
  const ip = fc.record({
    address: fc.constantFrom("10.0.0.2/24", "fd00::2/64"),
    gateway: fc.constantFrom("10.0.0.1", "fd00::1"),
    interface: fc.integer({ min: -1, max: 4 }),
  }, { requiredKeys: ["address"] });
  const result = fc.record({
    interfaces: fc.array(item, { maxLength: 4 }),
    ips: fc.array(ip, { maxLength: 4 }),
    routes: fc.array(fc.record({ dst: fc.constantFrom("0.0.0.0/0", "::/0") }), {
      maxLength: 2,
    }),
  });
  const results = fc.array(result, { minLength: 1, maxLength: 3 });
  fc.assert(fc.property(results, (list) => {
    const statuses = buildNetworkStatus(list.map((result, index) => ({
      delegate: index === 0 ? DEFAULT : NET1,
      result,
    })));
    const marked = statuses.filter((status) => status.default === true);
    const ofDefault = statuses.filter(({ name }) => name === "cbr0");
    assert.equal(marked.length, ofDefault.length > 0 ? 1 : 0);
    for (const { gateway = ["x"], ips = ["x"] } of statuses) {
      assert.ok(gateway.length > 0 && ips.length > 0);
    }
  }));
});

Deno.test("formatNetworkStatus() writes the layout that people know", () => {
  const result = resultOf({
    interfaces: [{ name: "eth0" }],
    ips: [{ address: "10.0.0.2/24" }],
  });
  const text = formatNetworkStatus(buildNetworkStatus([
    { delegate: DEFAULT, result },
    { delegate: NET1, result: resultOf({ interfaces: [{ name: "net1" }] }) },
  ]));
  assert.equal(
    text,
    `[{
    "name": "cbr0",
    "interface": "eth0",
    "ips": [
        "10.0.0.2"
    ],
    "default": true,
    "dns": {}
},{
    "name": "ns/a",
    "interface": "net1",
    "dns": {}
}]`,
  );
  assert.equal(formatNetworkStatus([]), "[]");
});
