/**
 * Which directories the container runtime of a node uses for CNI, found by
 * reading its configuration: containerd's or CRI-O's, in the places where
 * k3s, rke2, k0s, Talos and kubeadm have them. Every answer comes with the
 * reason, for a person to judge. Whether plugins are in those directories is
 * left to `multusctl doctor`; nothing is written.
 *
 * @module
 */
import { basename, dirname } from "node:path";
import {
  CONTAINERD_CONFIGS,
  CONTAINERD_IMPORT_DIRS,
  CRIO_CONFIG,
  CRIO_CONFIG_DIR,
  K3S_CURRENT_BIN,
  KUBEADM_FLAGS,
  KUBELET_CONFIG,
  OS_RELEASE,
} from "./detection_paths.ts";
import { findHostFile } from "./host_files.ts";
import { readTomlValues, tomlPath, type TomlValues } from "./toml_values.ts";

/** The distributions whose directories are known; `kubeadm` stands for it and most others. */
export const DISTRIBUTIONS = [
  "kubeadm",
  "k3s",
  "rke2",
  "k0s",
  "talos",
  "crio",
] as const;

/** A kind of node. */
export type Distribution = typeof DISTRIBUTIONS[number];

/** The CNI directories of a node, as the host names them, and where that is known from. */
export interface NodeLayout {
  /** Which kind of node it is. */
  readonly distribution: Distribution;
  /** Where the runtime looks for plugins; the first is where ours go. */
  readonly binDirs: readonly string[];
  /** Where the runtime looks for configurations. */
  readonly confDir: string;
  /** What was found and why it was taken, a sentence each. */
  readonly reasons: readonly string[];
  /** What a person should know about this node, a sentence each. */
  readonly warnings: readonly string[];
}

interface Directories {
  readonly binDirs: readonly string[];
  readonly confDir: string;
}

/** What every runtime takes if nothing else is said. */
const USUAL: Directories = {
  binDirs: ["/opt/cni/bin"],
  confDir: "/etc/cni/net.d",
};

const DEFAULTS: Readonly<Record<Distribution, Directories>> = {
  kubeadm: USUAL,
  k3s: {
    binDirs: ["/var/lib/rancher/k3s/data/cni"],
    confDir: "/var/lib/rancher/k3s/agent/etc/cni/net.d",
  },
  rke2: USUAL,
  k0s: USUAL,
  talos: USUAL,
  crio: USUAL,
};

/** The directories of a distribution as it comes. */
export function defaultLayout(distribution: Distribution): NodeLayout {
  return {
    distribution,
    ...DEFAULTS[distribution],
    reasons: [`The directories are those of ${distribution} as it comes`],
    warnings: [],
  };
}

/** Whether `name` is a distribution that is known. */
export function isDistribution(name: string): name is Distribution {
  const names: readonly string[] = DISTRIBUTIONS;
  return names.includes(name);
}

/**
 * Looks at the host below `hostRoot` (`/` outside a pod). Needs read of the
 * paths in `detection_paths.ts` below it.
 *
 * @throws {Deno.errors.NotCapable} when one of them is not granted.
 */
export async function detectLayout(hostRoot: string): Promise<NodeLayout> {
  const files = hostFiles(hostRoot);
  const runtime = await findRuntime(files);
  if (runtime.isCrio) return await readCrio(files, runtime.reason);
  for (const { distribution, path } of CONTAINERD_CONFIGS) {
    const text = await files.read(path);
    if (text === undefined) continue;
    return await readContainerd(files, { distribution, path, text });
  }
  return await guessLayout(files);
}

/** Files of the host, links followed as the host would. */
interface HostFiles {
  /** The text of a file; `undefined` when it is not there, or is no file. */
  readonly read: (path: string) => Promise<string | undefined>;
  /** The names in a directory in lexical order; none when it is not there. */
  readonly list: (dir: string) => Promise<string[]>;
  readonly isThere: (path: string) => Promise<boolean>;
}

/** Configurations have some hundred lines; what is larger is none. */
const FILE_BYTES_MAX = 1024 * 1024;

