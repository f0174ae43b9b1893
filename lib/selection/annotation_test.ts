import assert from "node:assert/strict";
import fc from "fast-check";
import { CniError, ErrorCode, quote } from "../cni/error.ts";
import {
  AnnotationError,
  parseDefaultNetwork,
  parseInterfaceAttributes,
  parseNetworks,
} from "./annotation.ts";
import type { NetworkSelection } from "./annotation.ts";

const PLACE = { place: "networks[0]" };

const GOOD: [annotation: string, expected: Partial<NetworkSelection>[]][] = [
  ["", []],
  [" \n\t", []],
  ["[]", []],
  [" [ ] ", []],
  ["macvlan", [{ ...PLACE, namespace: "pod-ns", name: "macvlan" }]],
  ["null", [{ ...PLACE, namespace: "pod-ns", name: "null" }]],
  ["0", [{ ...PLACE, namespace: "pod-ns", name: "0" }]],
  ["kube-system/macvlan", [{
    ...PLACE,
    namespace: "kube-system",
    name: "macvlan",
  }]],
  ["macvlan@eth9", [{
    ...PLACE,
    namespace: "pod-ns",
    name: "macvlan",
    interface: "eth9",
  }]],
  ["n/a@fifteen_bytes.1", [{
    ...PLACE,
    namespace: "n",
    name: "a",
    interface: "fifteen_bytes.1",
  }]],
  [" a ,\n b/c@d ,a", [
    { ...PLACE, namespace: "pod-ns", name: "a" },
    { place: "networks[1]", namespace: "b", name: "c", interface: "d" },
    { place: "networks[2]", namespace: "pod-ns", name: "a" },
  ]],
  [`a@${"ä".repeat(7)}`, [{
    ...PLACE,
    namespace: "pod-ns",
    name: "a",
    interface: "ä".repeat(7),
  }]],
];

const GOOD_FIELDS: [fields: string, expected: Partial<NetworkSelection>][] = [
  [`"name":"a.b-c"`, { name: "a.b-c" }],
  [`"name":"a","name":"b"`, { name: "b" }],
  [`"name":"a","namespace":"x"`, { namespace: "x" }],
  [`"name":"a","namespace":""`, { namespace: "pod-ns" }],
  [
    `"name":"a","namespace":null,"mac":null,"ips":null,"default-route":null`,
    {},
  ],
  [`"name":"a","interface":"eth1"`, { interface: "eth1" }],
  [`"name":"a","interfaceRequest":"eth1"`, { interface: "eth1" }],
  [`"name":"a","interfaceRequest":"eth1","interface":"eth2"`, {
    interface: "eth2",
  }],
  [`"name":"a","interface":""`, {}],
  [`"name":"a","ips":["10.0.0.1","10.0.0.2/24","fd00::1","fd00::2/64"]`, {
    ips: ["10.0.0.1", "10.0.0.2/24", "fd00::1", "fd00::2/64"],
  }],
  [`"name":"a","ips":${JSON.stringify(Array(32).fill("fd00::1"))}`, {
    ips: Array(32).fill("fd00::1"),
  }],
  [`"name":"a","ips":[]`, {}],
  [`"name":"a","mac":"02:00:00:00:00:01"`, { mac: "02:00:00:00:00:01" }],
  [`"name":"a","mac":"0200.0000.0001"`, { mac: "0200.0000.0001" }],
  [`"name":"a","mac":""`, {}],
  [`"name":"a","infiniband-guid":"24:8a:07:03:00:8d:ae:2e"`, {
    infinibandGuid: "24:8a:07:03:00:8d:ae:2e",
  }],
  [`"name":"a","default-route":[]`, { defaultRoute: [] }],
  [`"name":"a","default-route":["10.0.0.1","fd00::1"]`, {
    defaultRoute: ["10.0.0.1", "fd00::1"],
  }],
  [`"name":"a","deviceID":"0000:03:02.1"`, { deviceId: "0000:03:02.1" }],
  [`"name":"a","ipam-claim-reference":"claim"`, {
    ipamClaimReference: "claim",
  }],
  [`"name":"a","cni-args":{"n": 9007199254740993, "f": 1.0}`, {
    cniArgs: `{"n": 9007199254740993, "f": 1.0}`,
  }],
  [`"name":"a","bandwidth":{"ingressRate":2048,"x":1.0}`, {
    bandwidth: `{"ingressRate":2048,"x":1.0}`,
  }],
  [`"name":"a","bandwidth":{}`, { bandwidth: "{}" }],
  [
    `"name":"a","portMappings":[{"hostPort":80,"containerPort":8080,"protocol":"TCP","hostIP":""}]`,
    {
      portMappings:
        `[{"hostPort":80,"containerPort":8080,"protocol":"TCP","hostIP":""}]`,
    },
  ],
  [
    `"name":"a","portMappings":[{"hostPort":1,"containerPort":65535,"hostIP":"fd00::1"}]`,
    {
      portMappings: `[{"hostPort":1,"containerPort":65535,"hostIP":"fd00::1"}]`,
    },
  ],
  [`"name":"a","portMappings":[]`, {}],
  [`"name":"a","unknown":{"x":[1]},"__proto__":{"mac":"x"}`, {}],
];

