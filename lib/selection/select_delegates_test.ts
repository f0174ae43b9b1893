import assert from "node:assert/strict";
import { parseConf } from "../cni/conf.ts";
import { CniError, ErrorCode, toErrorDocument } from "../cni/error.ts";
import {
  DEFAULT_NETWORK_ANNOTATION,
  NETWORKS_ANNOTATION,
} from "./annotation.ts";
import type { AttachmentDefinition, Delegate } from "./delegate.ts";
import { selectDelegates } from "./select_delegates.ts";
import type {
  SelectedDelegates,
  SelectionPolicy,
  SelectionRequest,
  SelectionSources,
} from "./select_delegates.ts";

const DEFINITIONS: AttachmentDefinition[] = [
  { namespace: "ns", name: "a", config: `{"type":"macvlan","n":1.0}` },
  {
    namespace: "ns",
    name: "sriov",
    config: `{"name":"vf","plugins":[{"type":"sriov"},{"type":"tuning"}]}`,
    resourceName: "x/nic",
  },
  { namespace: "ns", name: "file" },
  { namespace: "ns", name: "bad", config: `{"type":""}` },
  { namespace: "ns", name: "loop", config: `{"type":"multus"}` },
  { namespace: "other", name: "a", config: `{"type":"ipvlan"}` },
  {
    namespace: "kube-system",
    name: "calico",
    config:
      `{"name":"k8s-pod-network","type":"calico","capabilities":{"ips":true}}`,
  },
];

const STORAGE = {
  list: parseConf(`{"name":"storage","type":"ptp"}`),
  definition: { namespace: "kube-system", name: "storage" },
};

const SOURCES: SelectionSources = {
  attachment: (namespace, name) =>
    Promise.resolve(
      DEFINITIONS.find((definition) =>
        definition.namespace === namespace && definition.name === name
      ),
    ),
  confByName: (name) => {
    if (name === "file") {
      return Promise.resolve(parseConf(`{"name":"file","type":"bridge"}`));
    }
    return Promise.reject(
      new CniError(ErrorCode.invalidNetworkConfig, `No file: "${name}"`),
    );
  },
  deviceIds: (resourceName) =>
    Promise.resolve(resourceName === "x/nic" ? ["vf0", "vf1"] : []),
};

const POLICY: SelectionPolicy = {
  multusNamespace: "kube-system",
  systemNamespaces: ["kube-system"],
  namespaceIsolation: false,
  globalNamespaces: ["default"],
  defaultNetwork: () =>
    Promise.resolve({ list: parseConf(`{"name":"cbr0","type":"bridge"}`) }),
  defaultNetworks: () => Promise.resolve([]),
};

interface Case {
  readonly networks?: string;
  readonly defaultNetwork?: string;
  readonly namespace?: string;
  readonly policy?: Partial<SelectionPolicy>;
  readonly sources?: Partial<SelectionSources>;
  readonly request?: Partial<SelectionRequest>;
}

async function select(given: Case): Promise<SelectedDelegates> {
  const annotations = {
    ...(given.networks && { [NETWORKS_ANNOTATION]: given.networks }),
    ...(given.defaultNetwork &&
      { [DEFAULT_NETWORK_ANNOTATION]: given.defaultNetwork }),
  };
  const namespace = given.namespace ?? "ns";
  return await selectDelegates(
    { pod: { namespace, annotations }, ifname: "eth0", ...given.request },
    { ...POLICY, ...given.policy },
    { ...SOURCES, ...given.sources },
  );
}

function short({ source, displayName, ifname }: Delegate): string {
  return `${source} ${displayName} ${ifname}`;
}

Deno.test("selectDelegates() lists the networks of a pod in the order of ADD", async (t) => {
  const everything: Partial<SelectionPolicy> = {
    furtherDelegates: [parseConf(`{"name":"second","type":"ptp"}`)],
    defaultNetworks: () => Promise.resolve([STORAGE]),
    auxiliaryChain: () =>
      Promise.resolve(
        parseConf(`{"name":"aux","plugins":[{"type":"passthru"}]}`),
      ),
  };
  const cases: [name: string, given: Case, expected: string[]][] = [
    ["no annotation", {}, ["default cbr0 eth0"]],
    ["text", { networks: "a, other/a@x, file" }, [
      "default cbr0 eth0",
      "annotation ns/a net1",
      "annotation other/a x",
      "annotation ns/file net3",
    ]],
    ["everything", { networks: "a", policy: everything }, [
      "default cbr0 eth0",
      "defaultNetworks second net1",
      "defaultNetworks kube-system/storage net2",
      "annotation ns/a net3",
      "auxiliary aux net4",
    ]],
    [
      "a system namespace",
      { namespace: "kube-system", networks: "ns/a", policy: everything },
      [
        "default cbr0 eth0",
        "defaultNetworks second net1",
        "annotation ns/a net2",
        "auxiliary aux net3",
      ],
    ],
    [
      "no auxiliary plugin",
      { policy: { auxiliaryChain: () => Promise.resolve(undefined) } },
      ["default cbr0 eth0"],
    ],
    ["another default network", {
      defaultNetwork: "calico",
      networks: "a",
    }, ["default k8s-pod-network eth0", "annotation ns/a net1"]],
    ["a blank default network", { defaultNetwork: " " }, [
      "default cbr0 eth0",
    ]],
  ];
  for (const [name, given, expected] of cases) {
    await t.step(name, async () => {
      const { delegates, warnings } = await select(given);
      assert.deepEqual(delegates.map(short), expected);
      assert.deepEqual(
        delegates.map(({ isDefault }) => isDefault),
        delegates.map((_, index) => index === 0),
      );
      assert.deepEqual(warnings, []);
    });
  }
});

