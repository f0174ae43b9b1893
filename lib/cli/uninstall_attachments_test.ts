import assert from "node:assert/strict";
import { dirname, join } from "node:path";
import { createHostRoot, type HostRoot } from "../../tests/host_root.ts";
import {
  installNoopPlugin,
  type NoopCall,
  readCalls,
} from "../../tests/noop_plugin.ts";
import { createResultCache } from "../cni/result_cache.ts";
import { createRecords, type NewAttachment } from "../daemon/records.ts";
import {
  type LeftAttachments,
  settleAttachments,
} from "./uninstall_attachments.ts";

function conf(name: string, type: string): string {
  return JSON.stringify({ cniVersion: "1.0.0", name, plugins: [{ type }] });
}

/** The default network and one more, as a pod with one selection has them. */
const ATTACHMENTS: readonly NewAttachment[] = [
  {
    config: conf("cbr0", "primary"),
    name: "cbr0",
    ifname: "eth0",
    isDefault: true,
    cniArgs: [["K8S_POD_NAME", "a"]],
  },
  {
    config: conf("net-a", "secondary"),
    name: "default/net-a",
    ifname: "net1",
    isDefault: false,
    cniArgs: [["K8S_POD_NAME", "a"]],
  },
];

const RESULT = JSON.stringify({
  cniVersion: "1.0.0",
  ips: [{ address: "10.0.0.2/24" }],
});

/** A host with two plugins, and the state of a daemon that is gone. */
class Place implements AsyncDisposable {
  readonly host: HostRoot;
  readonly bin: string;
  readonly state: string;
  readonly said: string[] = [];

  private constructor(host: HostRoot) {
    this.host = host;
    this.bin = `${host.path}/opt/cni/bin`;
    this.state = `${host.path}/var/lib/cni/multus`;
  }

  static async create(
    scripts: Readonly<Record<string, string>> = {},
  ): Promise<Place> {
    const place = new Place(await createHostRoot());
    await Deno.mkdir(join(place.bin, "calls"), { recursive: true });
    await Deno.mkdir(place.state, { recursive: true });
    await Deno.mkdir(`${place.host.path}/run/netns`, { recursive: true });
    await installNoopPlugin(place.bin, "primary", {});
    await installNoopPlugin(place.bin, "secondary", scripts);
    return place;
  }

  /** A pod that Multus attached; its namespace is there while it runs. */
  async pod(
    containerId: string,
    options: { runs: boolean; attachments?: readonly NewAttachment[] },
  ): Promise<void> {
    const { runs, attachments = ATTACHMENTS } = options;
    const netns = `/var/run/netns/${containerId}`;
    if (runs) {
      await this.host.write(`/run/netns/${containerId}`, "", 0o644);
    }
    const records = createRecords({ dir: this.state, bootId: "boot" });
    using handle = await records.begin({
      containerId,
      netns,
      pod: { namespace: "default", name: containerId, uid: containerId },
      attachments,
    });
    for (const [index, { config, ifname }] of attachments.entries()) {
      await handle.update(index, { state: "done" });
      await createResultCache(this.state).write({
        networkName: JSON.parse(config).name,
        containerId,
        ifname,
        netns,
        cniArgs: [["K8S_POD_NAME", "a"]],
        capabilityArgs: {},
        config,
        result: RESULT,
      });
    }
  }

  async settle(options: { detach?: boolean } = {}): Promise<LeftAttachments> {
    return await settleAttachments(
      {
        hostRoot: this.host.path,
        stateDir: this.state,
        runtimeCacheDir: dirname(this.state),
        pluginDirs: ["/opt/cni/bin"],
        libexecDir: dirname(this.host.delegateExec),
        deviceInfoDir: `${this.host.path}/devinfo`,
      },
      { detach: options.detach ?? false },
      (line) => this.said.push(line),
    );
  }

  /** What the plugins were called with, as `<type> <command> <ifname>`. */
  async calls(): Promise<string[]> {
    const calls = await readCalls(this.bin);
    return calls.map(({ type, command, env }: NoopCall) =>
      `${type} ${command} ${env.CNI_IFNAME}`
    );
  }

  /** What is left in the daemon's state: records and results. */
  async left(): Promise<string[]> {
    const names: string[] = [];
    for await (const { name, isFile } of Deno.readDir(this.state)) {
      if (isFile) names.push(name);
    }
    const { attachments } = await createResultCache(this.state).list();
    return [
      ...names,
      ...attachments.map(({ containerId, ifname }) =>
        `${containerId}/${ifname}`
      ),
    ].sort();
  }

  /** What the container runtime knows. */
  async handedOver(): Promise<string[]> {
    const { attachments } = await createResultCache(dirname(this.state)).list();
    return attachments.map(({ networkName, containerId, ifname, result }) => {
      assert.deepEqual(JSON.parse(result ?? ""), JSON.parse(RESULT));
      return `${networkName}/${containerId}/${ifname}`;
    }).sort();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.host[Symbol.asyncDispose]();
  }
}