/** What is wrong, and how the message begins (texts) or reads as a whole (JSON fields). */
const BAD_TEXTS: [annotation: string, message: string][] = [
  [",", 'networks[0]: expected [<namespace>/]<name>[@<interface>], found ""'],
  ["a,", 'networks[1]: expected [<namespace>/]<name>[@<interface>], found ""'],
  ["a,,b", "networks[1]: expected [<namespace>/]"],
  [
    "a/b/c",
    'networks[0]: expected [<namespace>/]<name>[@<interface>], found "a/b/c"',
  ],
  ["a/", 'networks[0]: expected the name of a network (a-z, 0-9, "-"), found'],
  ["/a", 'networks[0]: expected a namespace (a-z, 0-9, "-"; up to 63'],
  ["@eth0", "networks[0]: expected the name of a network"],
  ["a@", 'networks[0]: expected an interface name (1 to 15 bytes; no "/"'],
  ["a@sixteen_bytes.16", "networks[0]: expected an interface name (1 to 15"],
  [`a@${"ä".repeat(8)}`, "networks[0]: expected an interface name (1 to 15"],
  ["a@b c", "networks[0]: expected an interface name (1 to 15"],
  ["a@b/c", "networks[0]: expected an interface name (1 to 15"],
  ["a@b:1", "networks[0]: expected an interface name (1 to 15"],
  ["a@..", "networks[0]: expected an interface name (1 to 15"],
  ["a b", "networks[0]: expected the name of a network"],
  [
    "ok,Big",
    'networks[1]: expected the name of a network (a-z, 0-9, "-"), fou',
  ],
  ["under_score", "networks[0]: expected the name of a network"],
  ["-a", "networks[0]: expected the name of a network"],
  ["a-", "networks[0]: expected the name of a network"],
  ["a.b", "networks[0]: expected the name of a network"],
  ["a".repeat(254), "networks[0]: expected the name of a network"],
  [`${"a".repeat(64)}/b`, "networks[0]: expected a namespace"],
  ["N/a", "networks[0]: expected a namespace"],
  ["a/ b", "networks[0]: expected the name of a network"],
  ["ä", "networks[0]: expected the name of a network"],
  [
    new Array(257).fill("a").join(),
    "networks: expected at most 256 networks, found 257",
  ],
];

