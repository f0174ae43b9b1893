/**
 * Programs put in place on a node while others may be executing them: a new
 * file beside the old one, synced, renamed over it. Who runs the old one keeps
 * it; after a power cut there is the old one or the new one, never a part.
 * What is put where, and what becomes of what was there, is decided in
 * `installation.ts`.
 *
 * Needs read and write of the directories.
 *
 * @module
 */
import { createHash } from "node:crypto";
import { dirname, join } from "node:path";
import { syncDir, TEMPORARY_PREFIX } from "../host/atomic_file.ts";

/** What a file is to hold: what stands in another file, or bytes. */
export type Content =
  | { readonly path: string }
  | { readonly bytes: Uint8Array };

/** Large enough that a copy of 100 MB takes no thousand system calls, small beside a process. */
const CHUNK_BYTES = 256 * 1024;

/** SHA-256 of what a file is to hold, in hexadecimal. */
export async function checksumOf(content: Content): Promise<string> {
  const hash = createHash("sha256");
  for await (const chunk of chunksOf(content)) hash.update(chunk);
  return hash.digest("hex");
}

/** SHA-256 of a regular file; `undefined` for what is none, or is not there. */
export async function checksumAt(path: string): Promise<string | undefined> {
  const info = await lookAt(path);
  return info?.isFile === true ? await checksumOf({ path }) : undefined;
}

/** What stands at a path, a link itself and not what it leads to; `undefined` when nothing does. */
export async function lookAt(path: string): Promise<Deno.FileInfo | undefined> {
  try {
    return await Deno.lstat(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
}

/**
 * Writes a file whole: a temporary one in the same directory, fsync, rename,
 * fsync of the directory.
 *
 * @throws {Error} Deno's own errors; what was there is then untouched.
 */
export async function putFile(
  content: Content,
  target: string,
  { mode }: { readonly mode: number },
): Promise<void> {
  await replace(target, async (temporary) => {
    using file = await Deno.open(temporary, {
      write: true,
      createNew: true,
      mode: 0o600,
    });
    for await (const chunk of chunksOf(content)) await writeAll(file, chunk);
    await Deno.chmod(temporary, mode); // The umask may have taken bits away.
    await file.sync();
  });
}

/**
 * Gives what stands at `existing` (a link itself, not what it leads to) a
 * second name in the same file system, in the place of what has that name.
 *
 * @throws {Error} Deno's own errors; what was there is then untouched.
 */
export async function putSecondName(
  existing: string,
  target: string,
): Promise<void> {
  await replace(target, (temporary) => Deno.link(existing, temporary));
}

/**
 * Moves what stands at `from` over what stands at `to`, in the same file
 * system.
 *
 * @throws {Error} Deno's own errors.
 */
export async function moveOver(from: string, to: string): Promise<void> {
  await Deno.rename(from, to);
  // Of two names for one file the system leaves both.
  await removeIfThere(from);
  await syncDir(dirname(to));
}

/** Removes what crashes left half-written in a directory; for who is alone in writing there. */
export async function removeUnfinished(dir: string): Promise<void> {
  for await (const { name } of Deno.readDir(dir)) {
    if (isUnfinished(name)) await removeIfThere(join(dir, name));
  }
}

/** Removes a file; one that is not there is no error. */
export async function removeIfThere(path: string): Promise<void> {
  try {
    await Deno.remove(path);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}

function isUnfinished(name: string): boolean {
  return name.startsWith(TEMPORARY_PREFIX) &&
    /^[0-9a-f-]{36}$/.test(name.slice(TEMPORARY_PREFIX.length));
}

async function replace(
  target: string,
  make: (temporary: string) => Promise<void>,
): Promise<void> {
  const dir = dirname(target);
  const temporary = join(dir, `${TEMPORARY_PREFIX}${crypto.randomUUID()}`);
  try {
    await make(temporary);
    await moveOver(temporary, target);
  } catch (error) {
    await removeIfThere(temporary);
    throw error;
  }
}

async function* chunksOf(content: Content): AsyncGenerator<Uint8Array> {
  if ("bytes" in content) return yield content.bytes;
  using file = await Deno.open(content.path, { read: true });
  const buffer = new Uint8Array(CHUNK_BYTES);
  for (;;) {
    const count = await file.read(buffer);
    if (count === null) return;
    yield buffer.subarray(0, count);
  }
}

async function writeAll(file: Deno.FsFile, bytes: Uint8Array): Promise<void> {
  for (let at = 0; at < bytes.length;) {
    at += await file.write(bytes.subarray(at));
  }
}
