/**
 * A kubelet in small: runs the containers of a manifest's pod, each in the
 * image's root file system, which it cannot write, with the mounts,
 * capabilities and environment that the manifest gives it. In the place of a
 * container engine there are a mount namespace for each process, bind mounts
 * and chroot, so this needs root, and a node of its own (`tests/isolation.ts`).
 */
import { join } from "node:path";
import { resolveInRoot } from "../../lib/host/host_path.ts";
import { type Ran, runProgram } from "../node.ts";

// deno-lint-ignore no-explicit-any -- a pod of any shape; the manifests' own test knows the types
type Any = any;

/** What a pod is made from. */
export interface PodOptions {
  /** `spec.template.spec` of a DaemonSet. */
  readonly spec: Any;
  /** The image's root, as a directory. */
  readonly image: string;
  /** The host's root, as a directory. */
  readonly host: string;
  /** Files of config maps, by name and key. */
  readonly configMaps: Readonly<
    Record<string, Readonly<Record<string, string>>>
  >;
  /** Files of the service account. */
  readonly serviceAccount: Readonly<Record<string, string>>;
  /** What the kubelet puts into each container's environment. */
  readonly env: Readonly<Record<string, string>>;
  readonly nodeName: string;
  /** A directory for the files of volumes. */
  readonly workDir: string;
}

const SERVICE_ACCOUNT_DIR = "/var/run/secrets/kubernetes.io/serviceaccount";

/** A container that is made and can be run in. */
export class Container {
  readonly #spec: Any;
  readonly #env: Readonly<Record<string, string>>;
  readonly #root: string;
  /** Makes the mounts, and then becomes the program that its arguments say. */
  readonly #script: string;

  private constructor(
    spec: Any,
    parts: {
      env: Readonly<Record<string, string>>;
      root: string;
      script: string;
    },
  ) {
    this.#spec = spec;
    this.#env = parts.env;
    this.#root = parts.root;
    this.#script = parts.script;
  }

  /** Makes the container of a pod that has this name. */
  static async create(name: string, pod: PodOptions): Promise<Container> {
    const { spec, image } = pod;
    const container = [...spec.initContainers ?? [], ...spec.containers]
      .find((one: Any) => one.name === name);
    const targets = await prepareTargets(container, pod, image);
    const env = { ...pod.env, ...readEnv(container, pod) };
    const script = mountScript(image, targets);
    return new Container(container, { env, root: image, script });
  }

  /** The command line that starts a program in the container, with no more than its capabilities. */
  commandFor(command: readonly string[]): [string, ...string[]] {
    const { capabilities, allowPrivilegeEscalation, runAsUser } =
      this.#spec.securityContext;
    const added = (capabilities.add ?? []).map((name: string) =>
      `,+${name.toLowerCase()}`
    ).join("");
    return [
      "unshare",
      "--mount",
      // What is mounted on the host later shows up, where the manifest asks for it.
      "--propagation=slave",
      "sh",
      "-c",
      this.#script,
      "sh",
      "chroot",
      this.#root,
      "/usr/bin/setpriv",
      `--reuid=${runAsUser}`,
      "--inh-caps=-all",
      `--bounding-set=-all${added}`,
      ...(allowPrivilegeEscalation === false ? ["--no-new-privs"] : []),
      ...command,
    ];
  }

  /** The container's own command. */
  get command(): [string, ...string[]] {
    const { command, args = [] } = this.#spec;
    return this.commandFor([...command, ...args]);
  }

  /** The container's environment, and nothing of ours. */
  get env(): Record<string, string> {
    return {
      PATH: "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
      ...this.#env,
    };
  }

  /** Runs the container's command to its end. */
  async run(): Promise<Ran> {
    return await runProgram(this.command, { env: this.env, clearEnv: true });
  }

  /** Runs a program in the container, as probes are. */
  async exec(command: readonly string[]): Promise<Ran> {
    return await runProgram(this.commandFor(command), {
      env: this.env,
      clearEnv: true,
    });
  }

