/**
 * CNI files as a source of networks: the one place of this room that reads the
 * file system.
 *
 * @module
 */

import { loadConfAt, loadConfByName } from "../cni/conf_dir.ts";
import type { NetworkSources } from "./resolve_network.ts";

/** The part of the sources that lies in files; `confDir` is where networks are looked up by name. Needs read permission. */
export function createConfSources(
  confDir: string,
): Omit<NetworkSources, "attachment"> {
  return {
    confByName: (name) => loadConfByName(confDir, name),
    confAt: (path) => loadConfAt(path),
    isDirectory,
  };
}

function isDirectory(path: string): boolean {
  try {
    return Deno.statSync(path).isDirectory;
  } catch {
    return false; // whoever opens it will say what is wrong with it
  }
}
