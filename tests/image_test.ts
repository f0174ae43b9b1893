/**
 * The image and the manifests, as far as they can be tried without an engine
 * and a cluster: the image's root file system is built with the Dockerfile's
 * steps, and a kubelet in small runs the manifest's containers in it, on a
 * host root of their own, with real plugins and a real API client.
 */
import assert from "node:assert/strict";
import { join } from "node:path";
import { parseAllDocuments } from "yaml";
import { bundleAll, type Bundles } from "../deployments/build.ts";
import { NODE_KINDS, type NodeKind } from "../deployments/node_kinds.ts";
import { buildRootfs } from "../deployments/rootfs.ts";
import { checksumAt } from "../lib/cli/install_file.ts";
import { attachmentManifest, podManifest } from "./api_server/fixture.ts";
import { type ApiServer, startApiServer } from "./api_server/server.ts";
import { waitUntil } from "./api_server/wait.ts";
import { Container, type PodOptions } from "./image/kubelet.ts";
import { HOST_PROGRAMS, IMAGE_PROGRAMS, layDebian } from "./image/programs.ts";
import { BUNDLES, ip, type Ran, runProgram } from "./node.ts";
import { nodeTest, step } from "./on_node.ts";
import { findPluginDir } from "./prerequisites.ts";

/** The first address of the services of each kind of cluster, where the API server is. */
const API_ADDRESSES: Readonly<Record<string, string>> = {
  daemonset: "10.96.0.1",
  k3s: "10.43.0.1",
};

/** The reference plugins of the host; the others are missing. */
const HOST_PLUGINS = ["bridge", "host-local", "static"];

const STATUS = "k8s.v1.cni.cncf.io/network-status";

// deno-lint-ignore no-explicit-any -- documents of any shape, looked at by assertions
type Any = any;

/** The manifests' objects by kind. */
async function readManifest(name: string): Promise<Record<string, Any>> {
  const path = new URL(`../deployments/${name}`, import.meta.url);
  const documents = parseAllDocuments(await Deno.readTextFile(path));
  return Object.fromEntries(
    documents.map((document) => document.toJS()).map((
      object,
    ) => [object.kind, object]),
  );
}

async function readBundles(workDir: string): Promise<Bundles> {
  const dir = Deno.env.get(BUNDLES) ?? "";
  if (dir === "") return await bundleAll(workDir, () => {});
  return {
    "multus-shim": join(dir, "multus-shim.js"),
    "multus-daemon": join(dir, "multus-daemon.js"),
    "multusctl": join(dir, "multusctl.js"),
  };
}

/** A node: a host's root, an image's root, and an API server. */
class ImagePlace implements AsyncDisposable {
  readonly dir: string;
  readonly kind: NodeKind;
  readonly api: ApiServer;
  /** What is undone at the end, the last first. */
  readonly undo: AsyncDisposableStack;

  private constructor(
    parts: {
      dir: string;
      kind: NodeKind;
      api: ApiServer;
      undo: AsyncDisposableStack;
    },
  ) {
    this.dir = parts.dir;
    this.kind = parts.kind;
    this.api = parts.api;
    this.undo = parts.undo;
  }

  static async create(kind: NodeKind): Promise<ImagePlace> {
    const undo = new AsyncDisposableStack();
    const dir = await Deno.realPath(
      await Deno.makeTempDir({ prefix: "multus-image-" }),
    );
    undo.defer(() => Deno.remove(dir, { recursive: true }));
    const hostname = API_ADDRESSES[kind.profile] ?? "";
    await ip("addr", "add", `${hostname}/32`, "dev", "lo");
    undo.defer(async () =>
      void await ip("addr", "del", `${hostname}/32`, "dev", "lo")
    );
    const api = undo.use(
      await startApiServer({ hostname, hosts: [hostname] }),
    );
    const place = new ImagePlace({ dir, kind, api, undo });
    await place.#makeHost();
    await place.#makeImage();
    return place;
  }

  get host(): string {
    return join(this.dir, "host");
  }

  get image(): string {
    return join(this.dir, "image");
  }

