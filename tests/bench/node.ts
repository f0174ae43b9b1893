/**
 * The node of the benchmark: what `deno task build` makes, for a profile of
 * this machine, the daemon running from it with the service account of a pod,
 * and the calls that a container runtime would make.
 */
import { join } from "node:path";
import { type Bundles, writeLaunchers } from "../../deployments/build.ts";
import { RUN_FLAGS } from "../../lib/cli/launcher.ts";
import { parseProfile } from "../../lib/cli/profile.ts";
import { grantsOf, permissionFlags, type Profile } from "../../lib/grants.ts";
import { SERVICE_ACCOUNT_DIR } from "../../lib/kube/credential_sources.ts";
import { ask } from "../../lib/wire/ask.ts";
import { socketPathIn } from "../../lib/wire/places.ts";
import {
  CNI_ROUTE,
  encodeConfig,
  encodeRequest,
} from "../../lib/wire/request.ts";
import { findPluginDir } from "../prerequisites.ts";
import { runProgram } from "../node.ts";
import type { BenchApi } from "./api.ts";
import { type LineProcess, startLineProcess } from "./line_process.ts";
import { NAMESPACE, NODE_NAME, noopConf, uidOf } from "./objects.ts";
import type { Job } from "./stopwatch.ts";

/** How long anything may take that is waited for here; the longest is a start with a cluster of 10,000 pods. */
const WAIT_MS = 60_000;
/** How often is looked whether the daemon is ready: a part of the start that is measured. */
const LOOK_MS = 1;

/** What programs print: in memory, or the file system would be measured as well. */
export const OUT_DIR = "/run/multus-bench";

/** The calls that are measured. */
export type BenchCommand = "ADD" | "DEL" | "CHECK";

/** A pod's container, as the runtime names it. */
export interface Container {
  readonly id: string;
  readonly pod: string;
  readonly netns: string;
}

/** A call that should have worked did not. */
export class CallError extends Error {
  override readonly name = "CallError";
}

let lastContainer = 0;

/** Another container for a pod. */
export function containerFor(pod: string, netns?: string): Container {
  const id = `bench${String(++lastContainer).padStart(59, "0")}`;
  return { id, pod, netns: netns ?? `/var/run/netns/${id}` };
}

/** Gives a pod's service account to this node: its own file system over `/run`, in the namespaces of the benchmark. */
async function mountServiceAccount(
  account: { token: string; caPem: string },
): Promise<void> {
  await run("mount", "-t", "tmpfs", "-o", "size=64m", "run", "/run");
  await Deno.mkdir("/run/netns");
  await Deno.mkdir(SERVICE_ACCOUNT_DIR, { recursive: true });
  await Deno.writeTextFile(`${SERVICE_ACCOUNT_DIR}/token`, account.token);
  await Deno.writeTextFile(`${SERVICE_ACCOUNT_DIR}/ca.crt`, account.caPem);
}

/** Runs a program of the machine, which must succeed; its output. */
export async function run(
  ...command: readonly [string, ...string[]]
): Promise<string> {
  const { code, stdout, stderr } = await runProgram(command);
  if (code === 0) return stdout;
  throw new CallError(`${command.join(" ")}: ${stderr.trim()}`);
}

async function createProfile(
  dir: string,
  options: { port: number },
): Promise<Profile> {
  const pluginDir = await findPluginDir() ?? "/usr/lib/cni";
  const reference = await Array.fromAsync(Deno.readDir(pluginDir));
  return parseProfile("{}", {
    socketDir: join(dir, "run"),
    hostSocketDir: join(dir, "run"),
    cniConfDir: join(dir, "net.d"),
    multusConfDir: join(dir, "multus.net.d"),
    cniBinDirs: [join(dir, "bin"), pluginDir],
    cniStateDir: join(dir, "state"),
    daemonConfig: join(dir, "daemon-config.json"),
    libexecDir: join(dir, "dist", "libexec"),
    plugins: ["noop", ...reference.map(({ name }) => name)].sort(),
    serviceAccountDir: SERVICE_ACCOUNT_DIR,
    kubeconfigFiles: [],
    apiServers: [`127.0.0.1:${options.port}`],
    podResourcesSocket: join(dir, "kubelet.sock"),
    deviceCheckpoint: join(dir, "kubelet_internal_checkpoint"),
    deviceInfoDir: join(dir, "devinfo"),
    deno: Deno.execPath(),
    hostDeno: Deno.execPath(),
    programDir: join(dir, "dist"),
  });
}

