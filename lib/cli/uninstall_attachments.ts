/**
 * What an uninstall does about pods that Multus gave networks to. A pod that
 * is gone has its attachments undone, all of them. A pod that still runs
 * keeps its networks: its first one is handed over to the container runtime,
 * which will DEL it with the primary's own plugins, and the further ones stay
 * until the pod is gone, or are taken away now where that is asked for.
 *
 * Needs read and write of the state directory and of libcni's cache, read of
 * the host's directories of network namespaces, and run of what runs plugins.
 *
 * @module
 */
import { join } from "node:path";
import { parseConf } from "../cni/conf.ts";
import { type Exec, findPlugin, isExecutableFile } from "../cni/exec.ts";
import type { Runtime } from "../cni/list.ts";
import {
  type CachedAttachment,
  createResultCache,
} from "../cni/result_cache.ts";
import { type AttachmentTools, detachAll } from "../daemon/attachments.ts";
import type { AttachmentRecord } from "../daemon/record_format.ts";
import { createRecords, type Records } from "../daemon/records.ts";
import { createDeviceInfoFiles } from "../devices/device_info.ts";
import { createDefaultRoutes } from "../host/default_routes.ts";
import { createHostRootExec } from "../host/host_root_exec.ts";
import { lookAt } from "./install_file.ts";

/** Where things are, as this process sees them. */
export interface AttachmentDirs {
  /** The host's root; `/` outside a pod. */
  readonly hostRoot: string;
  /** `cniDir` of the daemon. */
  readonly stateDir: string;
  /** Where runtimes keep what they attached: `results` in it. */
  readonly runtimeCacheDir: string;
  /** The plugin directories, as the host names them. */
  readonly pluginDirs: readonly string[];
  /** The directory of `delegate-exec`. */
  readonly libexecDir: string;
  /** Where device information files are kept. */
  readonly deviceInfoDir: string;
}

/** What is left of attachments. */
export interface LeftAttachments {
  /** Pods that still run with networks of Multus. */
  readonly running: number;
  /** Pods whose attachments could not be undone. */
  readonly failed: number;
}

/** A plugin that waits for a DHCP server that does not answer takes a minute. */
const PLUGIN_TIMEOUT_MS = 90_000;

/** Many pods may have gone while no daemon was there; more than this and the operator runs it again. */
const UNDO_TIMEOUT_MS = 15 * 60_000;

/** Of no boot: every attachment that was recorded counts as possibly there. */
const NO_BOOT_ID = "";

/** The default network is the first of a record. */
const FIRST_SECONDARY = 1;

/** Undoes and hands over, and says what was done. */
export async function settleAttachments(
  dirs: AttachmentDirs,
  { detach }: { readonly detach: boolean },
  say: (line: string) => void,
): Promise<LeftAttachments> {
  if (await lookAt(dirs.stateDir) === undefined) {
    return { running: 0, failed: 0 };
  }
  const tools = createTools(dirs, say);
  const records = createRecords({ dir: dirs.stateDir });
  const settler = { dirs, tools, records, detach, say };
  let running = 0;
  let failed = 0;
  for await (const listed of records.list()) {
    const outcome = "record" in listed
      ? await settle(settler, listed.record)
      : "failed";
    if ("error" in listed) say(`${listed.error.message}: left`);
    if (outcome === "running") running++;
    if (outcome === "failed") failed++;
  }
  return { running, failed };
}

interface Settler {
  readonly dirs: AttachmentDirs;
  readonly tools: AttachmentTools;
  readonly records: Records;
  readonly detach: boolean;
  readonly say: (line: string) => void;
}

type Outcome = "undone" | "running" | "failed";

function createTools(
  dirs: AttachmentDirs,
  say: (line: string) => void,
): AttachmentTools {
  const delegateExec = join(dirs.libexecDir, "delegate-exec");
  const runtime: Runtime = {
    exec: createExec(dirs.hostRoot, delegateExec),
    pluginDirs: dirs.pluginDirs,
    cache: createResultCache(dirs.stateDir),
    pluginTimeoutMs: PLUGIN_TIMEOUT_MS,
  };
  return {
    runtime,
    defaultRoutes: createDefaultRoutes(join(dirs.libexecDir, "default-route")),
    deviceInfo: createDeviceInfoFiles(dirs.deviceInfoDir),
    onDeviceInfoProblem: ({ name }, error) => say(`${name}: ${String(error)}`),
    bootId: NO_BOOT_ID,
  };
}

