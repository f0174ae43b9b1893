/**
 * The examples of the user's guide, each of them run as it stands: manifests
 * on a node with the card that they name, configurations with only their paths
 * changed to those of the test's node.
 */
import { deepEqual, equal, match } from "node:assert/strict";
import { join } from "node:path";
import { parseAllDocuments } from "yaml";
import { PAIR_FILE } from "../lib/kube/node_certificate.ts";
import { parseNetworks } from "../lib/selection/annotation.ts";
import { waitUntil } from "./api_server/wait.ts";
import { startFakeKubelet } from "./kubelet/fake_kubelet.ts";
import {
  hasLinkKind,
  installHandOnPlugin,
  installLinkPlugin,
  titleOf,
} from "./kernel_links.ts";
import { ip, runProgram, type Sandbox, TestNode } from "./node.ts";
import { nodeTest, step } from "./on_node.ts";
import {
  addPod,
  assertAgreement,
  assertDone,
  createPod,
  type Expected,
  ipIn,
  readDefaultRoutes,
  readKernel,
  sandboxOf,
  waitForStatus,
} from "./pods.ts";

const EXAMPLES = new URL("../deployments/examples/", import.meta.url).pathname;
const NETWORKS = "k8s.v1.cni.cncf.io/networks";
const DEFAULT_NETWORK = "v1.multus-cni.io/default-network";

/** What is true of a pod besides that kernel, cache and status agree. */
interface Facts {
  readonly net1?: readonly string[];
  readonly eth0?: readonly string[];
  readonly mac?: string;
  readonly routes?: readonly string[];
}

/** Each manifest file with its pods. */
const MANIFESTS: Readonly<Record<string, Readonly<Record<string, Facts>>>> = {
  "default-only.yaml": { plain: { routes: ["10.88.0.1 eth0"] } },
  "macvlan.yaml": { samplepod: { net1: ["192.168.1.200/24"] } },
  "other-namespace.yaml": { visitor: {} },
  "json.yaml": { "two-cards": {} },
  "config-file.yaml": { database: {} },
  "default-route.yaml": { edge: { routes: ["10.77.0.1 net1"] } },
  "default-route-dual-stack.yaml": {
    "edge-dual": { routes: ["10.78.0.1 net1", "fd00:78::1 net1"] },
  },
  "default-route-of-plugin.yaml": {
    "edge-own-way": { routes: ["10.88.0.1 eth0", "fd00:79::1 net1"] },
  },
  "static-address.yaml": {
    fixed: {
      net1: ["192.168.30.10/24", "fd00:30::10/64"],
      mac: "02:00:00:00:30:10",
    },
  },
  "ports-and-bandwidth.yaml": { published: {} },
  "cni-args.yaml": { arguer: { net1: ["10.67.0.77/24"] } },
  "default-network.yaml": {
    "on-fast": {},
    "on-fast-static": { eth0: ["192.168.41.5/24"] },
  },
  "source-based-routing.yaml": {
    "two-ways-out": { routes: ["10.88.0.1 eth0"] },
  },
  "firewall.yaml": { guarded: {} },
  "ipvlan.yaml": { "ipvlan-pod": {} },
  "vlan.yaml": { "in-vlan-100": {} },
  "vrf.yaml": { "in-blue": {} },
  "sriov.yaml": { "two-functions": {} },
  "infiniband.yaml": { "ib-pod": {} },
  "device-id.yaml": { "one-function": {} },
  "resource-claim.yaml": { claimer: {} },
};

/** Plugins that need what this machine may not have; the others are real. */
const SCRIPTED: Readonly<Record<string, string>> = {
  "ipvlan.yaml": "ipvlan",
  "vlan.yaml": "vlan",
  "vrf.yaml": "vrf",
  "sriov.yaml": "sriov",
  "infiniband.yaml": "ib-sriov",
  "device-id.yaml": "sriov",
  "resource-claim.yaml": "sriov",
};