async function writeConfigurations(
  { dir, profile }: { dir: string; profile: Profile },
): Promise<void> {
  const dirs = [
    profile.cniConfDir,
    profile.multusConfDir,
    profile.cniStateDir,
    profile.deviceInfoDir,
    join(dir, "bin"),
  ];
  for (const made of dirs) await Deno.mkdir(made, { recursive: true });
  const { cniVersion, ...plugin } = noopConf("cluster-net");
  await Deno.writeTextFile(
    join(profile.cniConfDir, "10-noop.conflist"),
    JSON.stringify({ cniVersion, name: "cluster-net", plugins: [plugin] }),
  );
  const conf = {
    confDir: profile.multusConfDir,
    cniDir: profile.cniStateDir,
    binDir: profile.cniBinDirs[0],
    socketDir: profile.socketDir,
    libexecDir: profile.libexecDir,
    deviceInfoDir: profile.deviceInfoDir,
    podResourcesSocket: profile.podResourcesSocket,
    deviceCheckpoint: profile.deviceCheckpoint,
    logLevel: "error",
    logToStderr: true,
  };
  await Deno.writeTextFile(profile.daemonConfig, JSON.stringify(conf));
}

/** The node; its daemon is started and stopped as the figures want. */
export class BenchNode implements AsyncDisposable {
  readonly dir: string;
  readonly profile: Profile;
  readonly api: BenchApi;
  readonly #port: number;
  readonly #asker: LineProcess;
  #daemon: Deno.ChildProcess | undefined;

  private constructor(
    parts: {
      dir: string;
      profile: Profile;
      api: BenchApi;
      port: number;
      asker: LineProcess;
    },
  ) {
    this.dir = parts.dir;
    this.profile = parts.profile;
    this.api = parts.api;
    this.#port = parts.port;
    this.#asker = parts.asker;
  }

  /** Makes the node in a directory, from bundles, with `noop` and `asker` compiled. */
  static async create(
    dir: string,
    parts: { bundles: Bundles; api: BenchApi; noop: string; asker: string },
  ): Promise<BenchNode> {
    const account = await parts.api.tell({});
    await mountServiceAccount(account);
    const { port } = account;
    const profile = await createProfile(dir, { port });
    await writeConfigurations({ dir, profile });
    await Deno.copyFile(parts.noop, join(dir, "bin", "noop"));
    await writeLaunchers(parts.bundles, {
      profile,
      target: profile.programDir,
      say: () => {},
    });
    const asker = startLineProcess([parts.asker]);
    const node = new BenchNode({ dir, profile, api: parts.api, port, asker });
    await Deno.mkdir(OUT_DIR);
    await Deno.writeTextFile(node.confFile, node.shimConf());
    return node;
  }

  /** The file with what the runtime writes to the shim's stdin. */
  get confFile(): string {
    return join(this.dir, "shim-conf.json");
  }

  /** The daemon's process. */
  get daemonPid(): number {
    return this.#daemon?.pid ?? 0;
  }

