/**
 * Devices of pods: who gave them (the kubelet over its socket, its checkpoint,
 * resource claims), which attachment takes which, and what is told of them in
 * both directions. The kubelet is a stand-in with real gRPC; the plugin that
 * takes a device is scripted, because there is no such hardware here, and makes
 * a real interface all the same.
 */
import { deepEqual, equal, match, ok } from "node:assert/strict";
import { join } from "node:path";
import { attachmentManifest, podManifest } from "./api_server/fixture.ts";
import { waitUntil } from "./api_server/wait.ts";
import { startFakeKubelet } from "./kubelet/fake_kubelet.ts";
import { installHandOnPlugin, installLinkPlugin } from "./kernel_links.ts";
import { layNetworks } from "./networks.ts";
import { type Sandbox, TestNode } from "./node.ts";
import { readCalls } from "./noop_plugin.ts";
import { nodeTest, step } from "./on_node.ts";
import {
  addPod,
  assertDone,
  readCache,
  readKernel,
  sandboxOf,
  waitForStatus,
} from "./pods.ts";

const VF = "example.com/vf";
const RDMA = "example.com/rdma";
const ADDRESS = "192.0.2.50/24";
const NETWORKS = "k8s.v1.cni.cncf.io/networks";
const RESOURCE = "k8s.v1.cni.cncf.io/resourceName";

/** Pods with as many devices of a kind as this have them in an order that the kubelet does not keep. */
const FIRST = ["0000:03:02.3", "0000:03:02.1"];
const SECOND = ["0000:03:02.2", "0000:03:02.0"];
const IN_ORDER = [
  "0000:03:02.1",
  "0000:03:02.3",
  "0000:03:02.0",
  "0000:03:02.2",
];

/** A node whose plugins take devices: single and list, each of both resources. */
async function createDeviceNode(
  daemonConf: Readonly<Record<string, unknown>> = {},
): Promise<TestNode> {
  const node = await TestNode.create({
    plugins: ["sriov", "meta"],
    daemonConf,
  });
  await installLinkPlugin(node, "sriov", ADDRESS);
  await installHandOnPlugin(node, "meta");
  const capabilities = { deviceID: true, CNIDeviceInfoFile: true };
  const plugin = { type: "sriov", capabilities };
  putDeviceNetwork(node, "vf", VF, { cniVersion: "1.0.0", ...plugin });
  putDeviceNetwork(node, "rdma", RDMA, {
    cniVersion: "1.0.0",
    plugins: [plugin, { type: "meta" }],
  });
  return node;
}

function putDeviceNetwork(
  node: TestNode,
  name: string,
  resource: string,
  conf: Record<string, unknown>,
): void {
  node.api.put(attachmentManifest(name, {
    config: JSON.stringify({ name, ...conf }),
    annotations: { [RESOURCE]: resource },
  }));
}

/** A pod with two containers, by name; `more` goes over its spec and status. */
async function createDevicePod(
  node: TestNode,
  name: string,
  options: { networks: string; spec?: unknown; status?: unknown },
): Promise<Sandbox> {
  const { networks, spec = {}, status = {} } = options;
  const containers = ["first", "second"].map((container) => ({
    name: container,
    image: "none",
  }));
  node.api.put({
    ...podManifest(name, {
      uid: crypto.randomUUID(),
      nodeName: node.nodeName,
      annotations: { [NETWORKS]: networks },
    }),
    spec: { nodeName: node.nodeName, containers, ...spec as object },
    status: { phase: "Pending", ...status as object },
  });
  return await sandboxOf(node, name);
}

/** What a plugin was given in the calls of a container, by interface. */
async function devicesGiven(
  node: TestNode,
  { containerId }: Sandbox,
  { type = "sriov", command = "ADD" }: { type?: string; command?: string } = {},
): Promise<Record<string, string>> {
  const calls = (await readCalls(node.binDir)).filter((call) =>
    call.type === type && call.command === command &&
    call.env.CNI_CONTAINERID === containerId
  );
  return Object.fromEntries(calls.map(({ env, stdin }) => {
    const { deviceID, pciBusID, runtimeConfig } = JSON.parse(stdin);
    equal(pciBusID, deviceID, "both names that plugins look for");
    if (runtimeConfig?.deviceID !== undefined) {
      equal(runtimeConfig.deviceID, deviceID);
    }
    return [env.CNI_IFNAME ?? "", deviceID];
  }));
}

