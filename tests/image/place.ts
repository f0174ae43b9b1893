/**
 * A node as the manifests see it: a host's root with real plugins, the image's
 * root built with the Dockerfile's steps, an API server at the address that
 * the manifest's cluster has it at, and a kubelet in small (`kubelet.ts`) that
 * runs the manifests' containers on them. Needs a node of its own
 * (`tests/isolation.ts`).
 */
import assert from "node:assert/strict";
import { join } from "node:path";
import { parseAllDocuments } from "yaml";
import { bundleAll, type Bundles } from "../../deployments/build.ts";
import { IMAGE, type NodeKind } from "../../deployments/node_kinds.ts";
import { buildRootfs } from "../../deployments/rootfs.ts";
import { checksumAt } from "../../lib/cli/install_file.ts";
import { type ApiServer, startApiServer } from "../api_server/server.ts";
import { BUNDLES, ip, type Ran, runProgram } from "../node.ts";
import { findPluginDir } from "../prerequisites.ts";
import type { Container, PodOptions } from "./kubelet.ts";
import { HOST_PROGRAMS, IMAGE_PROGRAMS, layDebian } from "./programs.ts";

/** The reference plugins of the host; the others are missing. */
const HOST_PLUGINS = ["bridge", "host-local", "static"];

// deno-lint-ignore no-explicit-any -- documents of any shape, looked at by assertions
type Any = any;

/** The manifests' objects by kind. */
async function readManifest(name: string): Promise<Record<string, Any>> {
  const path = new URL(`../../deployments/${name}`, import.meta.url);
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

/** What no other test of the run may have: network namespaces are per run, not per node. */
export interface PlaceNames {
  /** In the range that the profile grants. */
  readonly apiAddress: string;
  /** Of the default network, and of a second one. */
  readonly bridges: readonly [string, string];
  /** Their first three bytes. */
  readonly subnets: readonly [string, string];
}

/** A node: a host's root, an image's root, and an API server. */
export class ImagePlace implements AsyncDisposable {
  readonly dir: string;
  readonly kind: NodeKind;
  readonly names: PlaceNames;
  readonly api: ApiServer;
  /** What is undone at the end, the last first. */
  readonly undo: AsyncDisposableStack;

  private constructor(
    parts: {
      dir: string;
      kind: NodeKind;
      names: PlaceNames;
      api: ApiServer;
      undo: AsyncDisposableStack;
    },
  ) {
    this.dir = parts.dir;
    this.kind = parts.kind;
    this.names = parts.names;
    this.api = parts.api;
    this.undo = parts.undo;
  }

  static async create(
    kind: NodeKind,
    names: PlaceNames,
  ): Promise<ImagePlace> {
    const undo = new AsyncDisposableStack();
    const dir = await Deno.realPath(
      await Deno.makeTempDir({ prefix: "multus-image-" }),
    );
    undo.defer(() => Deno.remove(dir, { recursive: true }));
    const hostname = names.apiAddress;
    await ip("addr", "add", `${hostname}/32`, "dev", "lo");
    undo.defer(async () =>
      void await ip("addr", "del", `${hostname}/32`, "dev", "lo")
    );
    const api = undo.use(
      await startApiServer({ hostname, hosts: [hostname] }),
    );
    const place = new ImagePlace({ dir, kind, names, api, undo });
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
        plugins: [bridge(this.names.bridges[0], this.names.subnets[0])],
      }),
    );
    await this.#mount("--make-shared", "/run/netns");
    await this.#mountOnHost("/run/netns", ["--rbind", "/run/netns"]);
    // One way: what is unmounted here at the end is in use by other tests.
    await this.#mount("--make-rslave", join(this.host, "/run/netns"));
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

  /** Another release's image: other bytes of shim and deno that do the same. */
  async release(name: string): Promise<string> {
    const image = join(this.dir, `image-${name}`);
    const { code, stderr } = await runProgram([
      "cp",
      "--archive",
      this.image,
      image,
    ]);
    assert.equal(code, 0, stderr);
    const shim = join(image, IMAGE.programDir, "multus-shim");
    await Deno.writeTextFile(shim, `// ${name}\n`, { append: true });
    await Deno.writeTextFile(join(image, IMAGE.deno), name, { append: true });
    return image;
  }

  /** The pod of a manifest's DaemonSet; its name is to be used once. */
  async pod(
    manifest: string,
    { image = this.image, name = manifest }: {
      image?: string;
      name?: string;
    } = {},
  ): Promise<PodOptions> {
    const { DaemonSet, ConfigMap } = await readManifest(manifest);
    return {
      spec: DaemonSet.spec.template.spec,
      image,
      host: this.host,
      configMaps: ConfigMap === undefined
        ? {}
        : { [ConfigMap.metadata.name]: ConfigMap.data },
      serviceAccount: { token: this.api.token, "ca.crt": this.api.caPem },
      env: {
        KUBERNETES_SERVICE_HOST: this.names.apiAddress,
        KUBERNETES_SERVICE_PORT: String(this.api.port),
      },
      nodeName: "node-a",
      workDir: join(this.dir, name),
    };
  }

  /** The configuration that the container runtime uses: the first in its directory. */
  async firstConf(): Promise<string> {
    const dir = join(this.host, this.kind.confDir);
    const entries = await Array.fromAsync(Deno.readDir(dir));
    const names = entries.filter(({ isFile, name }) =>
      isFile && /\.(conf|conflist|json)$/.test(name)
    ).map(({ name }) => name);
    const [first = ""] = names.sort();
    return await Deno.readTextFile(join(dir, first));
  }

  /** Runs the shim on the host as its container runtime does, with the first configuration. */
  async cni(command: string, pod: string, uid: string): Promise<Ran> {
    const { binDir } = this.kind;
    return await runProgram(["chroot", this.host, `${binDir}/multus-shim`], {
      stdin: await this.firstConf(),
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

  /** Everything of the host that an uninstall must bring back. */
  async snapshot(): Promise<Record<string, string>> {
    const found: Record<string, string> = {};
    const walk = async (path: string): Promise<void> => {
      for await (const entry of Deno.readDir(join(this.host, path))) {
        const name = `${path}/${entry.name}`;
        if (["/proc", "/dev", "/run/netns"].includes(name)) continue;
        if (entry.isDirectory) await walk(name);
        found[name] = await describe(join(this.host, name));
      }
    };
    await walk("");
    return found;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.undo[Symbol.asyncDispose]();
  }
}

/** Kind, mode and content, as far as an uninstall has to bring them back. */
async function describe(path: string): Promise<string> {
  const info = await Deno.lstat(path);
  if (info.isSymlink) return `link ${await Deno.readLink(path)}`;
  const mode = ((info.mode ?? 0) & 0o7777).toString(8);
  if (info.isDirectory) return `directory ${mode}`;
  return `file ${mode} ${await checksumAt(path)}`;
}

/** A plugin's configuration: a bridge with addresses of a subnet. */
export function bridge(name: string, subnet: string): Record<string, unknown> {
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
export const LEFT_ON_HOST = [
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

/** A daemon that runs in its container. */
export interface RunningDaemon {
  readonly child: Deno.ChildProcess;
  /** What it has said so far. */
  log(): string;
}

export function startDaemon(
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
