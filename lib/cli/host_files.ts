/**
 * Files of the host, seen from a container that has the host's root mounted
 * and is granted a few paths below it. What leads to those paths may not be
 * looked at, so only a link in the place of the file itself is followed the
 * host's way; directories on the way are taken to be no absolute links.
 *
 * Needs read of the paths that are asked for, and of where links lead.
 *
 * @module
 */
import { dirname, join, resolve } from "node:path";

/** A file of the host: a link's target, if it was one. */
export interface HostFile {
  /** Where this process sees it. */
  readonly path: string;
  /** What it is. */
  readonly info: Deno.FileInfo;
}

/** As many links as one file may be away from its name. */
const LINKS_MAX = 8;

/**
 * Finds a file of the host by the host's name for it; `undefined` when it is
 * not there, or a link leads nowhere.
 *
 * @throws {Deno.errors.NotCapable} when it, or where a link leads, is not granted.
 */
export async function findHostFile(
  hostRoot: string,
  hostPath: string,
): Promise<HostFile | undefined> {
  let name = hostPath;
  try {
    for (let links = 0; links <= LINKS_MAX; links++) {
      const path = join(hostRoot, name);
      const info = await Deno.lstat(path);
      if (!info.isSymlink) return { path, info };
      name = resolve(dirname(name), await Deno.readLink(path));
    }
    return undefined;
  } catch (error) {
    if (
      error instanceof Deno.errors.NotFound ||
      error instanceof Deno.errors.NotADirectory
    ) return undefined;
    throw error;
  }
}
