/**
 * The auxiliary chain (`auxiliaryCNIChainName`): one more network for every
 * pod, whose plugins are dropped into a directory beside the default network's
 * configuration. Without a plugin there it does not exist.
 *
 * @module
 */

import { dirname, join } from "node:path";
import { assertNetworkName } from "../cni/args.ts";
import type { NetConfList } from "../cni/conf.ts";
import { appendPlugins, parseConfList } from "../cni/conf.ts";
import { loadChainPlugins } from "../cni/conf_dir.ts";
import { CniError } from "../cni/error.ts";
import type { JsonText } from "../cni/json_text.ts";
import { compareVersions } from "../cni/version.ts";

/** Results of earlier versions cannot be without an address, and `passthru` begins with none. */
const FIRST_VERSION = "0.3.0";

/** The plugin that hands on what it gets, so that those behind it have a previous result. */
export const PASSTHRU_TYPE = "passthru";

/** Where the chain's plugins lie, and what it speaks. */
export interface AuxiliaryChainOptions {
  /** The directory that holds the one with the chain's name. */
  readonly parentDir: string;
  /** The version of the default network. */
  readonly cniVersion: string;
}

/**
 * The directory that auxiliary chains lie in: that of the default network's
 * file, or the directory that it is chosen from; `confDir` where it is no path.
 */
export function auxiliaryParentDir(
  clusterNetwork: string | undefined,
  options: { confDir: string; isDirectory: boolean },
): string {
  if (clusterNetwork === undefined || !clusterNetwork.startsWith("/")) {
    return options.confDir;
  }
  return options.isDirectory ? clusterNetwork : dirname(clusterNetwork);
}

/**
 * Reads the chain of a name; undefined when its directory holds no plugin. Needs read of the directory.
 *
 * @throws {CniError} If the name cannot be a network's, or a file is not a plugin's configuration.
 */
export async function loadAuxiliaryChain(
  name: string,
  { parentDir, cniVersion }: AuxiliaryChainOptions,
): Promise<NetConfList | undefined> {
  try {
    // Before it becomes a part of a path: a name leads nowhere else.
    assertNetworkName(name);
    const plugins = await loadChainPlugins(join(parentDir, name));
    return plugins.length === 0
      ? undefined
      : appendPlugins(beginChain(name, cniVersion), plugins);
  } catch (error) {
    if (!(error instanceof CniError)) throw error;
    const { code, message, details } = error;
    throw new CniError(code, `auxiliaryCNIChainName: ${message}`, {
      details,
      cause: error,
    });
  }
}

function beginChain(name: string, cniVersion: string): NetConfList {
  const text: JsonText = JSON.stringify({
    cniVersion: compareVersions(cniVersion, FIRST_VERSION) < 0
      ? FIRST_VERSION
      : cniVersion,
    name,
    plugins: [{ type: PASSTHRU_TYPE }],
  });
  return parseConfList(text);
}