interface Manifest {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: {
    readonly name: string;
    readonly namespace?: string;
    readonly annotations?: Readonly<Record<string, string>>;
  };
  readonly spec?: Readonly<Record<string, unknown>>;
}

async function readManifests(file: string): Promise<Manifest[]> {
  const text = await Deno.readTextFile(join(EXAMPLES, file));
  return parseAllDocuments(text).map((document) => document.toJS() as Manifest);
}

/** What scheduler and drivers do before a runtime hears of a pod. */
function schedule(manifest: Manifest, nodeName: string): unknown {
  const { kind, spec } = manifest;
  if (kind === "Pod") return { ...manifest, spec: { ...spec, nodeName } };
  if (kind !== "ResourceClaim") return manifest;
  const results = [{
    request: "nic",
    driver: "nic.example.com",
    pool: nodeName,
    device: "vf-0",
  }];
  return { ...manifest, status: { allocation: { devices: { results } } } };
}

/** What a driver publishes of its devices. */
function sliceOf(nodeName: string): unknown {
  const attribute = (string: string): unknown => ({ string });
  return {
    apiVersion: "resource.k8s.io/v1",
    kind: "ResourceSlice",
    metadata: { name: "nic-slice" },
    spec: {
      driver: "nic.example.com",
      nodeName,
      pool: { name: nodeName, generation: 1, resourceSliceCount: 1 },
      devices: [{
        name: "vf-0",
        attributes: {
          "k8s.cni.cncf.io/deviceID": attribute("0000:03:02.5"),
          "k8s.cni.cncf.io/resourceName": attribute("example.com/claimed-vf"),
        },
      }],
    },
  };
}

/** Files of a directory of examples, by their paths in it. */
async function filesIn(dir: string): Promise<string[]> {
  const files: string[] = [];
  for await (const entry of Deno.readDir(join(EXAMPLES, dir))) {
    const path = join(dir, entry.name);
    if (entry.isDirectory) files.push(...await filesIn(path));
    else files.push(path);
  }
  return files.sort();
}

/** The card that examples name, and addresses of host-local that nobody else has. */
async function prepareMachine(): Promise<AsyncDisposable> {
  await ip("link", "add", "eth0", "type", "veth", "peer", "name", "switch0");
  await ip("link", "set", "eth0", "up");
  await ip("link", "set", "switch0", "up");
  await Deno.mkdir("/var/lib/cni", { recursive: true });
  await run("mount", "-t", "tmpfs", "-o", "size=4m", "cni", "/var/lib/cni");
  return {
    [Symbol.asyncDispose]: async () => {
      await run("umount", "/var/lib/cni");
      await ip("link", "delete", "eth0");
    },
  };
}

async function run(program: string, ...args: string[]): Promise<void> {
  const { code, stderr } = await runProgram([program, ...args]);
  equal(code, 0, stderr);
}

/** Places that examples name, as they are on the test's node; the longest first. */
function inNode(text: string, { dir, profile }: TestNode): string {
  const places: Readonly<Record<string, string>> = {
    "/etc/cni/net.d/multus.d/multus.kubeconfig": join(dir, "kubeconfig"),
    "/var/lib/kubelet/kubeconfig": join(dir, "kubeconfig"),
    "/etc/cni/multus/net.d": profile.multusConfDir,
    "/etc/cni/multus/certs": join(dir, "certs"),
    "/run/flannel/subnet.env": join(dir, "subnet.env"),
    "/var/log/multus": join(dir, "log"),
    "/etc/cni/net.d": profile.cniConfDir,
    "/run/multus": profile.socketDir,
  };
  return Object.entries(places).reduce(
    (changed, [from, to]) => changed.replaceAll(from, to),
    text,
  );
}