  async #makeHost(): Promise<void> {
    const { confDir, binDir } = this.kind;
    const pluginDir = await findPluginDir() ?? "";
    const plugins = HOST_PLUGINS.map((name) => join(pluginDir, name));
    await layDebian(this.host, HOST_PROGRAMS, [...plugins, Deno.execPath()]);
    const dirs = [confDir, binDir, "/var/lib/cni", "/etc/cni", "/run/netns"];
    for (const dir of dirs) {
      await Deno.mkdir(join(this.host, dir), { recursive: true });
    }
    for (const name of HOST_PLUGINS) {
      await Deno.copyFile(
        join(pluginDir, name),
        join(this.host, binDir, name),
      );
    }
    await Deno.writeTextFile(
      join(this.host, confDir, "10-primary.conflist"),
      JSON.stringify({
        cniVersion: "1.0.0",
        name: "primary",
        plugins: [bridge("mimg0", "10.244.9")],
      }),
    );
    await this.#mount("--make-shared", "/run/netns");
    await this.#mountOnHost("/run/netns", ["--rbind", "/run/netns"]);
    await this.#mountOnHost("/proc", ["-t", "proc", "proc"]);
    await this.#mountOnHost("/dev", ["--rbind", "/dev"]);
    // Mounts of the host's root reach containers only if it is one itself.
    await this.#mount("--rbind", this.host, this.host);
    await this.#mount("--make-rshared", this.host);
    this.undo.defer(async () => {
      await runProgram(["umount", "--recursive", "--lazy", this.host]);
    });
  }

  async #mount(...args: string[]): Promise<void> {
    const { code, stderr } = await runProgram(["mount", ...args]);
    assert.equal(code, 0, stderr);
  }

  async #mountOnHost(path: string, args: readonly string[]): Promise<void> {
    const target = join(this.host, path);
    await this.#mount(...args, target);
    this.undo.defer(async () => {
      await runProgram(["umount", "--recursive", "--lazy", target]);
    });
  }

  async #makeImage(): Promise<void> {
    await Deno.mkdir(this.image);
    await layDebian(this.image, IMAGE_PROGRAMS, [Deno.execPath()]);
    const bundles = join(this.dir, "bundles");
    await Deno.mkdir(bundles);
    await buildRootfs({
      kind: this.kind,
      target: this.image,
      form: "launcher",
      deno: Deno.execPath(),
      pluginDir: await findPluginDir() ?? "",
      bundles: await readBundles(bundles),
      say: () => {},
    });
  }

  /** The pod of a manifest's DaemonSet. */
  async pod(manifest: string): Promise<PodOptions> {
    const { DaemonSet, ConfigMap } = await readManifest(manifest);
    return {
      spec: DaemonSet.spec.template.spec,
      image: this.image,
      host: this.host,
      configMaps: ConfigMap === undefined
        ? {}
        : { [ConfigMap.metadata.name]: ConfigMap.data },
      serviceAccount: { token: this.api.token, "ca.crt": this.api.caPem },
      env: {
        KUBERNETES_SERVICE_HOST: API_ADDRESSES[this.kind.profile] ?? "",
        KUBERNETES_SERVICE_PORT: String(this.api.port),
      },
      nodeName: "node-a",
      workDir: join(this.dir, manifest),
    };
  }

  /** Runs the shim on the host as its container runtime does, with the first configuration. */
  async cni(command: string, pod: string, uid: string): Promise<Ran> {
    const { confDir, binDir } = this.kind;
    const dir = join(this.host, confDir);
    const entries = await Array.fromAsync(Deno.readDir(dir));
    const [first = ""] = entries.map(({ name }) => name).sort();
    return await runProgram(["chroot", this.host, `${binDir}/multus-shim`], {
      stdin: await Deno.readTextFile(join(dir, first)),
      env: {
        PATH: "/usr/sbin:/usr/bin",
        CNI_COMMAND: command,
        CNI_CONTAINERID: uid,
        CNI_NETNS: `/var/run/netns/${pod}`,
        CNI_IFNAME: "eth0",
        CNI_PATH: binDir,
        CNI_ARGS:
          `K8S_POD_NAMESPACE=default;K8S_POD_NAME=${pod};K8S_POD_INFRA_CONTAINER_ID=${uid};K8S_POD_UID=${uid}`,
      },
      clearEnv: true,
    });
  }

  /** Everything of the host that an uninstall must bring back: kind and content. */
  async snapshot(): Promise<Record<string, string>> {
    const found: Record<string, string> = {};
    const walk = async (path: string): Promise<void> => {
      for await (const entry of Deno.readDir(join(this.host, path))) {
        const name = `${path}/${entry.name}`;
        if (["/proc", "/dev", "/run/netns"].includes(name)) continue;
        if (entry.isDirectory) await walk(name);
        found[name] = entry.isSymlink
          ? `link ${await Deno.readLink(join(this.host, name))}`
          : entry.isDirectory
          ? "dir"
          : `file ${await checksumAt(join(this.host, name))}`;
      }
    };
    await walk("");
    return found;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.undo[Symbol.asyncDispose]();
  }
}

