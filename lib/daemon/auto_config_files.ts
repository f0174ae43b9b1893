/**
 * The files that auto-configuration reads and the one that it writes. What
 * they mean is decided in `auto_config_choice.ts`; nothing is remembered here.
 *
 * Needs read of both directories, and write of the one with our file.
 *
 * @module
 */
import { basename, dirname, join, resolve } from "node:path";
import { listConfFiles, loadConfFile } from "../cni/conf_dir.ts";
import { CniError, ErrorCode } from "../cni/error.ts";
import {
  syncDir,
  TEMPORARY_PREFIX,
  writeFileAtomic,
} from "../host/atomic_file.ts";
import { type Candidate, toCandidate } from "./auto_config_choice.ts";

/** Our file as it lies there. */
export interface OwnFile {
  /** Empty for what is not a regular file, or far too large to be ours. */
  readonly text: string;
  /** The permission bits. */
  readonly mode: number;
  /** By which it is known again under another name. */
  readonly inode: number | null;
  /** In milliseconds since 1970. */
  readonly modifiedAt: number;
}

/** Only root reads it, as the Go Multus writes it. */
export const OWN_FILE_MODE = 0o600;

/** Ten times what the largest configuration takes. */
const BYTES_MAX = 1024 * 1024;

const TEMPORARY_NAMES = new RegExp(
  `${TEMPORARY_PREFIX.replaceAll(".", "\\.")}[0-9a-f-]{36}`,
  "g",
);

/** No write takes as long: what is older was left by a crash. */
const LEFTOVER_AGE_MS = 60_000;

/**
 * Reads the configurations of a directory; `pinned` is read whatever its extension.
 *
 * @throws {CniError} If the directory cannot be read.
 */
export async function readCandidates(
  dir: string,
  pinned?: string,
): Promise<Candidate[]> {
  const paths = await listConfFiles(dir);
  if (pinned !== undefined && basename(pinned) === pinned) {
    const path = resolve(dir, pinned);
    if (!paths.includes(path) && await isFile(path)) paths.push(path);
  }
  return await Promise.all(paths.map(readCandidate));
}

/** Reads our file; undefined if there is none. Errors are Deno's own. */
export async function readOwnFile(path: string): Promise<OwnFile | undefined> {
  try {
    const { isFile, size, mode, ino, mtime } = await Deno.lstat(path);
    const isReadable = isFile && size <= BYTES_MAX;
    return {
      text: isReadable ? await Deno.readTextFile(path) : "",
      mode: (mode ?? 0) & 0o777,
      inode: ino,
      modifiedAt: mtime?.getTime() ?? 0,
    };
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
}

/**
 * Reads the file that is to be copied.
 *
 * @throws {CniError} If it cannot be read.
 */
export async function readSource(path: string): Promise<string> {
  try {
    const { isFile, size } = await Deno.stat(path);
    if (!isFile) throw new TypeError("Not a regular file");
    if (size > BYTES_MAX) {
      throw new RangeError(`Larger than ${BYTES_MAX} bytes: ${size}`);
    }
    return await Deno.readTextFile(path);
  } catch (cause) {
    throw new CniError(
      ErrorCode.ioFailure,
      `Cannot read ${path}: ${reasonOf(cause)}`,
      { cause },
    );
  }
}

/** Puts our file in its place, whole or not at all. Errors are Deno's own. */
export async function writeOwnFile(
  path: string,
  text: string,
): Promise<OwnFile | undefined> {
  await writeFileAtomic(path, text, { mode: OWN_FILE_MODE });
  return await readOwnFile(path);
}

/** Takes our file away; one that is gone already is no error. */
export async function removeOwnFile(path: string): Promise<void> {
  try {
    await Deno.remove(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return;
    throw error;
  }
  await syncDir(dirname(path));
}

/** The name under which a file that was ours lies in its directory now. */
export async function findRenamed(
  path: string,
  inode: number | null,
): Promise<string | undefined> {
  if (inode === null) return undefined;
  const dir = dirname(path);
  for await (const { name, isFile } of Deno.readDir(dir)) {
    if (!isFile || name === basename(path)) continue;
    const info = await Deno.lstat(join(dir, name)).catch(() => undefined); // gone meanwhile
    if (info?.ino === inode) return name;
  }
  return undefined;
}

/** Removes unfinished files that a crash left in the directory; best effort, since they do no harm. */
export async function removeLeftovers(dir: string): Promise<void> {
  try {
    for await (const { name, isFile } of Deno.readDir(dir)) {
      if (!isFile || !name.startsWith(TEMPORARY_PREFIX)) continue;
      const path = join(dir, name);
      const { mtime } = await Deno.lstat(path);
      const age = Date.now() - (mtime?.getTime() ?? 0);
      if (age > LEFTOVER_AGE_MS) await Deno.remove(path);
    }
  } catch {
    return; // whoever writes there next will say what is wrong
  }
}

/**
 * What an error says, without what the system adds for programmers, and the
 * same each time: names of unfinished files are not.
 */
export function reasonOf(error: unknown): string {
  const message = error instanceof Error ? error.message : String(error);
  return message.replace(/ \(os error \d+\).*$/s, "")
    .replace(TEMPORARY_NAMES, `${TEMPORARY_PREFIX}…`);
}

async function readCandidate(path: string): Promise<Candidate> {
  const file = { name: basename(path), path };
  try {
    return toCandidate(file, await loadConfFile(path));
  } catch (error) {
    if (!(error instanceof CniError)) throw error;
    return { ...file, fault: error.message.replace(` (in ${path})`, "") };
  }
}

async function isFile(path: string): Promise<boolean> {
  const info = await Deno.stat(path).catch(() => undefined);
  return info?.isFile === true;
}