nodeTest(
  "two containers with two devices each: attachments take them in one order, always, and DEL has them again",
  async () => {
    await using node = await createDeviceNode();
    await using _networks = await layNetworks(node);
    const names = ["a", "b", "c"];
    await using kubelet = await startFakeKubelet(node.dir, {
      pods: names.map((name) => ({
        namespace: "default",
        name,
        containers: { second: { [VF]: SECOND }, first: { [VF]: FIRST } },
      })),
    });
    await node.startDaemon();
    for (const name of names) {
      const sandbox = await createDevicePod(node, name, {
        networks: "vf,vf,vf,vf",
      });
      await addPod(node, sandbox);
      const given = Object.fromEntries(
        IN_ORDER.map((id, index) => [`net${index + 1}`, id]),
      );
      deepEqual(await devicesGiven(node, sandbox), given);
      // Whatever the kubelet says later, or whether it says anything, DEL uses what was recorded.
      const { get, list } = kubelet.counts;
      kubelet.failNext({ code: 14, details: "gone" });
      assertDone(node, await node.cni("DEL", sandbox));
      deepEqual(await devicesGiven(node, sandbox, { command: "DEL" }), given);
      deepEqual([kubelet.counts.get, kubelet.counts.list], [get, list]);
      kubelet.failNext();
      deepEqual(await readKernel(sandbox), {});
    }
  },
);

nodeTest(
  "devices are put into single configurations and into each plugin of a list, by resource",
  async () => {
    await using node = await createDeviceNode();
    await using _networks = await layNetworks(node);
    await using _kubelet = await startFakeKubelet(node.dir, {
      pods: [{
        namespace: "default",
        name: "mixed",
        containers: { first: { [VF]: ["vf-9"], [RDMA]: ["rdma-3", "rdma-1"] } },
      }],
    });
    await node.startDaemon();
    const sandbox = await createDevicePod(node, "mixed", {
      networks: "rdma,vf,rdma",
    });
    await addPod(node, sandbox);
    deepEqual(await devicesGiven(node, sandbox), {
      net1: "rdma-1",
      net2: "vf-9",
      net3: "rdma-3",
    });
    deepEqual(await devicesGiven(node, sandbox, { type: "meta" }), {
      net1: "rdma-1",
      net3: "rdma-3",
    });
    const cached = await readCache(node, sandbox, {
      network: "vf",
      ifname: "net2",
    });
    const config = JSON.parse(atob(cached.config));
    deepEqual([config.deviceID, config.pciBusID], ["vf-9", "vf-9"]);
    assertDone(node, await node.cni("CHECK", sandbox));
    assertDone(node, await node.cni("DEL", sandbox));
  },
);

nodeTest(
  "a pod chooses among its own devices by name, and gets no other",
  async () => {
    await using node = await createDeviceNode();
    await using _networks = await layNetworks(node);
    await using _kubelet = await startFakeKubelet(node.dir, {
      pods: [{
        namespace: "default",
        name: "choosing",
        containers: { first: { [VF]: ["vf-1", "vf-2"] } },
      }],
    });
    await node.startDaemon();
    const own = await createDevicePod(node, "choosing", {
      networks: '[{"name":"vf","deviceID":"vf-2"},{"name":"vf"}]',
    });
    await addPod(node, own);
    deepEqual(await devicesGiven(node, own), { net1: "vf-2", net2: "vf-1" });
    assertDone(node, await node.cni("DEL", own));
    for (const name of ["choosing", "without"]) {
      const foreign = await createDevicePod(node, name, {
        networks: '[{"name":"vf","deviceID":"vf-3"}]',
      });
      const added = await node.cni("ADD", foreign);
      const { code, msg } = JSON.parse(added.stdout);
      equal(code, 7);
      match(
        msg,
        /networks\[0\]\.deviceID: the pod was given no such device of ".*": "vf-3"$/,
      );
      deepEqual(await devicesGiven(node, foreign), {});
      assertDone(node, await node.cni("DEL", foreign));
    }
  },
);