/** The CNI files of the examples, where a node has them. */
async function placeFiles(node: TestNode): Promise<void> {
  const { cniConfDir, multusConfDir } = node.profile;
  const copies = {
    "10-bridge.conflist": cniConfDir,
    "net.d/storage.conflist": multusConfDir,
    "net.d/aux/10-sysctl.conf": join(multusConfDir, "aux"),
  };
  for (const [file, dir] of Object.entries(copies)) {
    await Deno.mkdir(dir, { recursive: true });
    const name = file.slice(file.lastIndexOf("/") + 1);
    await Deno.copyFile(join(EXAMPLES, file), join(dir, name));
  }
}

/** What a pod is to get, from what it asks for and the definitions' own names. */
function expectedOf(
  pod: Manifest,
  definitions: readonly Manifest[],
): Expected[] {
  const { annotations = {}, namespace = "default" } = pod.metadata;
  const networkOf = (namespace: string, name: string): string => {
    const definition = definitions.find(({ metadata }) =>
      metadata.name === name && metadata.namespace === namespace
    );
    const config = definition?.spec?.config;
    return typeof config === "string" ? JSON.parse(config).name ?? name : name;
  };
  const chosen = annotations[DEFAULT_NETWORK];
  const network = chosen === undefined
    ? "cluster-net"
    : networkOf("kube-system", /fast(-static)?/.exec(chosen)?.[0] ?? "");
  return [
    { name: network, network, ifname: "eth0" },
    ...parseNetworks(annotations[NETWORKS] ?? "", namespace).map((
      selection,
      index,
    ) => ({
      name: `${selection.namespace}/${selection.name}`,
      network: networkOf(selection.namespace, selection.name),
      ifname: selection.interface ?? `net${index + 1}`,
    })),
  ];
}

async function assertFacts(sandbox: Sandbox, facts: Facts): Promise<void> {
  const kernel = await readKernel(sandbox);
  if (facts.net1) deepEqual(kernel.net1?.addresses, facts.net1);
  if (facts.eth0) deepEqual(kernel.eth0?.addresses, facts.eth0);
  if (facts.mac) equal(kernel.net1?.mac, facts.mac);
  if (facts.routes === undefined) return;
  const routes = [
    ...await readDefaultRoutes(sandbox, 4),
    ...await readDefaultRoutes(sandbox, 6),
  ];
  deepEqual(routes, facts.routes);
}

/** Installs what stands in for plugins whose hardware or kernel is not there; the kinds that are. */
async function installScripted(node: TestNode): Promise<Set<string>> {
  const real = new Set<string>();
  for (const kind of new Set(Object.values(SCRIPTED))) {
    if (await hasLinkKind(kind, "eth0")) real.add(kind);
    else if (kind === "vrf") await installHandOnPlugin(node, kind);
    else await installLinkPlugin(node, kind, "192.0.2.60/24");
  }
  return real;
}

nodeTest("every manifest of the examples does what it says", async (t) => {
  await using _machine = await prepareMachine();
  await using node = await TestNode.create({
    plugins: [...new Set(Object.values(SCRIPTED))],
  });
  await placeFiles(node);
  const real = await installScripted(node);
  await using _kubelet = await startFakeKubelet(node.dir, {
    pods: [{
      namespace: "default",
      name: "two-functions",
      containers: {
        app: { "example.com/vf": ["0000:03:02.0", "0000:03:02.1"] },
      },
    }, { namespace: "default", name: "claimer", containers: { app: {} } }],
  });
  const all = new Map<string, readonly Manifest[]>();
  for (const file of Object.keys(MANIFESTS)) {
    all.set(file, await readManifests(file));
  }
  const manifests = [...all.values()].flat();
  node.api.put(sliceOf(node.nodeName));
  for (const one of manifests) node.api.put(schedule(one, node.nodeName));
  await node.startDaemon();
  for (const [file, own] of all) {
    const kind = SCRIPTED[file];
    const isReal = kind === undefined || real.has(kind);
    const pods = own.filter((manifest) => manifest.kind === "Pod");
    deepEqual(
      pods.map(({ metadata }) => metadata.name),
      Object.keys(MANIFESTS[file] ?? {}),
      `pods of ${file}`,
    );
    for (const pod of pods) {
      const { name, namespace } = pod.metadata;
      await step(t, titleOf(`${file}: ${name}`, isReal), async () => {
        const sandbox = await sandboxOf(node, name, namespace);
        await addPod(node, sandbox);
        const expected = expectedOf(pod, manifests);
        const ifnames = expected.map(({ ifname }) => ifname);
        if (kind === "vrf" && isReal) {
          await waitForStatus(node, sandbox, ifnames);
        } else await assertAgreement(node, sandbox, expected);
        await assertFacts(sandbox, MANIFESTS[file]?.[name] ?? {});
        assertDone(node, await node.cni("DEL", sandbox));
        deepEqual(await readKernel(sandbox), {});
      });
    }
  }
});