const BAD_JSON: [annotation: string, message: string][] = [
  ["{", "networks: not valid JSON: "],
  ["[", "networks: not valid JSON: "],
  ['"', "networks: not valid JSON: "],
  ['[{"name":"a"},]', "networks: not valid JSON: "],
  ['[{"name":"a"}] x', "networks: not valid JSON: "],
  ["[".repeat(5000) + "]".repeat(5000), "networks: not valid JSON: "],
  ['{"name":"a"}', "networks: expected a list of objects, found an object"],
  ['"a"', 'networks: expected a list of objects, found "a"'],
  ['["a"]', 'networks[0]: expected an object, found "a"'],
  ["[null]", "networks[0]: expected an object, found null"],
  ["[[]]", "networks[0]: expected an object, found a list"],
  ['[{"name":"a"},7]', "networks[1]: expected an object, found 7"],
  ["[{}]", "networks[0].name: is required"],
];

const BAD_FIELDS: [fields: string, message: string][] = [
  [`"name":""`, "name: is required"],
  [`"name":null`, "name: is required"],
  [`"name":7`, "name: expected a string, found 7"],
  [
    `"name":"A"`,
    `name: expected the name of a network (a-z, 0-9, "-", "."), found "A"`,
  ],
  [
    `"name":"../a"`,
    `name: expected the name of a network (a-z, 0-9, "-", "."), found "../a"`,
  ],
  [
    `"name":"a..b"`,
    `name: expected the name of a network (a-z, 0-9, "-", "."), found "a..b"`,
  ],
  [`"name":"a","namespace":true`, "namespace: expected a string, found true"],
  [
    `"name":"a","namespace":"a.b"`,
    `namespace: expected a namespace (a-z, 0-9, "-"; up to 63 characters), found "a.b"`,
  ],
  [
    `"name":"a","interface":["x"]`,
    "interface: expected a string, found a list",
  ],
  [
    `"name":"a","interface":"a b"`,
    `interface: expected an interface name (1 to 15 bytes; no "/", ":" or white space), found "a b"`,
  ],
  [
    `"name":"a","interface":"a\\u0000b"`,
    `interface: expected an interface name (1 to 15 bytes; no "/", ":" or white space), found "a\\u0000b"`,
  ],
  [
    `"name":"a","interfaceRequest":"sixteen_bytes.16"`,
    `interfaceRequest: expected an interface name (1 to 15 bytes; no "/", ":" or white space), found "sixteen_bytes.16"`,
  ],
  [`"name":"a","ips":"10.0.0.1"`, `ips: expected a list, found "10.0.0.1"`],
  [`"name":"a","ips":{}`, "ips: expected a list, found an object"],
  [
    `"name":"a","ips":${JSON.stringify(Array(33).fill("10.0.0.1"))}`,
    "ips: expected at most 32 elements, found 33",
  ],
  [
    `"name":"a","default-route":${JSON.stringify(Array(33).fill("10.0.0.1"))}`,
    "default-route: expected at most 32 elements, found 33",
  ],
  [`"name":"a","ips":[7]`, "ips[0]: expected an address or CIDR, found 7"],
  [
    `"name":"a","ips":[null]`,
    "ips[0]: expected an address or CIDR, found null",
  ],
  [`"name":"a","ips":[""]`, `ips[0]: expected an address or CIDR, found ""`],
  [
    `"name":"a","ips":["10.0.0.1","10.0.0.256"]`,
    `ips[1]: expected an address or CIDR, found "10.0.0.256"`,
  ],
  [
    `"name":"a","ips":["10.0.0.1/33"]`,
    `ips[0]: expected an address or CIDR, found "10.0.0.1/33"`,
  ],
  [
    `"name":"a","ips":["10.0.0.1/24/24"]`,
    `ips[0]: expected an address or CIDR, found "10.0.0.1/24/24"`,
  ],
  [
    `"name":"a","ips":["10.0.0.1,10.0.0.2"]`,
    `ips[0]: expected an address or CIDR, found "10.0.0.1,10.0.0.2"`,
  ],
  [
    `"name":"a","ips":["10.0.0.1;K8S_POD_NAME=x"]`,
    `ips[0]: expected an address or CIDR, found "10.0.0.1;K8S_POD_NAME=x"`,
  ],
  [
    `"name":"a","ips":["fd00::1/129"]`,
    `ips[0]: expected an address or CIDR, found "fd00::1/129"`,
  ],
  [
    `"name":"a","ips":["fe80::1%eth0"]`,
    `ips[0]: expected an address or CIDR, found "fe80::1%eth0"`,
  ],
  [
    `"name":"a","ips":["010.0.0.1"]`,
    `ips[0]: expected an address or CIDR, found "010.0.0.1"`,
  ],
  [`"name":"a","mac":7`, "mac: expected a string, found 7"],
  [
    `"name":"a","mac":"02:00:00:00:00"`,
    `mac: expected a hardware address, found "02:00:00:00:00"`,
  ],
  [
    `"name":"a","mac":"02:00:00:00:00:0g"`,
    `mac: expected a hardware address, found "02:00:00:00:00:0g"`,
  ],
  [
    `"name":"a","mac":"02:00-00:00:00:01"`,
    `mac: expected a hardware address, found "02:00-00:00:00:01"`,
  ],
  [
    `"name":"a","mac":"02:00:00:00:00:01;X=y"`,
    `mac: expected a hardware address, found "02:00:00:00:00:01;X=y"`,
  ],
  [
    `"name":"a","infiniband-guid":"02:00:00:00:00:01"`,
    `infiniband-guid: expected a GUID of 8 bytes, found "02:00:00:00:00:01"`,
  ],
  [
    `"name":"a","infiniband-guid":[]`,
    "infiniband-guid: expected a string, found a list",
  ],
  [
    `"name":"a","default-route":"10.0.0.1"`,
    `default-route: expected a list, found "10.0.0.1"`,
  ],
  [
    `"name":"a","default-route":["10.0.0.1/24"]`,
    `default-route[0]: expected the address of a gateway, found "10.0.0.1/24"`,
  ],
  [
    `"name":"a","default-route":["10.0.0.1","gw"]`,
    `default-route[1]: expected the address of a gateway, found "gw"`,
  ],
  [
    `"name":"a","default-route":[""]`,
    `default-route[0]: expected the address of a gateway, found ""`,
  ],
  [`"name":"a","cni-args":"x=y"`, `cni-args: expected an object, found "x=y"`],
  [`"name":"a","cni-args":[]`, "cni-args: expected an object, found a list"],
  [`"name":"a","bandwidth":1000`, "bandwidth: expected an object, found 1000"],
  [
    `"name":"a","bandwidth":{"ingressRate":"1k"}`,
    `bandwidth.ingressRate: expected a whole number from 0 to 9007199254740991, found "1k"`,
  ],
  [
    `"name":"a","bandwidth":{"ingressBurst":-1}`,
    "bandwidth.ingressBurst: expected a whole number from 0 to 9007199254740991, found -1",
  ],
  [
    `"name":"a","bandwidth":{"egressRate":1.5}`,
    "bandwidth.egressRate: expected a whole number from 0 to 9007199254740991, found 1.5",
  ],
  [
    `"name":"a","bandwidth":{"egressBurst":true}`,
    "bandwidth.egressBurst: expected a whole number from 0 to 9007199254740991, found true",
  ],
  [
    `"name":"a","portMappings":{}`,
    "portMappings: expected a list, found an object",
  ],
  [
    `"name":"a","portMappings":["80:80"]`,
    `portMappings[0]: expected an object, found "80:80"`,
  ],
  [
    `"name":"a","portMappings":[{"hostPort":80}]`,
    "portMappings[0].containerPort: is required",
  ],
  [
    `"name":"a","portMappings":[{"containerPort":80}]`,
    "portMappings[0].hostPort: is required",
  ],
  [
    `"name":"a","portMappings":[{"hostPort":0,"containerPort":80}]`,
    "portMappings[0].hostPort: expected a whole number from 1 to 65535, found 0",
  ],
  [
    `"name":"a","portMappings":[{"hostPort":80,"containerPort":65536}]`,
    "portMappings[0].containerPort: expected a whole number from 1 to 65535, found 65536",
  ],
  [
    `"name":"a","portMappings":[{"hostPort":"80","containerPort":80}]`,
    `portMappings[0].hostPort: expected a whole number from 1 to 65535, found "80"`,
  ],
  [
    `"name":"a","portMappings":[{"hostPort":80,"containerPort":80,"protocol":"icmp"}]`,
    `portMappings[0].protocol: expected tcp, udp or sctp, found "icmp"`,
  ],
  [
    `"name":"a","portMappings":[{"hostPort":80,"containerPort":80,"protocol":6}]`,
    "portMappings[0].protocol: expected a string, found 6",
  ],
  [
    `"name":"a","portMappings":[{"hostPort":80,"containerPort":80,"hostIP":"host"}]`,
    `portMappings[0].hostIP: expected an address, found "host"`,
  ],
  [`"name":"a","deviceID":3`, "deviceID: expected a string, found 3"],
  ...["../../../../proc", "a/b", "0000:03:02.1 ", "x".repeat(129), "vf\\n"].map(
    (deviceId): [string, string] => [
      `"name":"a","deviceID":"${deviceId}"`,
      `deviceID: expected the ID of a device (at most 128 of A-Z, a-z, 0-9, ":", ".", "_", "-"), found ${
        quote(JSON.parse(`"${deviceId}"`))
      }`,
    ],
  ),
  [
    `"name":"a","ipam-claim-reference":{}`,
    "ipam-claim-reference: expected a string, found an object",
  ],
];

