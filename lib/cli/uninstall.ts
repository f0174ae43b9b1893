/**
 * `multusctl uninstall`: takes Multus off a node, in an order in which no pod
 * suffers. First the primary's configuration becomes the one that runtimes
 * use; then attachments are undone or handed over; then our programs go, and
 * what they replaced comes back; then our state. What is left is said, with
 * the reason. Doing it again does the rest.
 *
 * Needs what `install` needs, and what undoing attachments needs.
 */
import { dirname, join } from "node:path";
import type { Profile } from "../grants.ts";
import { DEVICE_INFO_DIR } from "../devices/device_info.ts";
import { ask, DaemonAbsentError } from "../wire/ask.ts";
import {
  DEFAULT_CNI_DIR,
  DEFAULT_SOCKET_DIR,
  socketPathIn,
  spoolDirIn,
} from "../wire/places.ts";
import { type Call, type CtlCommand, ExitCode } from "./command.ts";
import { lookAt, removeIfThere } from "./install_file.ts";
import { INSTALL_PARAMETERS, readInstallOptions } from "./install_options.ts";
import {
  type Installation,
  isInstalled,
  openInstallation,
  type TakeOutcome,
} from "./installation.ts";
import { findNodeDirs, type NodeDirs } from "./node_dirs.ts";
import {
  type AttachmentDirs,
  type LeftAttachments,
  settleAttachments,
} from "./uninstall_attachments.ts";
import { NoPrimaryError, uninstallConf } from "./uninstall_conf.ts";

const HELP =
  `Delete the DaemonSet first: a daemon that runs writes 00-multus.conf again.

What a pod that still runs got from Multus stays with it: its first network is
handed over to the container runtime, further ones are left until the pod is
gone. Run uninstall again then, or take them away now with --detach.

Directories are found as install finds them.

Examples:
  multusctl uninstall
  multusctl uninstall --detach
  multusctl uninstall --host-root /hostroot`;

/** Options that both commands understand alike. */
const SHARED = ["--profile", "--host-root", "--cni-bin-dir", "--cni-conf-dir"];

/** The command `uninstall`. */
export const UNINSTALL: CtlCommand = {
  arguments: [],
  options: [
    ...INSTALL_PARAMETERS.filter(({ syntax }) =>
      SHARED.some((name) => syntax.startsWith(`${name} `))
    ),
    { syntax: "--state-dir <dir>", summary: "the daemon's state (cniDir)" },
    {
      syntax: "--detach",
      summary: "take further networks away from pods that run",
    },
    {
      syntax: "--force",
      summary: "go on although no other CNI configuration is there",
    },
  ],
  help: HELP,
  run: runUninstall,
};

/** A daemon serves the node: what is removed would come back. */
class DaemonRunsError extends Error {
  override readonly name = "DaemonRunsError";
}

interface UninstallOptions {
  readonly dirs: NodeDirs;
  readonly stateDir: string;
  readonly socketDir: string;
  readonly detach: boolean;
  readonly force: boolean;
  readonly say: (line: string) => void;
}

async function runUninstall({ options, world }: Call): Promise<number> {
  const { stateDir, detach, force, ...shared } = options;
  const dirs = await findNodeDirs(readInstallOptions(shared), world);
  const say = (line: string): void => world.stdout(`${line}\n`);
  try {
    const left = await uninstall({
      dirs,
      stateDir: typeof stateDir === "string"
        ? stateDir
        : dirs.profile?.cniStateDir ?? DEFAULT_CNI_DIR,
      socketDir: dirs.profile?.socketDir ?? DEFAULT_SOCKET_DIR,
      detach: detach === true,
      force: force === true,
      say,
    });
    return left === 0 ? ExitCode.ok : ExitCode.finding;
  } catch (error) {
    const isExpected = error instanceof NoPrimaryError ||
      error instanceof DaemonRunsError;
    if (!isExpected) throw error;
    world.stderr(`multusctl: ${error.message}\n`);
    return ExitCode.finding;
  }
}