/** Outside a pod, too, plugins are run by the script, without chroot then: no other program need be granted. */
function createExec(hostRoot: string, delegateExec: string): Exec {
  const exec = createHostRootExec({ hostRoot, delegateExec });
  if (hostRoot !== "/") return exec;
  return {
    ...exec,
    findInPath: (type, dirs) => findPlugin(type, { dirs, isExecutable }),
  };
}

async function isExecutable(path: string): Promise<boolean> {
  try {
    return isExecutableFile(await Deno.stat(path));
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

function nameOf({ pod, containerId }: AttachmentRecord): string {
  return pod === undefined
    ? `Container ${containerId}`
    : `Pod ${pod.namespace}/${pod.name}`;
}

async function settle(
  settler: Settler,
  record: AttachmentRecord,
): Promise<Outcome> {
  const cached = await cachedOf(settler.dirs, record);
  if (!await isRunning(settler.dirs.hostRoot, record.netns ?? cached?.netns)) {
    return await undo(settler, record, { from: 0, cached });
  }
  await handOver(settler, record);
  const secondaries = record.attachments.slice(FIRST_SECONDARY);
  if (settler.detach || secondaries.length === 0) {
    return await undo(settler, record, { from: FIRST_SECONDARY, cached });
  }
  const names = secondaries.map(({ ifname, name }) => `${ifname} (${name})`);
  settler.say(
    `${nameOf(record)}: runs with ${
      names.join(", ")
    }: left until it is gone (--detach takes them away now)`,
  );
  return "running";
}

/**
 * Whether the pod's network namespace is still there. One that cannot be
 * looked at (`/proc/PID/ns/net`) counts as there: nothing of a pod that runs
 * must be undone by mistake.
 */
async function isRunning(hostRoot: string, netns = ""): Promise<boolean> {
  if (netns === "") return true;
  // On most hosts `/var/run` is a link, which a mounted root would lead astray.
  const path = join(hostRoot, netns.replace(/^\/var\/run\//, "/run/"));
  try {
    return await lookAt(path) !== undefined;
  } catch (error) {
    if (error instanceof Deno.errors.NotCapable) return true;
    throw error;
  }
}

/** What libcni's cache of the daemon has on a container: a record of the Go daemon holds neither namespace nor arguments. */
async function cachedOf(
  { stateDir }: AttachmentDirs,
  { containerId }: AttachmentRecord,
): Promise<CachedAttachment | undefined> {
  const { attachments } = await createResultCache(stateDir)
    .list({ containerId });
  return attachments[0];
}

/** Undoes the attachments from the given one on, and forgets the container when that worked. */
async function undo(
  { tools, records, say }: Settler,
  record: AttachmentRecord,
  { from, cached }: { from: number; cached: CachedAttachment | undefined },
): Promise<Outcome> {
  const { containerId, netns = cached?.netns ?? "" } = record;
  using handle = await records.open(containerId);
  if (handle === undefined) return "undone";
  const failures = await detachAll(handle, tools, {
    container: { containerId, netns, cniArgs: cached?.cniArgs ?? [] },
    from,
    signal: AbortSignal.timeout(UNDO_TIMEOUT_MS),
  });
  for (const { error } of failures) {
    say(`${nameOf(record)}: ${error.message}: left`);
  }
  if (failures.length > 0) return "failed";
  const undone = record.attachments.slice(from).map(({ name }) => name);
  if (undone.length > 0) say(`${nameOf(record)}: undone: ${undone.join(", ")}`);
  await records.remove(containerId);
  return "undone";
}

/**
 * The runtime will DEL the pod with the primary configuration, whose plugins
 * expect the result of their ADD: it is put where libcni looks for it.
 */
async function handOver(
  { dirs, say }: Settler,
  record: AttachmentRecord,
): Promise<void> {
  const [first] = record.attachments;
  if (first?.isDefault !== true) return;
  const key = {
    networkName: parseConf(first.config).name,
    containerId: record.containerId,
    ifname: first.ifname,
  };
  const ours = createResultCache(dirs.stateDir);
  const theirs = createResultCache(dirs.runtimeCacheDir);
  const cached = await ours.read(key);
  if (cached !== undefined && await theirs.read(key) === undefined) {
    await theirs.write(cached);
  }
  await ours.remove(key);
  say(
    `${
      nameOf(record)
    }: ${first.ifname} (${first.name}) handed over to the container runtime`,
  );
}