  /** The words and the environment that start the daemon. */
  get daemonCommand(): { command: [string, ...string[]]; env: Job["env"] } {
    return {
      command: [
        join(this.profile.programDir, "multus-daemon"),
        "--config",
        this.profile.daemonConfig,
      ],
      env: {
        MULTUS_NODE_NAME: NODE_NAME,
        KUBERNETES_SERVICE_HOST: "127.0.0.1",
        KUBERNETES_SERVICE_PORT: String(this.#port),
      },
    };
  }

  /** Starts the daemon; the milliseconds until it was ready. */
  async startDaemon(): Promise<number> {
    const { command: [program, ...args], env } = this.daemonCommand;
    const start = performance.now();
    this.#daemon = new Deno.Command(program, {
      args,
      env: { ...env },
      clearEnv: true,
      stdin: "null",
      stdout: "inherit",
      stderr: "inherit",
    }).spawn();
    const signal = AbortSignal.timeout(WAIT_MS);
    while (!await this.#isReady(signal)) {
      signal.throwIfAborted();
      await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
    }
    return performance.now() - start;
  }

  async #isReady(signal: AbortSignal): Promise<boolean> {
    const { socketDir } = this.profile;
    const question = {
      socketPath: socketPathIn(socketDir),
      route: "/readyz",
      method: "GET",
    } as const;
    return await ask(question, { signal }).then(
      ({ status }) => status === 200,
      () => false,
    );
  }

  /** Ends the daemon and waits for it. */
  async stopDaemon(): Promise<void> {
    this.#daemon?.kill("SIGTERM");
    await this.#daemon?.status;
    this.#daemon = undefined;
  }

  /** Ends the daemon, and starts it anew. */
  async restartDaemon(): Promise<void> {
    await this.stopDaemon();
    await this.startDaemon();
  }

  /** What the runtime writes to the shim's stdin. */
  shimConf(): string {
    return JSON.stringify({
      cniVersion: "1.0.0",
      name: "multus-cni-network",
      type: "multus-shim",
      clusterNetwork: join(this.profile.cniConfDir, "10-noop.conflist"),
      daemonSocketDir: this.profile.hostSocketDir,
      cniDir: this.profile.cniStateDir,
    });
  }

  /** The environment of a call. */
  cniEnv(command: string, container: Container): Record<string, string> {
    return {
      CNI_COMMAND: command,
      CNI_CONTAINERID: container.id,
      CNI_NETNS: container.netns,
      CNI_IFNAME: "eth0",
      CNI_PATH: this.profile.cniBinDirs.join(":"),
      CNI_ARGS:
        `IgnoreUnknown=1;K8S_POD_NAMESPACE=${NAMESPACE};K8S_POD_NAME=${container.pod};` +
        `K8S_POD_INFRA_CONTAINER_ID=${container.id};K8S_POD_UID=${
          uidOf(container.pod)
        }`,
    };
  }

  /** Asks the daemon over its socket; the milliseconds until it had answered. */
  async call(command: BenchCommand, container: Container): Promise<number> {
    const body = encodeRequest({
      env: this.cniEnv(command, container),
      config: encodeConfig(new TextEncoder().encode(this.shimConf())),
    });
    const socketPath = socketPathIn(this.profile.socketDir);
    const said = await this.#asker.tell(`${socketPath} ${CNI_ROUTE} ${body}`);
    const [micros, status, ...text] = said.split(" ");
    if (status === "200") return Number(micros) / 1000;
    throw new CallError(`${command} of ${container.pod}: ${text.join(" ")}`);
  }

  /** The shim's execution for a call. */
  shimJob(command: string, container: Container): Job {
    return {
      command: [join(this.profile.programDir, "multus-shim")],
      env: this.cniEnv(command, container),
      stdin: this.confFile,
      stdout: `${OUT_DIR}/${command}-${container.id}`,
    };
  }

  /** `deno run` of a script with the shim's own flags. */
  floorJob(script: string): Job {
    const flags = permissionFlags(grantsOf("multus-shim", this.profile));
    return {
      command: [Deno.execPath(), "run", ...RUN_FLAGS, ...flags, script],
      env: {},
      stdin: "/dev/null",
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stopDaemon();
    await this.#asker[Symbol.asyncDispose]();
  }
}