Deno.test("selectDelegates() configures each delegate and leaves the rest as it is written", async () => {
  const { delegates } = await select({
    networks:
      `[{"name":"a","cni-args":{"k":9007199254740993}},{"name":"sriov"},{"name":"sriov","deviceID":"vf0"}]`,
  });
  assert.deepEqual(delegates.map(({ list }) => list.text), [
    `{"name":"cbr0","type":"bridge"}`,
    `{"type":"macvlan","n":1.0,"name":"a","args":{"cni":{"k":9007199254740993}}}`,
    `{"name":"vf","plugins":[{"type":"sriov","deviceID":"vf1","pciBusID":"vf1"},{"type":"tuning","deviceID":"vf1","pciBusID":"vf1"}]}`,
    `{"name":"vf","plugins":[{"type":"sriov","deviceID":"vf0","pciBusID":"vf0"},{"type":"tuning","deviceID":"vf0","pciBusID":"vf0"}]}`,
  ]);
  assert.deepEqual(
    delegates.map(({ definition, deviceId, resourceName }) => [
      definition?.name,
      deviceId,
      resourceName,
    ]),
    [
      [undefined, undefined, undefined],
      ["a", undefined, undefined],
      ["sriov", "vf1", "x/nic"],
      ["sriov", "vf0", "x/nic"],
    ],
  );
});

Deno.test("selectDelegates() puts a device that nobody allocates into no configuration", async () => {
  const { delegates, warnings } = await select({
    networks: `[{"name":"a","deviceID":"0000:00:03.0"}]`,
  });
  assert.equal(
    delegates[1]?.list.text,
    `{"type":"macvlan","n":1.0,"name":"a"}`,
  );
  assert.equal(delegates[1]?.deviceId, undefined);
  assert.deepEqual(warnings.map(({ reason }) => reason), ["RequestUnheard"]);
});

Deno.test("selectDelegates() gives the runtime's configuration to the default network only", async () => {
  const runtimeConfig = `{"portMappings":[]}`;
  const { delegates } = await select({
    networks: "a",
    request: { runtimeConfig },
  });
  assert.deepEqual(
    delegates.map((delegate) => delegate.runtimeConfig),
    [runtimeConfig, undefined],
  );
});

Deno.test("selectDelegates() plans the default routes of all attachments", async () => {
  const { delegates } = await select({
    networks: `[{"name":"a","default-route":["10.0.0.1"]}]`,
    policy: { defaultNetworks: () => Promise.resolve([STORAGE]) },
  });
  assert.deepEqual(delegates.map(({ defaultRoute }) => defaultRoute.v4), [
    { kind: "lose" },
    { kind: "lose" },
    { kind: "own", gateways: ["10.0.0.1"] },
  ]);
});

Deno.test("selectDelegates() warns of what has no effect, with network and interface", async () => {
  const { warnings } = await select({
    networks:
      `[{"name":"a","bandwidth":{"ingressRate":1}},{"name":"sriov"},{"name":"sriov"},{"name":"sriov"}]`,
    defaultNetwork: `[{"name":"calico","ips":["10.0.0.9"],"interface":"x"}]`,
  });
  assert.deepEqual(
    warnings.map(({ reason, network, ifname }) =>
      `${reason} ${network} ${ifname}`
    ),
    [
      "InterfaceNameUnused k8s-pod-network eth0",
      "RequestUnheard ns/a net1",
      "DeviceMissing ns/sriov net4",
    ],
  );
});

Deno.test("selectDelegates() does not warn of hundreds of networks one by one", async () => {
  const networks = JSON.stringify(
    Array(200).fill({ name: "a", bandwidth: { ingressRate: 1 } }),
  );
  const { warnings } = await select({ networks });
  assert.equal(warnings.length, 10);
});

Deno.test("selectDelegates() keeps pods of an isolated namespace out of others", async (t) => {
  const policy = { namespaceIsolation: true, globalNamespaces: ["other"] };
  await t.step(
    "its own, a global one, and multusNamespace for the default network",
    async () => {
      const { delegates } = await select({
        networks: "a, other/a",
        defaultNetwork: "calico",
        policy,
      });
      assert.equal(delegates.length, 3);
    },
  );
  const refused: [name: string, given: Case, message: string][] = [
    [
      "a foreign network",
      { networks: "a,kube-system/calico" },
      'networks[1]: a pod of namespace "ns" may not use NetworkAttachmentDefinition "calico" of namespace "kube-system": ' +
      'namespaceIsolation is on, and globalNamespaces are "other"',
    ],
    [
      "a foreign default network",
      { namespace: "third", defaultNetwork: "ns/a" },
      'default-network[0]: a pod of namespace "third" may not use NetworkAttachmentDefinition "a" of namespace "ns": ' +
      'namespaceIsolation is on, and globalNamespaces are "other,kube-system"',
    ],
  ];
  for (const [name, given, message] of refused) {
    await t.step(name, async () => {
      await assert.rejects(select({ ...given, policy }), { message });
    });
  }
});

