/**
 * The first step of `multusctl uninstall`: pods that start from now on get
 * the primary network alone. Only when a configuration of somebody else is
 * there to be used is ours taken away; a node is never left without one
 * unless that is asked for.
 *
 * Needs read and write of the directory of configurations.
 *
 * @module
 */
import { basename, dirname, join } from "node:path";
import { isMultusType } from "../cni/conf.ts";
import type { Candidate } from "../daemon/auto_config_choice.ts";
import { readCandidates } from "../daemon/auto_config_files.ts";
import { syncDir } from "../host/atomic_file.ts";
import { lookAt, removeIfThere } from "./install_file.ts";
import type { Installation } from "./installation.ts";
import { hostName } from "./node_dirs.ts";

/** Without ours the node would have no configuration, and no pod would start. */
export class NoPrimaryError extends Error {
  /** The name of the class. */
  override readonly name = "NoPrimaryError";
}

/** How it is done. */
export interface UninstallConfOptions {
  /** The host's root as this process sees it. */
  readonly hostRoot: string;
  /** Where the container runtime looks for configurations, as this process sees it. */
  readonly confDir: string;
  /** Go on although no other configuration is there. */
  readonly force: boolean;
}

/**
 * Makes the primary configuration the effective one, and says what was done
 * and what stays.
 *
 * @throws {NoPrimaryError} when there is no other configuration and it is not forced; nothing is changed then.
 */
export async function uninstallConf(
  installation: Installation,
  options: UninstallConfOptions,
  say: (line: string) => void,
): Promise<void> {
  await undoRenamings(installation, options, say);
  const { confDir, force } = options;
  const candidates = await readCandidates(confDir);
  const ours = candidates.filter(isOurs);
  const primary = candidates.find(({ fault }) => fault === undefined);
  if (ours.length === 0) {
    say(`No configuration of Multus in ${confDir}`);
    return;
  }
  if (primary === undefined && !force) {
    throw new NoPrimaryError(
      `No CNI configuration but that of Multus in ${confDir}: without it no pod can start on this node (--force does it nonetheless)`,
    );
  }
  for (const { name, path } of ours) {
    if (primary !== undefined && name > primary.name) {
      say(`${name}: left, no runtime uses it after ${primary.name}`);
      continue;
    }
    await removeIfThere(path);
    say(`${name}: removed`);
  }
  await syncDir(confDir);
  say(
    primary === undefined
      ? `No CNI configuration is left in ${confDir}`
      : `${primary.name}: now used for pods that start`,
  );
}

function isOurs({ list }: Candidate): boolean {
  const [plugin] = list?.plugins ?? [];
  return plugin !== undefined && isMultusType(plugin.type);
}

/** The primary's file comes back under its name before ours goes. */
async function undoRenamings(
  installation: Installation,
  options: UninstallConfOptions,
  say: (line: string) => void,
): Promise<void> {
  for (const renaming of installation.renamed) {
    const from = seenPath(renaming.from, options);
    const to = seenPath(renaming.to, options);
    if (await lookAt(to) === undefined) {
      say(`${renaming.to}: gone, and cannot be renamed back`);
    } else if (await lookAt(from) !== undefined) {
      say(`${renaming.to}: left, ${renaming.from} is there again`);
    } else {
      await Deno.rename(to, from);
      say(`${renaming.from}: renamed back`);
    }
    await installation.forgetRenaming(renaming);
  }
}

/** Where this process sees a file of the host. */
function seenPath(
  hostPath: string,
  { hostRoot, confDir }: UninstallConfOptions,
): string {
  return dirname(hostPath) === hostName(confDir, hostRoot)
    ? join(confDir, basename(hostPath))
    : join(hostRoot, hostPath);
}