Deno.test("settleAttachments() undoes all of a pod that is gone", async () => {
  await using place = await Place.create();
  await place.pod("gone", { runs: false });
  assert.deepEqual(await place.settle(), { running: 0, failed: 0 });
  assert.deepEqual(await place.calls(), [
    "secondary DEL net1",
    "primary DEL eth0",
  ]);
  const [call] = await readCalls(place.bin);
  assert.deepEqual(
    JSON.parse(call?.stdin ?? "").prevResult,
    JSON.parse(RESULT),
  );
  assert.equal(call?.env.CNI_ARGS, "K8S_POD_NAME=a");
  assert.deepEqual(await place.left(), []);
  assert.deepEqual(place.said, [
    "Pod default/gone: undone: cbr0, default/net-a",
  ]);
});

Deno.test("settleAttachments() leaves a pod that runs its networks, and the runtime what it needs to DEL it", async () => {
  await using place = await Place.create();
  await place.pod("runs", { runs: true });
  assert.deepEqual(await place.settle(), { running: 1, failed: 0 });
  assert.deepEqual(await place.calls(), []);
  assert.deepEqual(await place.handedOver(), ["cbr0/runs/eth0"]);
  assert.deepEqual(await place.left(), ["runs", "runs/net1"]);
  assert.match(place.said.at(-1) ?? "", /net1 \(default\/net-a\): left until/);
  await Deno.remove(`${place.host.path}/run/netns/runs`);
  assert.deepEqual(await place.settle(), { running: 0, failed: 0 });
  assert.deepEqual(await place.left(), []);
});

Deno.test("settleAttachments() with detach takes further networks away from a pod that runs", async () => {
  await using place = await Place.create();
  await place.pod("runs", { runs: true });
  assert.deepEqual(await place.settle({ detach: true }), {
    running: 0,
    failed: 0,
  });
  assert.deepEqual(await place.calls(), ["secondary DEL net1"]);
  assert.deepEqual(await place.handedOver(), ["cbr0/runs/eth0"]);
  assert.deepEqual(await place.left(), []);
});

Deno.test("settleAttachments() forgets a pod that has the default network only", async () => {
  await using place = await Place.create();
  await place.pod("plain", {
    runs: true,
    attachments: ATTACHMENTS.slice(0, 1),
  });
  assert.deepEqual(await place.settle(), { running: 0, failed: 0 });
  assert.deepEqual(await place.calls(), []);
  assert.deepEqual(await place.handedOver(), ["cbr0/plain/eth0"]);
  assert.deepEqual(await place.left(), []);
});

Deno.test("settleAttachments() keeps what a plugin does not undo, and goes on with the rest", async () => {
  await using place = await Place.create({
    DEL: 'if once a; then fail 11 "Busy"; fi',
  });
  await place.pod("first", { runs: false });
  await place.pod("second", { runs: false });
  assert.deepEqual(await place.settle(), { running: 0, failed: 1 });
  assert.match(
    place.said.join("\n"),
    /^Pod default\/first: Cannot detach "default\/net-a" from net1: .*Busy.*: left$/m,
  );
  assert.match(place.said.join("\n"), /^Pod default\/second: undone: /m);
  assert.deepEqual(await place.settle(), { running: 0, failed: 0 });
  assert.deepEqual(await place.left(), []);
});

Deno.test("settleAttachments() undoes what the Go daemon recorded", async () => {
  await using place = await Place.create();
  const bytes = (text: string): string =>
    new TextEncoder().encode(text).toBase64();
  const text = JSON.stringify([
    { Conf: {}, Name: "cbr0", Bytes: bytes(conf("cbr0", "primary")) },
    {
      Conf: {},
      Name: "default/net-a",
      ifnameRequest: "net1",
      Bytes: bytes(conf("net-a", "secondary")),
    },
  ]);
  await place.pod("go", { runs: false });
  await Deno.writeTextFile(join(place.state, "go"), text);
  assert.deepEqual(await place.settle(), { running: 0, failed: 0 });
  const calls = await readCalls(place.bin);
  assert.deepEqual(
    calls.map(({ type, env }) => [type, env.CNI_IFNAME, env.CNI_ARGS]),
    [
      ["secondary", "net1", "K8S_POD_NAME=a"],
      ["primary", "eth0", "K8S_POD_NAME=a"],
    ],
  );
  assert.deepEqual(await place.left(), []);
});

Deno.test("settleAttachments() leaves a record that it cannot read, and says so", async () => {
  await using place = await Place.create();
  await Deno.writeTextFile(join(place.state, "damaged"), "[{");
  assert.deepEqual(await place.settle(), { running: 0, failed: 1 });
  assert.match(place.said.join("\n"), /record is damaged.*damaged: left$/);
  assert.deepEqual(await place.left(), ["damaged"]);
});

Deno.test("settleAttachments() has nothing to do where there is no state", async () => {
  await using place = await Place.create();
  await Deno.remove(place.state, { recursive: true });
  assert.deepEqual(await place.settle(), { running: 0, failed: 0 });
  assert.deepEqual(place.said, []);
});