/** Asserts the class, the code and the place, and gives the message. */
function messageOf(parse: () => unknown): string {
  try {
    parse();
  } catch (error) {
    assert.ok(error instanceof AnnotationError, String(error));
    assert.ok(error instanceof CniError);
    assert.equal(error.code, ErrorCode.invalidNetworkConfig);
    assert.ok(error.message.startsWith(`${error.place}: `), error.message);
    return error.message;
  }
  assert.fail("nothing was thrown");
}

Deno.test("parseNetworks() reads text and JSON annotations", async (t) => {
  for (const [annotation, expected] of GOOD) {
    await t.step(JSON.stringify(annotation), () => {
      assert.deepEqual(parseNetworks(annotation, "pod-ns"), expected);
    });
  }
});

Deno.test("parseNetworks() reads each field of the JSON form", async (t) => {
  for (const [fields, expected] of GOOD_FIELDS) {
    await t.step(fields, () => {
      const [first, second] = parseNetworks(
        `[{${fields}}, {"name":"z"}]`,
        "pod-ns",
      );
      assert.deepEqual(first, {
        ...PLACE,
        namespace: "pod-ns",
        name: "a",
        ...expected,
      });
      assert.deepEqual(second, {
        place: "networks[1]",
        namespace: "pod-ns",
        name: "z",
      });
    });
  }
});

