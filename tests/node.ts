/**
 * A node to test on: directories as on a node, an API server stand-in, the
 * launchers of one profile with exactly its grants, a daemon that runs from
 * them, and a container runtime in small that makes network namespaces and
 * executes the shim. Everything it makes lies in one temporary directory and
 * in the namespaces of `tests/isolation.ts`.
 */
import { join } from "node:path";
import {
  bundleAll,
  type Bundles,
  writeLaunchers,
} from "../deployments/build.ts";
import { parseProfile } from "../lib/cli/profile.ts";
import type { Executable, Profile } from "../lib/grants.ts";
import { ask } from "../lib/wire/ask.ts";
import { socketPathIn } from "../lib/wire/places.ts";
import {
  type ApiServer,
  type ApiServerOptions,
  startApiServer,
} from "./api_server/server.ts";
import { auditDir, auditEnv, collect } from "./audit.ts";
import { INSIDE } from "./isolation.ts";
import { findPluginDir } from "./prerequisites.ts";

/** Where `tests/run.ts` has put the bundles, so that not every test makes them. */
export const BUNDLES = "MULTUS_TEST_BUNDLES";

/** How long a daemon may take until it is ready; a busy machine with two cores needs a second or two. */
const READY_WAIT_MS = 30_000;

/** A daemon that serves answers at once. */
const ASK_WAIT_MS = 1_000;

/** How a node is to be. "$NODE" in profile and configuration stands for the node's directory. */
export interface NodeOptions {
  /** Members of the daemon's configuration, over those of the test node. */
  readonly daemonConf?: Readonly<Record<string, unknown>>;
  /** Members of the profile, over those of the test node. */
  readonly profile?: Readonly<Record<string, unknown>>;
  /** File names of plugins of our own that will stand in `binDir`. */
  readonly plugins?: readonly string[];
  /** Whether what its programs ask for is held against their grants; not where a test has them ask for more. */
  readonly isAudited?: boolean;
  /** Manifests that the API server begins with. */
  readonly objects?: readonly unknown[];
  /** How else the API server is to be. */
  readonly api?: Pick<
    ApiServerOptions,
    "allows" | "signsRequests" | "takesTokenless"
  >;
}

/** What a CNI call came to. */
export interface ShimOutcome {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
  readonly durationMs: number;
  /** The JSON on stdout; `undefined` when there is none. */
  // deno-lint-ignore no-explicit-any -- a document of any shape, looked at by assertions
  readonly json: any;
}

/** A pod's sandbox, as the runtime knows it. */
export interface Sandbox {
  readonly containerId: string;
  readonly netns: string;
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
}