/** The number of pods of which something is left. */
async function uninstall(options: UninstallOptions): Promise<number> {
  const { dirs, say } = options;
  await assertNoDaemon(options.socketDir);
  say(`Programs are taken from ${dirs.hostBinDir}`);
  const wasInstalled = await isInstalled(dirs.binDir);
  await using installation = await openInstallation(dirs.binDir);
  await uninstallConf(installation, { ...options, ...dirs }, say);
  const left = await settleAttachments(attachmentDirs(options), options, say);
  if (!wasInstalled) {
    say(`No program in ${dirs.hostBinDir} that multusctl installed`);
  }
  await uninstallPrograms(installation, say);
  await removeState(options, left);
  await removeSocketDir(options);
  return left.running + left.failed;
}

/** A daemon that does not answer within this still serves the socket. */
const ANSWER_MS = 2_000;

async function assertNoDaemon(socketDir: string): Promise<void> {
  const socketPath = socketPathIn(socketDir);
  const question = { socketPath, route: "/healthz", method: "GET" } as const;
  try {
    await ask(question, { signal: AbortSignal.timeout(ANSWER_MS) });
  } catch (error) {
    if (error instanceof DaemonAbsentError) return;
    if (error instanceof Deno.errors.NotCapable) throw error;
    // Somebody listens, however it answers.
  }
  throw new DaemonRunsError(
    `A daemon serves ${socketPath}, and would write again what is removed: delete the DaemonSet first (kubectl -n kube-system delete daemonset kube-multus-ds)`,
  );
}

function attachmentDirs({ dirs, stateDir }: UninstallOptions): AttachmentDirs {
  const profile: Partial<Profile> = dirs.profile ?? {};
  return {
    hostRoot: dirs.hostRoot,
    stateDir,
    runtimeCacheDir: dirname(stateDir),
    pluginDirs: profile.cniBinDirs ?? [dirs.hostBinDir],
    libexecDir: profile.libexecDir ?? join(dirs.programDir, "libexec"),
    deviceInfoDir: profile.deviceInfoDir ?? DEVICE_INFO_DIR,
  };
}

const TAKEN: Readonly<Record<TakeOutcome, string>> = {
  "removed": "removed",
  "restored": "what was there before is back",
  "gone": "gone already",
  "was-there": "left: it was there before us",
  "changed": "left: somebody put another one there since",
};

/** Deno last: a shim that starts in this moment still finds it. */
async function uninstallPrograms(
  installation: Installation,
  say: (line: string) => void,
): Promise<void> {
  const names = installation.names.toSorted((a, b) =>
    Number(a.includes("/")) - Number(b.includes("/"))
  );
  for (const name of names) {
    say(`${name}: ${TAKEN[await installation.takeAway(name)]}`);
  }
  for (const name of await installation.removeOwnDir()) {
    say(`${name}: left, it is not ours`);
  }
}

/** What the daemon keeps beside the records, by name in its directory. */
const RESULTS_NAME = "results";

async function removeState(
  { stateDir, say }: UninstallOptions,
  left: LeftAttachments,
): Promise<void> {
  if (await lookAt(stateDir) === undefined) return;
  if (left.running + left.failed > 0) {
    say(
      `${stateDir}: left, ${left.running} pods run with networks of Multus and of ${left.failed} not all could be undone: run this again when they are gone`,
    );
    return;
  }
  // What stands in the spool was recorded, and is undone with the records.
  await removeAll(spoolDirIn(stateDir));
  await removeIfEmpty(join(stateDir, RESULTS_NAME));
  const kept = await removeIfEmpty(stateDir);
  say(
    kept.length === 0
      ? `${stateDir}: removed`
      : `${stateDir}: left with ${kept.join(", ")}`,
  );
}

/** The socket of a daemon that is gone, and the name of this boot beside it. */
async function removeSocketDir(
  { socketDir, say }: UninstallOptions,
): Promise<void> {
  await removeIfThere(socketPathIn(socketDir));
  await removeIfThere(join(socketDir, "boot-id"));
  // A mounted directory cannot be removed by who it is mounted for.
  await removeIfEmpty(socketDir).catch(() =>
    say(`${socketDir}: left empty, it is mounted`)
  );
}

async function removeAll(dir: string): Promise<void> {
  if (await lookAt(dir) === undefined) return;
  await Deno.remove(dir, { recursive: true });
}

/** Removes a directory that holds nothing; the names of what it holds. */
async function removeIfEmpty(dir: string): Promise<string[]> {
  if (await lookAt(dir) === undefined) return [];
  const entries = await Array.fromAsync(Deno.readDir(dir));
  if (entries.length === 0) await Deno.remove(dir);
  return entries.map(({ name }) => name).sort();
}