Deno.test("parseNetworks() names the place when an annotation is wrong", async (t) => {
  for (const [annotation, start] of [...BAD_TEXTS, ...BAD_JSON]) {
    await t.step(JSON.stringify(annotation.slice(0, 40)), () => {
      const message = messageOf(() => parseNetworks(annotation, "pod-ns"));
      assert.equal(message.slice(0, start.length), start);
    });
  }
});

Deno.test("parseNetworks() names the place when a field is wrong", async (t) => {
  for (const [fields, problem] of BAD_FIELDS) {
    await t.step(fields, () => {
      const annotation = `[{"name":"ok"}, {${fields}}]`;
      assert.equal(
        messageOf(() => parseNetworks(annotation, "pod-ns")),
        `networks[1].${problem}`,
      );
    });
  }
});

Deno.test("parseDefaultNetwork() reads one network in multusNamespace", () => {
  assert.deepEqual(parseDefaultNetwork(" net@eth5 ", "kube-system"), {
    place: "default-network[0]",
    namespace: "kube-system",
    name: "net",
    interface: "eth5",
  });
  assert.deepEqual(
    parseDefaultNetwork(`[{"name":"net","namespace":"x","mac":null}]`, "y"),
    { place: "default-network[0]", namespace: "x", name: "net" },
  );
});