/** A program that was run to its end. */
export interface Ran {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** What a run of multusctl came to. */
export interface CtlOutcome extends Ran {
  /** The JSON on stdout; `undefined` when there is none. */
  // deno-lint-ignore no-explicit-any -- a document of any shape, looked at by assertions
  readonly json: any;
}

/** Whether this process runs on a node of its own. */
export function isOnTestNode(): boolean {
  return Deno.env.get(INSIDE) !== undefined;
}

/** Runs a program of the machine to its end. */
export async function runProgram(
  command: readonly [string, ...string[]],
  options: {
    stdin?: string;
    env?: Record<string, string>;
    clearEnv?: boolean;
  } = {},
): Promise<Ran> {
  const [program, ...args] = command;
  const child = new Deno.Command(program, {
    args,
    env: options.env ?? {},
    clearEnv: options.clearEnv ?? false,
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const writer = child.stdin.getWriter();
  const written = writer.write(new TextEncoder().encode(options.stdin ?? ""))
    .then(() => writer.close()).catch(() => {
      // A program that ends without reading its input is judged by how it ended.
    });
  const { code, stdout, stderr } = await child.output();
  await written;
  const decoder = new TextDecoder();
  return {
    code,
    stdout: decoder.decode(stdout),
    stderr: decoder.decode(stderr),
  };
}

/** Runs `ip`; its output. */
export async function ip(...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await runProgram(["ip", ...args]);
  if (code !== 0) {
    throw new Deno.errors.InvalidData(`ip ${args.join(" ")}: ${stderr.trim()}`);
  }
  return stdout;
}

let bundlesOfThisProcess: Promise<Bundles> | undefined;

async function readBundles(): Promise<Bundles> {
  const dir = Deno.env.get(BUNDLES) ?? "";
  if (dir === "") {
    return await bundleAll(
      await Deno.makeTempDir({ prefix: "multus-bundles-" }),
      () => {},
    );
  }
  return {
    "multus-shim": join(dir, "multus-shim.js"),
    "multus-daemon": join(dir, "multus-daemon.js"),
    "multusctl": join(dir, "multusctl.js"),
  };
}

async function makeDirs(profile: Profile, binDir: string): Promise<void> {
  const dirs = [
    profile.cniConfDir,
    profile.multusConfDir,
    profile.cniStateDir,
    profile.deviceInfoDir,
    binDir,
  ];
  for (const dir of dirs) await Deno.mkdir(dir, { recursive: true });
}

/** The program `ip`, where distributions put it. */
async function findIp(): Promise<string> {
  for (const path of ["/usr/sbin/ip", "/sbin/ip"]) {
    const found = await Deno.stat(path).catch(() => undefined);
    if (found?.isFile) return path;
  }
  return "/usr/bin/ip";
}

/** JSON with the node's directory put in. */
function textIn(dir: string, value: unknown): string {
  return JSON.stringify(value, null, 2).replaceAll("$NODE", dir);
}

/** The profile of a node that lies below `dir`. */
async function profileIn(
  dir: string,
  api: ApiServer,
  options: NodeOptions,
): Promise<Profile> {
  const pluginDir = await findPluginDir() ?? "/usr/lib/cni";
  const found: string[] = [];
  for await (const entry of Deno.readDir(pluginDir)) found.push(entry.name);
  const base = {
    socketDir: join(dir, "run"),
    hostSocketDir: join(dir, "run"),
    cniConfDir: join(dir, "net.d"),
    multusConfDir: join(dir, "multus.net.d"),
    cniBinDirs: [join(dir, "bin"), pluginDir],
    cniStateDir: join(dir, "state"),
    daemonConfig: join(dir, "daemon-config.json"),
    libexecDir: join(dir, "programs", "libexec"),
    plugins: [...found, ...options.plugins ?? []].sort(),
    serviceAccountDir: join(dir, "serviceaccount"),
    kubeconfigFiles: [join(dir, "kubeconfig"), join(dir, "token")],
    apiServers: [`127.0.0.1:${api.port}`],
    podResourcesSocket: join(dir, "kubelet.sock"),
    deviceCheckpoint: join(dir, "kubelet_internal_checkpoint"),
    deviceInfoDir: join(dir, "devinfo"),
    ipamDataDir: join(dir, "ipam"),
    ipProgram: await findIp(),
    manifestDirs: [join(dir, "manifests")],
    deno: Deno.execPath(),
    hostDeno: Deno.execPath(),
    programDir: join(dir, "programs"),
  };
  return parseProfile(textIn(dir, options.profile ?? {}), base);
}

/** A node with an API server and programs, and at most one daemon. */
export class TestNode implements AsyncDisposable {
  readonly nodeName = "node-a";
  readonly dir: string;
  readonly api: ApiServer;
  readonly profile: Profile;
  /** Where tests put plugins of their own. */
  readonly binDir: string;
  /** The configuration that the runtime hands to the shim. */
  runtimeConf: Record<string, unknown>;
  #daemon: Deno.ChildProcess | undefined;
  readonly #isAudited: boolean;
  #daemonLog = "";
  #sandboxes: Sandbox[] = [];
  #reading: Promise<void> = Promise.resolve();

  private constructor(
    parts: {
      dir: string;
      api: ApiServer;
      profile: Profile;
      isAudited: boolean;
    },
  ) {
    this.#isAudited = parts.isAudited;
    this.dir = parts.dir;
    this.api = parts.api;
    this.profile = parts.profile;
    this.binDir = join(parts.dir, "bin");
    this.runtimeConf = {
      cniVersion: "1.0.0",
      name: "multus-cni-network",
      type: "multus-shim",
      clusterNetwork: join(parts.profile.cniConfDir, "10-bridge.conflist"),
      daemonSocketDir: parts.profile.hostSocketDir,
      cniDir: parts.profile.cniStateDir,
    };
  }

  /** Makes the node; the daemon is started with {@link startDaemon}. */
  static async create(options: NodeOptions = {}): Promise<TestNode> {
    const dir = await Deno.makeTempDir({ prefix: "multus-node-" });
    const api = await startApiServer({
      ...options.api,
      objects: options.objects ?? [],
    });
    const profile = await profileIn(dir, api, options);
    const { isAudited = true } = options;
    const node = new TestNode({ dir, api, profile, isAudited });
    await makeDirs(profile, node.binDir);
    await Deno.mkdir(join(dir, "audit"));
    await Deno.writeTextFile(join(dir, "token"), api.token);
    await Deno.writeTextFile(
      join(dir, "kubeconfig"),
      api.kubeconfig({ tokenFile: join(dir, "token") }),
    );
    await node.writeDaemonConf(options.daemonConf ?? {});
    const bundles = await (bundlesOfThisProcess ??= readBundles());
    await writeLaunchers(bundles, {
      profile,
      target: profile.programDir,
      say: () => {},
    });
    return node;
  }

  /** Writes the daemon's configuration: what every test node needs, and `members` over it. */
  async writeDaemonConf(
    members: Readonly<Record<string, unknown>>,
  ): Promise<void> {
    const conf = {
      confDir: this.profile.multusConfDir,
      cniDir: this.profile.cniStateDir,
      binDir: this.profile.cniBinDirs[0],
      kubeconfig: join(this.dir, "kubeconfig"),
      socketDir: this.profile.socketDir,
      libexecDir: this.profile.libexecDir,
      deviceInfoDir: this.profile.deviceInfoDir,
      podResourcesSocket: this.profile.podResourcesSocket,
      deviceCheckpoint: this.profile.deviceCheckpoint,
      logLevel: "verbose",
      logToStderr: true,
      ...members,
    };
    await Deno.writeTextFile(
      this.profile.daemonConfig,
      textIn(this.dir, conf),
    );
  }

  /** The path of one of our programs. */
  program(name: "multus-shim" | "multus-daemon" | "multusctl"): string {
    return join(this.profile.programDir, name);
  }

  /** What the daemon has written to stderr so far. */
  get daemonLog(): string {
    return this.#daemonLog;
  }

  /** The daemon's process ID. */
  get daemonPid(): number {
    return this.#daemon?.pid ?? 0;
  }

  /** Starts the daemon with its real grants and waits until it is ready. */
  async startDaemon(
    options: {
      env?: Record<string, string>;
      /** Flags besides that of the configuration. */
      args?: readonly string[];
      waitReady?: boolean;
    } = {},
  ): Promise<void> {
    const child = new Deno.Command(this.program("multus-daemon"), {
      args: ["--config", this.profile.daemonConfig, ...options.args ?? []],
      env: {
        MULTUS_NODE_NAME: this.nodeName,
        ...this.auditEnv("multus-daemon"),
        ...options.env,
      },
      stdin: "null",
      stdout: "inherit",
      stderr: "piped",
    }).spawn();
    this.#daemon = child;
    this.#reading = this.#collect(child.stderr);
    if (options.waitReady ?? true) await this.waitReady();
  }

  async #collect(stream: ReadableStream<Uint8Array>): Promise<void> {
    const decoder = new TextDecoder();
    for await (const chunk of stream) {
      this.#daemonLog += decoder.decode(chunk, { stream: true });
    }
  }

  /** Waits until the daemon says that it is ready. */
  async waitReady(): Promise<void> {
    const end = performance.now() + READY_WAIT_MS;
    const socketPath = socketPathIn(this.profile.socketDir);
    const question = { socketPath, route: "/readyz", method: "GET" } as const;
    let hasEnded = false;
    this.#daemon?.status.then(() => hasEnded = true);
    for (;;) {
      // Each for itself: a socket left behind may take a connection and never answer.
      const signal = AbortSignal.timeout(ASK_WAIT_MS);
      const ready = await ask(question, { signal })
        .then((answer) => answer.status === 200, () => false);
      if (ready) return;
      if (hasEnded || performance.now() > end) {
        throw new Deno.errors.TimedOut(
          `The daemon did not become ready:\n${this.#daemonLog}`,
        );
      }
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  }

  /** Ends the daemon and waits until it is gone; its exit code. */
  async stopDaemon(signal: Deno.Signal = "SIGTERM"): Promise<number> {
    const child = this.#daemon;
    if (child === undefined) return 0;
    this.#daemon = undefined;
    try {
      child.kill(signal);
    } catch (error) {
      if (!(error instanceof TypeError)) throw error;
      // It has ended by itself.
    }
    const status = await child.status;
    await this.#reading;
    return status.code;
  }

  /** Makes a pod's sandbox: a network namespace with its own loopback. */
  async createSandbox(
    pod: { namespace?: string; name: string; uid: string },
  ): Promise<Sandbox> {
    const containerId = crypto.randomUUID().replaceAll("-", "");
    const netnsName = `cni-${containerId.slice(0, 12)}`;
    await ip("netns", "add", netnsName);
    const sandbox = {
      containerId,
      netns: `/var/run/netns/${netnsName}`,
      namespace: pod.namespace ?? "default",
      name: pod.name,
      uid: pod.uid,
    };
    this.#sandboxes.push(sandbox);
    return sandbox;
  }

  /** Removes a pod's network namespace, as the runtime does after DEL. */
  async removeSandbox(sandbox: Sandbox): Promise<void> {
    this.#sandboxes = this.#sandboxes.filter((one) => one !== sandbox);
    await ip("netns", "delete", sandbox.netns.slice("/var/run/netns/".length));
  }

  /** Executes the shim as a container runtime does; a variable that is `undefined` is left out. */
  async cni(
    command: string,
    sandbox: Sandbox,
    options: {
      conf?: string;
      env?: Readonly<Record<string, string | undefined>>;
    } = {},
  ): Promise<ShimOutcome> {
    const env = Object.entries({
      ...this.cniEnv(command, sandbox),
      ...this.auditEnv("multus-shim"),
      ...options.env,
    }).filter((entry): entry is [string, string] => entry[1] !== undefined);
    const start = performance.now();
    const { code, stdout, stderr } = await runProgram([
      this.program("multus-shim"),
    ], {
      stdin: options.conf ?? JSON.stringify(this.runtimeConf),
      env: Object.fromEntries(env),
      clearEnv: true,
    });
    const durationMs = performance.now() - start;
    return { code, stdout, stderr, durationMs, json: parseJson(stdout) };
  }

  /** The environment of a CNI call as container runtimes set it. */
  cniEnv(command: string, sandbox: Sandbox): Record<string, string> {
    return {
      CNI_COMMAND: command,
      CNI_CONTAINERID: sandbox.containerId,
      CNI_NETNS: sandbox.netns,
      CNI_IFNAME: "eth0",
      CNI_PATH: this.profile.cniBinDirs.join(":"),
      CNI_ARGS:
        `IgnoreUnknown=1;K8S_POD_NAMESPACE=${sandbox.namespace};K8S_POD_NAME=${sandbox.name};` +
        `K8S_POD_INFRA_CONTAINER_ID=${sandbox.containerId};K8S_POD_UID=${sandbox.uid}`,
    };
  }

  /** Runs multusctl with exactly its grants. */
  async ctl(
    args: readonly string[],
    options: {
      stdin?: string;
      env?: Readonly<Record<string, string>>;
      /** False where it is to be refused something. */
      isAudited?: boolean;
    } = {},
  ): Promise<CtlOutcome> {
    const { isAudited = true } = options;
    const ran = await runProgram([this.program("multusctl"), ...args], {
      ...(options.stdin === undefined ? {} : { stdin: options.stdin }),
      env: {
        MULTUS_NODE_NAME: this.nodeName,
        ...(isAudited ? this.auditEnv("multusctl") : {}),
        ...options.env,
      },
      clearEnv: true,
    });
    return { ...ran, json: parseJson(ran.stdout) };
  }

  /** Has a program write down the permissions that it asks for, when this run collects them. */
  auditEnv(executable: Executable): Record<string, string> {
    if (auditDir() === undefined || !this.#isAudited) return {};
    return auditEnv(executable, join(this.dir, "audit"));
  }

  /** Stops the daemon and the API server, removes namespaces and files. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.stopDaemon("SIGKILL");
    await this.api[Symbol.asyncDispose]();
    for (const sandbox of [...this.#sandboxes]) {
      await this.removeSandbox(sandbox);
    }
    await collect(this.profile, join(this.dir, "audit"));
    await Deno.remove(this.dir, { recursive: true });
  }
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