nodeTest(
  "concurrent ADDs share the kubelet's answer, also of an old kubelet with a long list and a rate limit",
  async () => {
    await using node = await createDeviceNode({ addConcurrency: 8 });
    await using _networks = await layNetworks(node);
    const names = Array.from({ length: 6 }, (_, index) => `crowd-${index}`);
    await using kubelet = await startFakeKubelet(node.dir, {
      get: "missing",
      rateLimit: 2,
      listBytesMin: 2_000_000,
      pods: names.map((name, index) => ({
        namespace: "default",
        name,
        containers: { first: { [VF]: [`vf-${index}`] } },
      })),
    });
    await node.startDaemon();
    const sandboxes: Sandbox[] = [];
    for (const name of names) {
      sandboxes.push(await createDevicePod(node, name, { networks: "vf" }));
    }
    await Promise.all(sandboxes.map((sandbox) => addPod(node, sandbox)));
    for (const [index, sandbox] of sandboxes.entries()) {
      deepEqual(await devicesGiven(node, sandbox), { net1: `vf-${index}` });
    }
    ok(kubelet.counts.list < names.length, `${kubelet.counts.list} calls`);
    await Promise.all(
      sandboxes.map(async (sandbox) =>
        assertDone(node, await node.cni("DEL", sandbox))
      ),
    );
  },
);

nodeTest(
  "without the kubelet's socket its checkpoint is read, and without both ADD says so",
  async (t) => {
    await using node = await createDeviceNode();
    await using _networks = await layNetworks(node);
    await node.startDaemon();
    await step(t, "neither", async () => {
      const sandbox = await createDevicePod(node, "blind", { networks: "vf" });
      const { code, json } = await node.cni("ADD", sandbox);
      equal(code, 1);
      equal(json.code, 11);
      match(
        json.msg,
        /^Kubelet does not tell the devices of pod "default\/blind": neither its socket nor its checkpoint is there/,
      );
    });
    await step(t, "the checkpoint", async () => {
      const sandbox = await createDevicePod(node, "noted", {
        networks: "vf,vf,vf",
      });
      const entry = (name: string, ids: Record<string, string[]>): unknown => ({
        PodUID: sandbox.uid,
        ContainerName: name,
        ResourceName: VF,
        DeviceIDs: ids,
      });
      const entries = [
        entry("second", { "0": ["vf-0"] }),
        entry("first", { "1": ["vf-7"], "0": ["vf-5"] }),
      ];
      await Deno.writeTextFile(
        node.profile.deviceCheckpoint,
        JSON.stringify({ Data: { PodDeviceEntries: entries }, Checksum: 1 }),
      );
      await addPod(node, sandbox);
      deepEqual(await devicesGiven(node, sandbox), {
        net1: "vf-5",
        net2: "vf-7",
        net3: "vf-0",
      });
      assertDone(node, await node.cni("DEL", sandbox));
    });
  },
);

const DRIVER = "nic.example.com";

function putClaim(
  node: TestNode,
  name: string,
  results: readonly { request: string; device: string }[],
): void {
  node.api.put({
    apiVersion: "resource.k8s.io/v1",
    kind: "ResourceClaim",
    metadata: { name, namespace: "default" },
    spec: {},
    status: {
      allocation: {
        devices: {
          results: results.map((result) => ({
            ...result,
            driver: DRIVER,
            pool: node.nodeName,
          })),
        },
      },
    },
  });
}

