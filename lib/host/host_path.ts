/**
 * Paths as the host means them, found from inside a pod where the host's root is a directory: every
 * link, absolute ones too, leads on inside that directory, as if after a chroot. `/var/run` of most
 * hosts is an absolute link, and on k3s so is each plugin. It leaves alone whether anything is there:
 * a part that does not exist is taken as it stands.
 *
 * @module
 */

/** As many links as Linux itself follows in one path. */
const LINKS_MAX = 40;
/** Deno looks at what is in there only with all permissions, and links there (`/proc/1/ns/net`) are no paths. */
const KERNEL_PATH = /^\/(?:proc|sys|dev)(?:\/|$)/;

/**
 * The place of a host's path in this process' own root, with no link left in it. Nothing that stands
 * in the host's root, no number of `..` either, leads out of it.
 *
 * Needs `--allow-read` for each part of the path below the root, and for where its links lead.
 *
 * @throws {TypeError} one of the paths is not absolute
 * @throws {Deno.errors.FilesystemLoop} too many links
 * @throws {Deno.errors.NotCapable} a part is not granted
 */
export async function resolveInRoot(
  hostRoot: string,
  path: string,
): Promise<string> {
  const root = hostRoot.replace(/\/+$/, "");
  assertAbsolute(root || "/");
  assertAbsolute(path);
  const todo = path.split("/").reverse();
  let done = "";
  let links = 0;
  for (let name = todo.pop(); name !== undefined; name = todo.pop()) {
    if (name === "" || name === ".") continue;
    if (name === "..") {
      done = done.slice(0, Math.max(0, done.lastIndexOf("/")));
      continue;
    }
    const target = await readLink(root, `${done}/${name}`);
    if (target === undefined) {
      done = `${done}/${name}`;
      continue;
    }
    if (++links > LINKS_MAX) {
      throw new Deno.errors.FilesystemLoop(`Too many symbolic links: ${path}`);
    }
    if (target.startsWith("/")) done = "";
    todo.push(...target.split("/").reverse());
  }
  return `${root}${done}` || "/";
}

/** Undefined for what is no link, or is not there. */
async function readLink(
  root: string,
  path: string,
): Promise<string | undefined> {
  if (KERNEL_PATH.test(path)) return undefined;
  try {
    const info = await Deno.lstat(root + path);
    return info.isSymlink ? await Deno.readLink(root + path) : undefined;
  } catch (error) {
    if (
      error instanceof Deno.errors.NotFound ||
      error instanceof Deno.errors.NotADirectory
    ) {
      return undefined;
    }
    throw error;
  }
}

function assertAbsolute(path: string): void {
  if (!path.startsWith("/")) {
    throw new TypeError(`Not an absolute path: ${JSON.stringify(path)}`);
  }
}