  /** Runs one of the container's probes. */
  async probe(name: "readinessProbe" | "livenessProbe"): Promise<Ran> {
    return await this.exec(this.#spec[name].exec.command);
  }

  /** Starts the container's command. */
  start(): Deno.ChildProcess {
    const [program, ...args] = this.command;
    return new Deno.Command(program, {
      args,
      env: this.env,
      clearEnv: true,
      stdin: "null",
      stdout: "null",
      stderr: "piped",
    }).spawn();
  }
}

interface Target {
  readonly source: string;
  readonly target: string;
  readonly options: {
    readonly propagation: string;
    readonly readOnly: boolean;
  };
}

/** The mounts, the root first, which cannot be written then. */
function mountScript(root: string, targets: readonly Target[]): string {
  const quote = (path: string): string => `'${path.replaceAll("'", "'\\''")}'`;
  const lines = [
    `mount --bind ${quote(root)} ${quote(root)}`,
    `mount -o remount,bind,ro ${quote(root)}`,
  ];
  for (const { source, target, options } of targets) {
    lines.push(`mount --rbind ${quote(source)} ${quote(target)}`);
    lines.push(`mount ${options.propagation} ${quote(target)}`);
    if (options.readOnly) {
      lines.push(`mount -o remount,bind,ro ${quote(target)}`);
    }
  }
  lines.push(`mount -t proc proc ${quote(join(root, "proc"))}`);
  lines.push(`mount --rbind /dev ${quote(join(root, "dev"))}`);
  return ["set -e", ...lines, 'exec "$@"'].join("\n");
}

/** Makes the mount points and finds out what goes where. */
async function prepareTargets(
  container: Any,
  pod: PodOptions,
  root: string,
): Promise<Target[]> {
  const wanted = [...container.volumeMounts ?? []];
  if (pod.spec.automountServiceAccountToken !== false) {
    wanted.push({
      name: "token",
      mountPath: SERVICE_ACCOUNT_DIR,
      readOnly: true,
    });
  }
  const targets: Target[] = [];
  // Outer ones first, as container runtimes do.
  wanted.sort((a, b) => a.mountPath.length - b.mountPath.length);
  for (const { name, mountPath, readOnly, mountPropagation } of wanted) {
    const source = await sourceOf(name, pod);
    const target = await resolveInRoot(root, mountPath);
    const isInOther = targets.some((one) =>
      target.startsWith(`${one.target}/`)
    );
    // Inside another mount it is there already: the kubelet has made it on the host.
    if (!isInOther) await Deno.mkdir(target, { recursive: true });
    targets.push({
      source,
      target,
      options: {
        propagation: mountPropagation === "HostToContainer"
          ? "--make-rslave"
          : "--make-rprivate",
        readOnly: readOnly === true,
      },
    });
  }
  return targets;
}

async function sourceOf(name: string, pod: PodOptions): Promise<string> {
  const volume = pod.spec.volumes.find((one: Any) => one.name === name);
  if (volume?.hostPath !== undefined) {
    const { path, type } = volume.hostPath;
    const source = await resolveInRoot(pod.host, path);
    if (type === "DirectoryOrCreate") {
      await Deno.mkdir(source, { recursive: true });
    }
    return source;
  }
  const files = volume === undefined
    ? pod.serviceAccount
    : pod.configMaps[volume.configMap.name] ?? {};
  const dir = join(pod.workDir, `volume-${name}`);
  await Deno.mkdir(dir, { recursive: true });
  for (const [key, text] of Object.entries(files)) {
    await Deno.writeTextFile(join(dir, key), text);
  }
  return dir;
}

function readEnv(container: Any, pod: PodOptions): Record<string, string> {
  const entries = (container.env ?? []).map((
    { name, value, valueFrom }: Any,
  ) => [
    name,
    valueFrom?.fieldRef?.fieldPath === "spec.nodeName" ? pod.nodeName : value,
  ]);
  return Object.fromEntries(entries);
}