function putSlice(
  node: TestNode,
  devices: Readonly<Record<string, Readonly<Record<string, string>>>>,
): void {
  node.api.put({
    apiVersion: "resource.k8s.io/v1",
    kind: "ResourceSlice",
    metadata: { name: "slice" },
    spec: {
      driver: DRIVER,
      nodeName: node.nodeName,
      pool: { name: node.nodeName, generation: 1, resourceSliceCount: 1 },
      devices: Object.entries(devices).map(([name, attributes]) => ({
        name,
        attributes: Object.fromEntries(
          Object.entries(attributes).map(([key, value]) => [
            `k8s.cni.cncf.io/${key}`,
            { string: value },
          ]),
        ),
      })),
    },
  });
}

nodeTest(
  "devices of resource claims are taken like the kubelet's",
  async (t) => {
    await using node = await createDeviceNode();
    await using _networks = await layNetworks(node);
    putSlice(node, {
      "vf-a": { deviceID: "0000:05:00.1", resourceName: VF },
      "vf-b": { deviceID: "0000:05:00.2", resourceName: VF },
      "gpu": {},
      "rdma-a": { deviceID: "0000:06:00.1", resourceName: RDMA },
    });
    putClaim(node, "nics-of-web", [
      { request: "nic", device: "vf-b" },
      { request: "accelerator", device: "gpu" },
      { request: "nic", device: "vf-a" },
    ]);
    putClaim(node, "extended-of-web", [
      { request: "container-0-request-0", device: "rdma-a" },
    ]);
    await node.startDaemon();
    const claims = {
      spec: {
        resourceClaims: [{ name: "nics", resourceClaimTemplateName: "nics" }],
      },
      status: {
        resourceClaimStatuses: [{
          name: "nics",
          resourceClaimName: "nics-of-web",
        }],
      },
    };
    await step(t, "claims", async () => {
      const sandbox = await createDevicePod(node, "claiming", {
        networks: "vf,vf",
        ...claims,
      });
      await addPod(node, sandbox);
      deepEqual(await devicesGiven(node, sandbox), {
        net1: "0000:05:00.2",
        net2: "0000:05:00.1",
      });
      assertDone(node, await node.cni("DEL", sandbox));
    });
    await step(t, "extended resources", async () => {
      const sandbox = await createDevicePod(node, "extended", {
        networks: "rdma",
        status: {
          extendedResourceClaimStatus: {
            resourceClaimName: "extended-of-web",
            requestMappings: [{
              containerName: "first",
              requestName: "container-0-request-0",
              resourceName: RDMA,
            }],
          },
        },
      });
      await addPod(node, sandbox);
      deepEqual(await devicesGiven(node, sandbox), { net1: "0000:06:00.1" });
      assertDone(node, await node.cni("DEL", sandbox));
    });
    await step(t, "a claim that is not allocated yet", async () => {
      node.api.put({
        apiVersion: "resource.k8s.io/v1",
        kind: "ResourceClaim",
        metadata: { name: "late", namespace: "default" },
        spec: {},
      });
      const sandbox = await createDevicePod(node, "early", {
        networks: "vf",
        spec: { resourceClaims: [{ name: "nics", resourceClaimName: "late" }] },
      });
      const { code, json } = await node.cni("ADD", sandbox);
      deepEqual([code, json.code, json.msg], [
        1,
        11,
        'Resource claim is not allocated yet: "default/late"',
      ]);
    });
  },
);

const INFO = {
  type: "pci",
  version: "1.1.0",
  pci: { "pci-address": "0000:03:02.1" },
};

/** What the plugin makes of the file that it is given: writes it, as those do whose device plugin says nothing. */
function writingScript(text: string): string {
  return `
PATH=/usr/bin:/bin
file=$(sed -n 's/.*"CNIDeviceInfoFile":"\\([^"]*\\)".*/\\1/p' "$stdin_file")
printf '%s' '${text}' > "$file"
`;
}