function bridge(name: string, subnet: string): Record<string, unknown> {
  return {
    type: "bridge",
    bridge: name,
    isGateway: true,
    ipam: {
      type: "host-local",
      ranges: [[{ subnet: `${subnet}.0/24` }]],
      routes: [{ dst: "0.0.0.0/0" }],
    },
  };
}

/** Reads a daemon's stderr until it ends. */
async function collect(
  stream: ReadableStream<Uint8Array>,
  lines: string[],
): Promise<void> {
  const decoder = new TextDecoder();
  for await (const chunk of stream) {
    lines.push(decoder.decode(chunk, { stream: true }));
  }
}

/**
 * What may be on the host after an uninstall that was not there before:
 * directories that the kubelet or a network plugin made, the one of the
 * container runtime's cache, and what plugins keep of addresses that are in
 * use no more.
 */
const LEFT_ON_HOST = [
  "/etc/cni/multus",
  "/etc/cni/multus/net.d",
  "/run/k8s.cni.cncf.io",
  "/run/k8s.cni.cncf.io/devinfo",
  "/var/lib/cni/networks",
  "/var/lib/cni/networks/primary",
  "/var/lib/cni/networks/primary/last_reserved_ip.0",
  "/var/lib/cni/networks/primary/lock",
  "/var/lib/cni/networks/second",
  "/var/lib/cni/networks/second/last_reserved_ip.0",
  "/var/lib/cni/networks/second/lock",
  "/var/lib/cni/results",
  "/var/lib/kubelet",
  "/var/lib/kubelet/device-plugins",
  "/var/lib/kubelet/pod-resources",
];

/** One node, from before the installation until after the uninstall. */
interface Story {
  readonly t: Deno.TestContext;
  readonly place: ImagePlace;
  readonly pod: PodOptions;
  /** Of the pod that gets networks. */
  readonly uid: string;
}

/** The names of the pod and of its network namespace are the same. */
const POD = "pod-a";

async function addNetns(undo: AsyncDisposableStack): Promise<void> {
  await ip("netns", "add", POD);
  undo.defer(async () => {
    await runProgram(["ip", "netns", "del", POD]);
  });
  for (const name of ["mimg0", "mimg1"]) {
    undo.defer(async () => {
      await runProgram(["ip", "link", "del", name]);
    });
  }
}

function tellApiServer(api: ApiServer, uid: string): void {
  const network = { cniVersion: "1.0.0", ...bridge("mimg1", "10.245.9") };
  api.put(attachmentManifest("second", {
    namespace: "default",
    config: JSON.stringify(network),
  }));
  api.put(podManifest(POD, {
    namespace: "default",
    uid,
    nodeName: "node-a",
    annotations: { "k8s.v1.cni.cncf.io/networks": "second" },
  }));
}

async function tellInstall({ t, place, pod }: Story): Promise<void> {
  const { plugins, binDir } = place.kind;
  await step(
    t,
    "the init container installs, without any capability",
    async () => {
      await using install = await Container.create(
        "install-multus-binary",
        pod,
      );
      const { code, stdout, stderr } = await install.run();
      assert.equal(code, 0, stdout + stderr);
      for (const name of ["multus-shim", "passthru", ...plugins]) {
        const path = join(place.host, binDir, name);
        assert.ok((await Deno.lstat(path)).isFile, name);
      }
      assert.match(stdout, /^multus-shim: installed$/m);
      if (plugins.includes("host-local")) {
        assert.match(stdout, /^host-local: left as it is/m);
      }
    },
  );
}

async function tellBeforeStart(
  { t }: Story,
  daemon: Container,
): Promise<void> {
  await step(t, "the root of the container cannot be written", async () => {
    for (const dir of ["/", "/usr/src/multus-cni/bin", "/etc", "/tmp"]) {
      const write = `: > ${dir}/x`;
      const { code, stderr } = await daemon.exec(["/bin/sh", "-c", write]);
      assert.notEqual(code, 0);
      assert.match(stderr, /Read-only file system/);
    }
  });
  await step(t, "the probes fail while there is no daemon", async () => {
    for (const name of ["readinessProbe", "livenessProbe"] as const) {
      const { code, stdout } = await daemon.probe(name);
      assert.equal(code, 1);
      assert.match(stdout, /The daemon does not answer/);
    }
  });
}

/** A daemon that runs in its container. */
interface RunningDaemon {
  readonly child: Deno.ChildProcess;
  /** What it has said so far. */
  log(): string;
}