Deno.test("parseDefaultNetwork() refuses all but one network", async (t) => {
  const cases: [annotation: string, message: string][] = [
    ["a,b", "default-network: expected one network, found 2"],
    ["[]", "default-network: expected one network, found 0"],
    ["", "default-network[0]: expected [<namespace>/]<name>[@<interface>], "],
    ["A", "default-network[0]: expected the name of a network"],
    ['{"name":"a"}', "default-network: expected a list of objects, found an"],
    ['[{"name":"a","ips":["x"]}]', "default-network[0].ips[0]: expected an"],
  ];
  for (const [annotation, start] of cases) {
    await t.step(JSON.stringify(annotation), () => {
      const message = messageOf(() => parseDefaultNetwork(annotation, "ns"));
      assert.equal(message.slice(0, start.length), start);
    });
  }
});

Deno.test("parseInterfaceAttributes() reads what a hot-plug controller asks", () => {
  assert.deepEqual(parseInterfaceAttributes("{}"), {});
  assert.deepEqual(
    parseInterfaceAttributes(
      `{"ips":["10.0.0.1"],"mac":"02:00:00:00:00:01","cni-args":{"n":1.0},"name":7}`,
    ),
    { ips: ["10.0.0.1"], mac: "02:00:00:00:00:01", cniArgs: `{"n":1.0}` },
  );
});

Deno.test("parseInterfaceAttributes() names the place when something is wrong", async (t) => {
  const cases: [text: string, start: string][] = [
    ["", "interfaceAttributes: not valid JSON: "],
    ["[]", "interfaceAttributes: expected an object, found a list"],
    [`{"ips":["x"]}`, "interfaceAttributes.ips[0]: expected an address or"],
    [`{"mac":"x"}`, "interfaceAttributes.mac: expected a hardware address"],
    [`{"cni-args":1}`, "interfaceAttributes.cni-args: expected an object"],
  ];
  for (const [text, start] of cases) {
    await t.step(text, () => {
      const message = messageOf(() => parseInterfaceAttributes(text));
      assert.equal(message.slice(0, start.length), start);
    });
  }
});

const label = fc.stringMatching(/^[a-z0-9]([-a-z0-9]{0,20}[a-z0-9])?$/);
const ifname = fc.stringMatching(/^[a-zA-Z0-9_-][a-zA-Z0-9._-]{0,14}$/);
const space = fc.stringMatching(/^[ \t\n]{0,2}$/);
const octets = (count: number): fc.Arbitrary<string> =>
  fc.array(fc.nat(255), { minLength: count, maxLength: count }).map((bytes) =>
    bytes.map((byte) => byte.toString(16).padStart(2, "0")).join(":")
  );
const address = fc.oneof(fc.ipV4(), fc.ipV6());
const jsonObject = fc.dictionary(fc.string(), fc.jsonValue({ maxDepth: 2 }))
  .map((value) => JSON.stringify(value));

Deno.test("parseNetworks() gives back what was written as text", () => {
  const item = fc.record(
    { namespace: label, name: label, interface: ifname },
    { requiredKeys: ["name"] },
  );
  const items = fc.array(fc.tuple(item, space, space), {
    minLength: 1,
    maxLength: 8,
  });
  fc.assert(fc.property(items, (written) => {
    const text = written.map(([selection, before, after]) => {
      const { namespace, name, interface: asked } = selection;
      const prefix = namespace === undefined ? "" : `${namespace}/`;
      const suffix = asked === undefined ? "" : `@${asked}`;
      return `${before}${prefix}${name}${suffix}${after}`;
    }).join(",");
    assert.deepEqual(
      parseNetworks(text, "pod-ns"),
      written.map(([selection], index) => ({
        place: `networks[${index}]`,
        namespace: "pod-ns",
        ...selection,
      })),
    );
  }));
});