/** Each configuration of the shim, and what a pod that asks for nothing gets by it. */
const MULTUS: Readonly<Record<string, readonly string[]>> = {
  "multus/cluster-network-file.conf": ["cluster-net"],
  "multus/cluster-network-name.conf": ["storage"],
  "multus/cluster-network-directory.conf": ["storage"],
  "multus/cluster-network-definition.conf": ["fast"],
  "multus/default-networks.conf": ["cluster-net", "storage"],
  "multus/delegates.conf": ["in-place"],
  "multus/auxiliary-chain.conf": ["storage"],
  "multus/older-name.conf": ["cluster-net"],
};

nodeTest(
  "every configuration of the shim in the examples does what it says",
  async (t) => {
    await using _machine = await prepareMachine();
    await using node = await TestNode.create({
      daemonConf: { kubeconfig: undefined },
    });
    await placeFiles(node);
    for (const manifest of await readManifests("default-network.yaml")) {
      if (manifest.kind !== "Pod") node.api.put(manifest);
    }
    await node.startDaemon();
    for (const [file, networks] of Object.entries(MULTUS)) {
      await step(t, file, async () => {
        const text = await Deno.readTextFile(join(EXAMPLES, file));
        node.runtimeConf = {
          daemonSocketDir: node.profile.hostSocketDir,
          cniDir: node.profile.cniStateDir,
          // Every daemon has credentials of its own; here each example brings them.
          kubeconfig: join(node.dir, "kubeconfig"),
          ...JSON.parse(inNode(text, node)),
        };
        const sandbox = await createPod(node, "anyone");
        await addPod(node, sandbox);
        await assertAgreement(
          node,
          sandbox,
          networks.map((name, index) => ({
            name,
            network: name,
            ifname: index === 0 ? "eth0" : `net${index}`,
          })),
        );
        if (file === "multus/auxiliary-chain.conf") {
          equal(
            (await inNetns(
              sandbox,
              "/proc/sys/net/ipv4/ip_unprivileged_port_start",
            ))
              .trim(),
            "80",
          );
        }
        assertDone(node, await node.cni("DEL", sandbox));
        equal(await ipIn(sandbox, "-o", "link", "show", "up"), "");
      });
    }
  },
);

async function inNetns({ netns }: Sandbox, file: string): Promise<string> {
  const name = netns.slice(netns.lastIndexOf("/") + 1);
  const { stdout } = await runProgram([
    "ip",
    "netns",
    "exec",
    name,
    "cat",
    file,
  ]);
  return stdout;
}

/** Each configuration of the daemon, with what it takes to run and what shows that it holds. */
const DAEMON: Readonly<
  Record<string, {
    readonly profile?: Readonly<Record<string, unknown>>;
    readonly prepare?: (node: TestNode) => Promise<void>;
    readonly look?: (node: TestNode) => Promise<void>;
  }>