Deno.test("selectDelegates() refuses what cannot be, with its place, network and interface", async (t) => {
  const multus = parseConf(`{"name":"m","type":"multus"}`);
  const cases: [name: string, given: Case, message: string][] = [
    [
      "an annotation",
      { networks: "a,B" },
      'networks[1]: expected the name of a network (a-z, 0-9, "-"), found "B"',
    ],
    [
      "a default network",
      { defaultNetwork: "a,b" },
      "default-network: expected one network, found 2",
    ],
    [
      "a missing definition",
      { networks: "file,macvlan" },
      'Cannot find NetworkAttachmentDefinition "ns/macvlan" asked for by networks[1] as net2',
    ],
    [
      "a missing default network",
      { defaultNetwork: "none" },
      'Cannot find NetworkAttachmentDefinition "kube-system/none" asked for by default-network[0] as the default network',
    ],
    [
      "a definition that is not valid",
      { networks: "bad@x" },
      'NetworkAttachmentDefinition "ns/bad" asked for by networks[0] as x: ' +
      messageOfConf(`{"type":"","name":"bad"}`),
    ],
    [
      "a file that is not there",
      {
        networks: "gone",
        sources: {
          attachment: (namespace, name) => Promise.resolve({ namespace, name }),
        },
      },
      'NetworkAttachmentDefinition "ns/gone" asked for by networks[0] as net1: No file: "gone"',
    ],
    [
      "Multus as a network",
      { networks: "loop" },
      'NetworkAttachmentDefinition "ns/loop" asked for by networks[0] as net1 leads back to Multus itself and cannot be a delegate: type "multus"',
    ],
    [
      "Multus as the default network",
      { policy: { defaultNetwork: () => Promise.resolve({ list: multus }) } },
      'The default network leads back to Multus itself and cannot be a delegate: type "multus"',
    ],
    [
      "Multus as a further delegate",
      { policy: { furtherDelegates: [multus] } },
      'Default network "m" leads back to Multus itself and cannot be a delegate: type "multus"',
    ],
    [
      "Multus as the auxiliary chain",
      { policy: { auxiliaryChain: () => Promise.resolve(multus) } },
      'Auxiliary chain "m" leads back to Multus itself and cannot be a delegate: type "multus"',
    ],
    [
      "one interface name for two",
      { networks: "a@x,other/a@x" },
      'networks[1].interface: the interface name "x" is already that of networks[0], network "ns/a"',
    ],
    [
      "a device of somebody else",
      { networks: `[{"name":"a"},{"name":"sriov","deviceID":"0000:00:03.0"}]` },
      'networks[1].deviceID: the pod was given no such device of "x/nic": "0000:00:03.0"',
    ],
    [
      "one default route for two",
      {
        networks:
          `[{"name":"a","default-route":["10.0.0.1"]},{"name":"file","default-route":["10.0.0.2"]}]`,
      },
      "networks[1].default-route: the IPv4 default route is already asked for by networks[0]",
    ],
  ];
  for (const [name, given, message] of cases) {
    await t.step(name, async () => {
      await assert.rejects(select(given), (error) => {
        assert.ok(error instanceof CniError, String(error));
        assert.equal(error.code, ErrorCode.invalidNetworkConfig);
        assert.equal(error.message, message);
        assert.equal(toErrorDocument(error, "1.0.0").msg, message);
        return true;
      });
    });
  }
});

Deno.test("selectDelegates() never goes on with fewer networks when the cluster cannot be asked", async () => {
  const failure = new CniError(ErrorCode.tryAgainLater, "Cannot ask");
  const sources = { attachment: () => Promise.reject(failure) };
  await assert.rejects(select({ networks: "a", sources }), failure);
  const defaultNetworks = (): Promise<never> => Promise.reject(failure);
  await assert.rejects(select({ policy: { defaultNetworks } }), failure);
});

Deno.test("selectDelegates() does not ask for what it does not need", async () => {
  const unwanted = (): Promise<never> => Promise.reject(new TypeError("Asked"));
  const { delegates } = await select({
    namespace: "kube-system",
    defaultNetwork: "calico",
    policy: { defaultNetwork: unwanted, defaultNetworks: unwanted },
    sources: { deviceIds: unwanted, confByName: unwanted },
  });
  assert.deepEqual(delegates.map(short), ["default k8s-pod-network eth0"]);
});

/** What is said of a configuration that is not valid: the words of another room. */
function messageOfConf(text: string): string {
  try {
    parseConf(text);
  } catch (error) {
    if (error instanceof CniError) return error.message;
  }
  assert.fail("the configuration is valid");
}