Deno.test("parseNetworks() gives back what was written as JSON", () => {
  const selection = fc.record({
    namespace: label,
    name: label,
    interface: ifname,
    ips: fc.array(address, { minLength: 1, maxLength: 3 }),
    mac: octets(6),
    infinibandGuid: octets(8),
    bandwidth: fc.record({ ingressRate: fc.nat(), egressBurst: fc.nat() })
      .map((value) => JSON.stringify(value)),
    portMappings: fc.array(
      fc.record({
        hostPort: fc.integer({ min: 1, max: 65535 }),
        containerPort: fc.integer({ min: 1, max: 65535 }),
        protocol: fc.constantFrom("tcp", "UDP", "sctp"),
      }),
      { minLength: 1, maxLength: 2 },
    ).map((value) => JSON.stringify(value)),
    cniArgs: jsonObject,
    defaultRoute: fc.array(address, { maxLength: 2 }),
    deviceId: fc.stringMatching(/^[0-9A-Za-z:_-]{1,20}$/),
    ipamClaimReference: label,
  }, { requiredKeys: ["name"] });
  fc.assert(
    fc.property(fc.array(selection, { maxLength: 4 }), (selections) => {
      const text = `[${selections.map(formatSelection).join(",")}]`;
      assert.deepEqual(
        parseNetworks(text, "pod-ns"),
        selections.map((value, index) => ({
          place: `networks[${index}]`,
          namespace: "pod-ns",
          ...value,
        })),
      );
    }),
  );
});

Deno.test("parseNetworks() throws nothing but its own error", () => {
  const wild = fc.oneof(
    fc.string({ unit: "binary" }),
    fc.json(),
    fc.stringMatching(/^[a-z/@, [{}"\]:]{0,30}$/),
    fc.array(wildSelection()).map((value) => JSON.stringify(value)),
  );
  fc.assert(
    fc.property(wild, (annotation) => {
      for (const parse of [parseNetworks, parseDefaultNetwork]) {
        try {
          parse(annotation, "pod-ns");
        } catch (error) {
          assert.ok(error instanceof AnnotationError, String(error));
        }
      }
    }),
    { numRuns: 1000 },
  );
});

function formatSelection(selection: Partial<NetworkSelection>): string {
  const { infinibandGuid, deviceId, ipamClaimReference, ...rest } = selection;
  const { portMappings, bandwidth, cniArgs, defaultRoute, ...plain } = rest;
  const texts = Object.entries({
    ...Object.fromEntries(
      Object.entries({
        ...plain,
        "infiniband-guid": infinibandGuid,
        deviceID: deviceId,
        "ipam-claim-reference": ipamClaimReference,
        "default-route": defaultRoute,
      }).map(([key, value]) => [key, JSON.stringify(value)]),
    ),
    portMappings,
    bandwidth,
    "cni-args": cniArgs,
  });
  const members = texts.filter(([, text]) => text !== undefined);
  return `{${members.map(([key, text]) => `"${key}": ${text}`).join(", ")}}`;
}

function wildSelection(): fc.Arbitrary<Record<string, unknown>> {
  const wild = fc.jsonValue({ maxDepth: 3 });
  return fc.record({
    name: fc.oneof(fc.constant("a"), wild),
    namespace: wild,
    interface: wild,
    ips: wild,
    mac: wild,
    "infiniband-guid": wild,
    portMappings: fc.oneof(wild, fc.array(wild)),
    bandwidth: fc.oneof(wild, fc.record({ ingressRate: wild })),
    "cni-args": wild,
    "default-route": fc.oneof(wild, fc.array(wild)),
    deviceID: wild,
  }, { requiredKeys: ["name"] });
}