> = {
  "daemon/minimal.json": {},
  "daemon/namespace-isolation.json": {
    look: async (node) => {
      const sandbox = await createPod(node, "stranger", {
        networks: "lab/secret",
      });
      const { json } = await node.cni("ADD", sandbox);
      match(json.msg, /globalNamespaces are "default,shared-networks"$/);
    },
  },
  "daemon/auto-configuration.json": {
    look: async (node) => {
      const path = join(node.profile.cniConfDir, "00-multus.conf");
      node.runtimeConf = {
        ...JSON.parse(await Deno.readTextFile(path)),
        daemonSocketDir: node.profile.hostSocketDir,
        cniDir: node.profile.cniStateDir,
      };
      equal(node.runtimeConf.type, "multus-shim");
    },
  },
  "daemon/per-node-certificate.json": {
    profile: { certDir: "$NODE/certs" },
    look: async (node) => {
      const path = join(node.dir, "certs", PAIR_FILE);
      match(await Deno.readTextFile(path), /BEGIN CERTIFICATE/);
    },
  },
  "daemon/readiness-indicator.json": {
    profile: { readinessIndicatorFile: "$NODE/subnet.env" },
    prepare: (node) => Deno.writeTextFile(join(node.dir, "subnet.env"), ""),
  },
  "daemon/logging.json": {
    profile: { logFile: "$NODE/log/multus.log" },
    prepare: (node) => Deno.mkdir(join(node.dir, "log")),
    look: (node) =>
      waitUntil(
        async () =>
          (await Deno.readTextFile(join(node.dir, "log", "multus.log")))
            .includes("Serving"),
        { what: "a line in the log file" },
      ),
  },
  "daemon/metrics.json": {
    profile: { metrics: "0.0.0.0:PORT" },
    look: async (node) => {
      const [, port] = (node.profile.metrics ?? "").split(":");
      const answer = await fetch(`http://127.0.0.1:${port}/metrics`);
      match(await answer.text(), /^multus_server_request_total/m);
    },
  },
};

/** A port that nobody listens on. */
function freePort(): string {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  return String((listener.addr as Deno.NetAddr).port);
}

nodeTest(
  "every configuration of the daemon in the examples does what it says",
  async (t) => {
    await using _machine = await prepareMachine();
    for (
      const [file, { profile = {}, prepare, look }] of Object.entries(DAEMON)
    ) {
      await step(t, file, async () => {
        const port = freePort();
        await using node = await TestNode.create({
          api: { signsRequests: true, takesTokenless: true },
          profile: JSON.parse(JSON.stringify(profile).replace("PORT", port)),
        });
        await placeFiles(node);
        const text = await Deno.readTextFile(join(EXAMPLES, file));
        await node.writeDaemonConf(
          JSON.parse(inNode(text, node).replace("9091", port)),
        );
        await Deno.mkdir(join(node.dir, "certs"));
        await prepare?.(node);
        await node.startDaemon();
        await look?.(node);
        const sandbox = await createPod(node, "anyone");
        await addPod(node, sandbox);
        const { eth0 } = await readKernel(sandbox);
        match(eth0?.addresses[0] ?? "", /^10\.88\./);
        assertDone(node, await node.cni("DEL", sandbox));
      });
    }
  },
);

/** Files that are parts of others, and what is no example to run. */
const PARTS = [
  "10-bridge.conflist",
  "README.md",
  "net.d/aux/10-sysctl.conf",
  "net.d/storage.conflist",
];

Deno.test("every file of the examples is run by a test, and stands in their README", async () => {
  // What a distribution needs is rendered with the manifests and tested there.
  const files = (await filesIn(".")).filter((file) => !file.startsWith("k3s/"));
  const tables = [MANIFESTS, MULTUS, DAEMON].flatMap((table) =>
    Object.keys(table)
  );
  deepEqual(files, [...tables, ...PARTS].sort());
  const readme = await Deno.readTextFile(join(EXAMPLES, "README.md"));
  deepEqual(
    files.filter((file) =>
      file !== "README.md" && !readme.includes(`\`${file}\``)
    ),
    [],
  );
});