function hostFiles(hostRoot: string): HostFiles {
  return {
    read: async (path) => {
      const found = await findHostFile(hostRoot, path);
      const isText = found?.info.isFile === true &&
        found.info.size <= FILE_BYTES_MAX;
      return isText ? await Deno.readTextFile(found.path) : undefined;
    },
    list: async (dir) => {
      const found = await findHostFile(hostRoot, dir);
      if (found?.info.isDirectory !== true) return [];
      const entries = await Array.fromAsync(Deno.readDir(found.path));
      return entries.map((entry) => entry.name).sort();
    },
    isThere: async (path) => await findHostFile(hostRoot, path) !== undefined,
  };
}

interface Runtime {
  readonly isCrio: boolean;
  readonly reason: string;
}

/** The kubelet knows best which runtime it talks to; a node may have files of both. */
async function findRuntime(files: HostFiles): Promise<Runtime> {
  for (const path of [KUBEADM_FLAGS, KUBELET_CONFIG]) {
    const text = await files.read(path) ?? "";
    const [, socket] =
      /(?:--container-runtime-endpoint[= ]|^\s*containerRuntimeEndpoint:\s*)["']?([^\s"']+)/m
        .exec(text) ?? [];
    if (socket === undefined) continue;
    return {
      isCrio: socket.includes("crio"),
      reason: `The kubelet talks to ${socket} (${path})`,
    };
  }
  const hasContainerd = await anyIsThere(
    files,
    CONTAINERD_CONFIGS.map(({ path }) => path),
  );
  return {
    isCrio: !hasContainerd &&
      await anyIsThere(files, [CRIO_CONFIG, CRIO_CONFIG_DIR]),
    reason: "CRI-O has a configuration here, and containerd has none",
  };
}

async function anyIsThere(
  files: HostFiles,
  paths: readonly string[],
): Promise<boolean> {
  for (const path of paths) if (await files.isThere(path)) return true;
  return false;
}

async function readCrio(
  files: HostFiles,
  reason: string,
): Promise<NodeLayout> {
  const dropIns = (await files.list(CRIO_CONFIG_DIR))
    .map((name) => `${CRIO_CONFIG_DIR}/${name}`);
  const reasons = [reason];
  const warnings: string[] = [];
  let { binDirs, confDir } = DEFAULTS.crio;
  for (const path of [CRIO_CONFIG, ...dropIns]) {
    const text = await files.read(path);
    if (text === undefined) continue;
    const values = readTomlValues(text);
    const dirs = directoriesAt(values, ["crio", "network"], {
      bin: ["plugin_dir", "plugin_dirs"],
      conf: "network_dir",
    });
    if (dirs.binDirs !== undefined) {
      binDirs = dirs.binDirs;
      reasons.push(`Plugins are in ${binDirs.join(", ")} (${path})`);
    }
    if (dirs.confDir !== undefined) {
      confDir = dirs.confDir;
      reasons.push(`Configurations are in ${confDir} (${path})`);
    }
    const name = values.get(tomlPath("crio", "network", "cni_default_network"));
    if (typeof name === "string" && name !== "") {
      warnings.push(
        `CRI-O takes no other network than ${name} (cni_default_network in ${path}): 00-multus.conf needs that name, see --override-network-name`,
      );
    }
  }
  if (reasons.length === 1) reasons.push("CRI-O's own directories are used");
  return { distribution: "crio", binDirs, confDir, reasons, warnings };
}

/** Where containerd keeps the CRI plugin's part: of configurations of version 3, 2 and 1. */
const CRI_TABLES = [
  ["plugins", "io.containerd.cri.v1.runtime", "cni"],
  ["plugins", "io.containerd.grpc.v1.cri", "cni"],
  ["plugins", "cri", "cni"],
] as const;

interface ContainerdConfig {
  readonly distribution: Distribution;
  readonly path: string;
  readonly text: string;
}

async function readContainerd(
  files: HostFiles,
  config: ContainerdConfig,
): Promise<NodeLayout> {
  const { distribution, path, text } = config;
  let { binDirs, confDir } = DEFAULTS[distribution];
  const reasons = [`containerd's configuration is ${path}: ${distribution}`];
  // What is imported comes over what imports it.
  for (const one of [{ path, text }, ...await importsOf(files, text)]) {
    const values = readTomlValues(one.text);
    for (const table of CRI_TABLES) {
      const dirs = directoriesAt(values, table, {
        bin: ["bin_dir", "bin_dirs"],
        conf: "conf_dir",
      });
      if (dirs.binDirs !== undefined) {
        binDirs = dirs.binDirs;
        reasons.push(`Plugins are in ${binDirs.join(", ")} (${one.path})`);
      }
      if (dirs.confDir !== undefined) {
        confDir = dirs.confDir;
        reasons.push(`Configurations are in ${confDir} (${one.path})`);
      }
    }
  }
  if (reasons.length === 1) {
    reasons.push(
      `It names no CNI directory: those of ${distribution} as it comes are used`,
    );
  }
  const layout = { distribution, binDirs, confDir, reasons, warnings: [] };
  return distribution === "k3s"
    ? await followK3sVersion(files, layout)
    : layout;
}

/** Until autumn 2024 each version of k3s had its plugins in a directory named by a hash. */
async function followK3sVersion(
  files: HostFiles,
  layout: NodeLayout,
): Promise<NodeLayout> {
  const [binDir = ""] = layout.binDirs;
  const isOfOneVersion = /^\/var\/lib\/rancher\/k3s\/data\/[0-9a-f]{64}\/bin$/
    .test(binDir);
  if (!isOfOneVersion || !await files.isThere(dirname(K3S_CURRENT_BIN))) {
    return layout;
  }
  return {
    ...layout,
    binDirs: [K3S_CURRENT_BIN],
    reasons: [
      ...layout.reasons,
      `${K3S_CURRENT_BIN} leads to the plugins of the running version`,
    ],
    warnings: [
      "This k3s has its plugins in a directory that every upgrade leaves behind: install again after an upgrade, or use a release since October 2024",
    ],
  };
}

/** The files that a configuration imports, from the directories that may be read. */
async function importsOf(
  files: HostFiles,
  text: string,
): Promise<{ path: string; text: string }[]> {
  const patterns = readTomlValues(text).get(tomlPath("imports")) ?? [];
  const imported: { path: string; text: string }[] = [];
  for (const pattern of typeof patterns === "string" ? [patterns] : patterns) {
    for (const path of await expand(files, pattern)) {
      const content = await files.read(path);
      if (content !== undefined) imported.push({ path, text: content });
    }
  }
  return imported;
}

/** The files that a pattern such as `/etc/containerd/conf.d/*.toml` stands for. */
async function expand(files: HostFiles, pattern: string): Promise<string[]> {
  const dir = dirname(pattern);
  const isKnown = CONTAINERD_IMPORT_DIRS.some((known) =>
    dir === known || dir.startsWith(`${known}/`)
  );
  if (!isKnown || dir.includes("*") || dir.split("/").includes("..")) return [];
  const parts = basename(pattern).split("*").map(RegExp.escape);
  const name = new RegExp(`^${parts.join("[^/]*")}$`);
  const names = (await files.list(dir)).filter((one) => name.test(one));
  return names.map((one) => `${dir}/${one}`);
}

interface Keys {
  readonly bin: readonly string[];
  readonly conf: string;
}

/** The directories that a table names. A list of plugin directories comes before a single one: it is the newer key. */
function directoriesAt(
  values: TomlValues,
  table: readonly string[],
  keys: Keys,
): Partial<Directories> {
  const found = keys.bin.map((key) => values.get(tomlPath(...table, key)));
  const [single, list] = found.map((value) =>
    (typeof value === "string" ? [value] : value ?? []).map(trimDir)
      .filter((dir) => dir.startsWith("/"))
  );
  const binDirs = list?.length ? list : single ?? [];
  const confDir = values.get(tomlPath(...table, keys.conf));
  return {
    ...(binDirs.length > 0 && { binDirs }),
    ...(typeof confDir === "string" && confDir.startsWith("/") && {
      confDir: trimDir(confDir),
    }),
  };
}

function trimDir(dir: string): string {
  return dir.replace(/(?<=.)\/+$/, "");
}

/** No runtime has a configuration: containerd runs without one, and Talos says what it is. */
async function guessLayout(files: HostFiles): Promise<NodeLayout> {
  const release = await files.read(OS_RELEASE) ?? "";
  if (/^ID="?talos"?$/m.test(release)) {
    return {
      ...defaultLayout("talos"),
      reasons: [`The operating system is Talos (${OS_RELEASE})`],
    };
  }
  return {
    ...defaultLayout("kubeadm"),
    reasons: [
      "No configuration of containerd or CRI-O was found: the directories that both use without one are taken",
    ],
  };
}
