/**
 * Whether the plugins of a network are installed, as the daemon would find
 * them: inside the host's root where there is one. Nothing is run.
 *
 * Needs: read of the CNI directories.
 */
import { join } from "node:path";
import { findPlugin, isExecutableFile } from "../cni/exec.ts";
import type { NetConfList } from "../cni/conf.ts";
import { getMember } from "../cni/json_text.ts";
import type { Profile } from "../grants.ts";
import { createHostRootExec } from "../host/host_root_exec.ts";
import { PASSTHRU_TYPE } from "../selection/auxiliary_chain.ts";

/** Finds a plugin by its type. */
export interface PluginFinder {
  /** The directories that are searched, as the host names them. */
  readonly dirs: readonly string[];
  /**
   * Its file as the host names it; undefined for what the daemon does itself.
   *
   * @throws {CniError} 7 when it is not installed.
   */
  find(type: string): Promise<string | undefined>;
}

/** Looks in the directories of a profile. */
export function createPluginFinder(profile: Profile): PluginFinder {
  const { hostRoot, cniBinDirs: dirs, libexecDir } = profile;
  const find = hostRoot === undefined
    ? (type: string) => findPlugin(type, { dirs, isExecutable })
    : (type: string) =>
      createHostRootExec({
        hostRoot,
        delegateExec: join(libexecDir, "delegate-exec"),
      }).findInPath(type, dirs);
  return {
    dirs,
    find: async (type) => type === PASSTHRU_TYPE ? undefined : await find(type),
  };
}

/** A plugin that cannot be looked at is not there for the daemon either. */
async function isExecutable(path: string): Promise<boolean> {
  try {
    return isExecutableFile(await Deno.stat(path));
  } catch {
    return false;
  }
}

/** The types of all plugins that a network runs, those of its IPAM too. */
export function pluginTypesOf(list: NetConfList): string[] {
  const types = list.plugins.flatMap(({ type, text }) => {
    const ipam = ipamTypeOf(text);
    return ipam === undefined ? [type] : [type, ipam];
  });
  return [...new Set(types)];
}

function ipamTypeOf(pluginText: string): string | undefined {
  const ipam: unknown = JSON.parse(getMember(pluginText, "ipam") ?? "null");
  if (typeof ipam !== "object" || ipam === null) return undefined;
  const { type } = ipam as { type?: unknown };
  return typeof type === "string" && type !== "" ? type : undefined;
}
