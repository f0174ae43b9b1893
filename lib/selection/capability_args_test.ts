import assert from "node:assert/strict";
import { parseConf } from "../cni/conf.ts";
import { parseNetworks } from "./annotation.ts";
import { buildCapabilityArgs, listUnheardRequests } from "./capability_args.ts";
import { KEEP_DEFAULT_ROUTES } from "./default_route.ts";
import type { Delegate } from "./delegate.ts";

const ALL = `"portMappings":[{"hostPort":80,"containerPort":8080.0}],` +
  `"bandwidth":{"ingressRate":1e3},"ips":["10.0.0.1"],"mac":"02:00:00:00:00:01",` +
  `"infiniband-guid":"24:8a:07:03:00:8d:ae:2e"`;
const ALL_ARGS = {
  portMappings: `[{"hostPort":80,"containerPort":8080.0}]`,
  bandwidth: `{"ingressRate":1e3}`,
  ips: `["10.0.0.1"]`,
  mac: `"02:00:00:00:00:01"`,
  infinibandGUID: `"24:8a:07:03:00:8d:ae:2e"`,
};
const RUNTIME = `{"portMappings": [ {"hostPort": 9007199254740993} ], "x":1.0}`;
const RUNTIME_ARGS = {
  portMappings: `[ {"hostPort": 9007199254740993} ]`,
  x: "1.0",
};
const DEVICE = { deviceId: "0000:03:02.1", deviceInfoFile: "/d/i" };
const DEVICE_ARGS = { deviceID: `"0000:03:02.1"`, CNIDeviceInfoFile: `"/d/i"` };

function delegateOf(parts: Partial<Delegate>, asked?: string): Delegate {
  const [selection] = parseNetworks(`[{"name":"n"${asked ?? ""}}]`, "ns");
  return {
    list: parseConf(`{"name":"n","type":"t"}`),
    displayName: "ns/n",
    ifname: "net1",
    isDefault: false,
    source: "annotation",
    defaultRoute: KEEP_DEFAULT_ROUTES,
    ...(asked !== undefined && selection !== undefined ? { selection } : {}),
    ...parts,
  };
}

Deno.test("buildCapabilityArgs() gives each attachment what was asked for it", async (t) => {
  const cases: [
    name: string,
    delegate: Delegate,
    expected: Record<string, string>,
  ][] = [
    ["nothing", delegateOf({}), {}],
    ["an empty selection", delegateOf({}, ""), {}],
    ["all requests", delegateOf({}, `,${ALL}`), ALL_ARGS],
    ["a device", delegateOf(DEVICE, `,"ips":["fd00::1/64"]`), {
      ips: `["fd00::1/64"]`,
      ...DEVICE_ARGS,
    }],
    [
      "a device that nobody allocates",
      delegateOf({}, `,"deviceID":"0000:03:02.1"`),
      { deviceID: `"0000:03:02.1"` },
    ],
    [
      "a device that was not allocated",
      delegateOf({ resourceName: "x/nic" }, `,"deviceID":"0000:03:02.1"`),
      {},
    ],
    ["not the runtime's", delegateOf({ runtimeConfig: RUNTIME }, ""), {}],
    [
      "the default network: the runtime's",
      delegateOf({ isDefault: true, runtimeConfig: RUNTIME }),
      RUNTIME_ARGS,
    ],
    [
      "the default network: null from the runtime",
      delegateOf({ isDefault: true, runtimeConfig: " null " }),
      {},
    ],
    [
      "the default network: nothing from the runtime",
      delegateOf({ isDefault: true }),
      {},
    ],
    [
      "a chosen default network without requests: the runtime's",
      delegateOf({ isDefault: true, runtimeConfig: RUNTIME }, ""),
      RUNTIME_ARGS,
    ],
    [
      "a chosen default network with requests: its own only",
      delegateOf(
        { isDefault: true, runtimeConfig: RUNTIME },
        `,"ips":["10.0.0.1"]`,
      ),
      { ips: `["10.0.0.1"]` },
    ],
    [
      "the default network with a device",
      delegateOf({ isDefault: true, runtimeConfig: RUNTIME, ...DEVICE }),
      { ...RUNTIME_ARGS, ...DEVICE_ARGS },
    ],
  ];
  for (const [name, delegate, expected] of cases) {
    await t.step(name, () => {
      assert.deepEqual(buildCapabilityArgs(delegate), expected);
    });
  }
});

Deno.test("buildCapabilityArgs() takes any key from the runtime as its own", () => {
  const runtimeConfig = `{"__proto__":{"a":1},"constructor":2}`;
  const args = buildCapabilityArgs(
    delegateOf({ isDefault: true, runtimeConfig }),
  );
  assert.deepEqual(Object.entries(args), [
    ["__proto__", `{"a":1}`],
    ["constructor", "2"],
  ]);
});

Deno.test("buildCapabilityArgs() throws SyntaxError when the runtimeConfig is no object", () => {
  for (const runtimeConfig of ["[]", "1", "{"]) {
    assert.throws(
      () => buildCapabilityArgs(delegateOf({ isDefault: true, runtimeConfig })),
      SyntaxError,
    );
  }
});

Deno.test("listUnheardRequests() tells what no plugin of the chain declares", async (t) => {
  const chain = (...capabilities: string[]): string =>
    `{"name":"n","plugins":[{"type":"a"},{"type":"b","capabilities":{${capabilities.join()}}}]}`;
  const cases: [conf: string, expected: string[]][] = [
    [
      chain(),
      ["portMappings", "bandwidth", "ips", "mac", "infiniband-guid"],
    ],
    [
      chain(`"ips":true`, `"mac":false`),
      ["portMappings", "bandwidth", "mac", "infiniband-guid"],
    ],
    [
      chain(
        `"ips":true`,
        `"mac":true`,
        `"portMappings":true`,
        `"bandwidth":true`,
        `"infinibandGUID":true`,
      ),
      [],
    ],
  ];
  for (const [conf, expected] of cases) {
    await t.step(conf, () => {
      const list = parseConf(conf);
      const unheard = listUnheardRequests(delegateOf({ list }, `,${ALL}`));
      assert.deepEqual(unheard.map(({ key }) => key), expected);
    });
  }
  await t.step("a device that nobody allocates", () => {
    const keysFor = (conf: string): string[] => {
      const list = parseConf(conf);
      const delegate = delegateOf({ list }, `,"deviceID":"q"`);
      return listUnheardRequests(delegate).map(({ key }) => key);
    };
    assert.deepEqual(keysFor(chain()), ["deviceID"]);
    assert.deepEqual(keysFor(chain(`"deviceID":true`)), []);
  });
});