function startDaemon(
  container: Container,
  undo: AsyncDisposableStack,
): RunningDaemon {
  const child = container.start();
  const lines: string[] = [];
  const reading = collect(child.stderr, lines);
  undo.defer(async () => {
    try {
      child.kill("SIGKILL");
    } catch (error) {
      if (!(error instanceof TypeError)) throw error;
      // It has ended by itself.
    }
    await reading;
    await child.status;
  });
  return { child, log: () => lines.join("") };
}

async function tellDaemon(
  { t, place, uid }: Story,
  container: Container,
): Promise<void> {
  const { child, log } = startDaemon(container, place.undo);
  const confPath = join(place.host, place.kind.confDir, "00-multus.conf");
  await step(t, "the daemon becomes ready, as the probes see it", async () => {
    const isReady = async (): Promise<boolean> =>
      (await container.probe("readinessProbe")).code === 0;
    await waitUntil(isReady, { what: "the readiness probe" })
      .catch((error) => assert.fail(`${error}\n${log()}`));
    assert.equal((await container.probe("livenessProbe")).code, 0);
  });
  await step(t, "00-multus.conf is on the host", async () => {
    const conf = JSON.parse(await Deno.readTextFile(confPath));
    assert.equal(conf.type, "multus-shim");
    assert.equal(conf.daemonSocketDir, "/run/multus");
  });
  await step(t, "a pod gets its networks on real interfaces", async () => {
    const { code, stdout } = await place.cni("ADD", POD, uid);
    assert.equal(code, 0, stdout + log());
    const links = await ip("-n", POD, "-br", "addr");
    assert.match(links, /^eth0.* 10\.244\.9\.\d+\/24/m);
    assert.match(links, /^net1.* 10\.245\.9\.\d+\/24/m);
    await waitUntil(() => {
      const { annotations } = place.api.get("Pod", POD, "default").metadata;
      return JSON.parse(annotations?.[STATUS] ?? "[]").length === 2;
    }, { what: "the network status" });
  });
  await step(
    t,
    "the daemon ends when it is asked to, and leaves the configuration",
    async () => {
      child.kill("SIGTERM");
      assert.equal((await child.status).code, 0, log());
      assert.ok((await Deno.lstat(confPath)).isFile);
    },
  );
}

async function tellUninstall({ t, place, uid }: Story): Promise<void> {
  const pod = await place.pod(`multus-uninstall${place.kind.suffix}.yml`);
  await using uninstaller = await Container.create("uninstall", pod);
  await step(
    t,
    "uninstall leaves a pod that runs its networks, and is tried again",
    async () => {
      const { code, stdout, stderr } = await uninstaller.run();
      assert.equal(code, 1, stdout + stderr);
      assert.match(stdout, /^00-multus\.conf: removed$/m);
      assert.match(stdout, /^Pod default\/pod-a: runs with net1/m);
      assert.match(await ip("-n", POD, "-br", "addr"), /^net1.* 10\./m);
      const handedOver = join(
        place.host,
        `/var/lib/cni/results/primary-${uid}-eth0`,
      );
      assert.ok((await Deno.lstat(handedOver)).isFile);
      // As the container runtime does with its DEL.
      await Deno.remove(handedOver);
    },
  );
  await step(t, "uninstall undoes what a pod that is gone had", async () => {
    await ip("netns", "del", POD);
    const { code, stdout, stderr } = await uninstaller.run();
    assert.equal(code, 0, stdout + stderr);
    assert.match(stdout, /^Pod default\/pod-a: undone: /m);
  });
}

for (const kind of NODE_KINDS) {
  nodeTest(
    `the manifest for ${kind.title} installs, gives pods their networks, and goes without a trace`,
    async (t) => {
      await using place = await ImagePlace.create(kind);
      const untouched = await place.snapshot();
      const uid = crypto.randomUUID();
      const pod = await place.pod(`multus-daemonset-thick${kind.suffix}.yml`);
      const story = { t, place, pod, uid };
      await addNetns(place.undo);
      tellApiServer(place.api, uid);
      await tellInstall(story);
      const daemon = place.undo.use(
        await Container.create("kube-multus", pod),
      );
      await tellBeforeStart(story, daemon);
      await tellDaemon(story, daemon);
      await tellUninstall(story);
      await step(
        t,
        "the host is as it was before, but for the table",
        async () => {
          const left = await place.snapshot();
          for (const name of LEFT_ON_HOST) delete left[name];
          assert.deepEqual(left, untouched);
        },
      );
    },
  );
}