nodeTest(
  "device information goes to the plugin, and from the plugin into the status",
  async (t) => {
    await using node = await createDeviceNode();
    await using _networks = await layNetworks(node);
    const names = ["told", "telling", "garbled", "muttering"];
    await using _kubelet = await startFakeKubelet(node.dir, {
      pods: names.map((name) => ({
        namespace: "default",
        name,
        containers: { first: { [VF]: [`${name}/1`] } },
      })),
    });
    const { deviceInfoDir } = node.profile;
    const put = async (name: string, text: string): Promise<void> => {
      await Deno.mkdir(join(deviceInfoDir, "dp"), { recursive: true });
      await Deno.writeTextFile(
        join(deviceInfoDir, "dp", `example.com-vf-${name}-1-device.json`),
        text,
      );
    };
    const filesLeft = async (): Promise<string[]> =>
      (await Array.fromAsync(Deno.readDir(join(deviceInfoDir, "cni"))))
        .map(({ name }) => name);
    const addScript = `${node.binDir}/sriov.d/ADD`;
    const script = await Deno.readTextFile(addScript);
    await node.startDaemon();

    const cases: readonly {
      name: string;
      prepare: () => Promise<void>;
      info: unknown;
      log?: RegExp;
    }[] = [
      {
        name: "told",
        prepare: () => put("told", JSON.stringify(INFO)),
        info: INFO,
      },
      {
        name: "telling",
        prepare: () =>
          Deno.writeTextFile(
            addScript,
            writingScript(JSON.stringify({ ...INFO, type: "vdpa" })) + script,
          ),
        info: { ...INFO, type: "vdpa" },
      },
      {
        name: "garbled",
        prepare: async () => {
          await Deno.writeTextFile(addScript, script);
          await put("garbled", "[1]");
        },
        info: undefined,
        log:
          /Cannot hand device information on: Device information cannot be used: JSON is not an object: \[1\]/,
      },
      {
        name: "muttering",
        prepare: () =>
          Deno.writeTextFile(addScript, writingScript("{half") + script),
        info: undefined,
        log:
          /The status is written without device-info: Device information cannot be used/,
      },
    ];
    for (const { name, prepare, info, log } of cases) {
      await step(t, name, async () => {
        await prepare();
        const sandbox = await createDevicePod(node, name, { networks: "vf" });
        await addPod(node, sandbox);
        const [, told] = await waitForStatus(node, sandbox, ["eth0", "net1"]);
        deepEqual((told as { "device-info"?: unknown })["device-info"], info);
        const call = (await readCalls(node.binDir)).find((one) =>
          one.command === "ADD" &&
          one.env.CNI_CONTAINERID === sandbox.containerId
        );
        equal(
          JSON.parse(call?.stdin ?? "{}").runtimeConfig.CNIDeviceInfoFile,
          `${deviceInfoDir}/cni/default-vf-${sandbox.containerId}_net1`,
        );
        if (log !== undefined) {
          await waitUntil(() => log.test(node.daemonLog), { what: `${log}` });
        }
        assertDone(node, await node.cni("DEL", sandbox));
        deepEqual(await filesLeft(), []);
      });
    }
  },
);

nodeTest(
  "a pod with too few devices is told by an event, and attached all the same",
  async () => {
    await using node = await createDeviceNode();
    await using _networks = await layNetworks(node);
    await using _kubelet = await startFakeKubelet(node.dir, {
      pods: [{
        namespace: "default",
        name: "short",
        containers: { first: { [VF]: ["vf-1"] } },
      }],
    });
    await node.startDaemon();
    const sandbox = await createDevicePod(node, "short", { networks: "vf,vf" });
    await addPod(node, sandbox);
    deepEqual(await devicesGiven(node, sandbox), {
      net1: "vf-1",
      net2: undefined,
    });
    const warnings = (): string[] =>
      node.api.list("Event", "default").filter(({ reason }) =>
        reason === "DeviceMissing"
      ).map(({ note, message }) => String(note ?? message));
    await waitUntil(() => warnings().length > 0, { what: "a warning" });
    deepEqual(warnings(), [
      'The kubelet gave the pod too few devices of "example.com/vf": none is left for "default/vf" (net2)',
    ]);
    assertDone(node, await node.cni("DEL", sandbox));
  },
);
