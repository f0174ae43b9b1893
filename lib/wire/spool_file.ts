/**
 * The files in which a DEL is left when no daemon can take it. One file is one request, named after its
 * container and the hash of its content, so that the same DEL sent again is the same file; it appears whole or
 * not at all. The shim writes here, the daemon works it off (`lib/daemon/spool.ts`).
 *
 * No lock is needed: the shim writes the file and then tries the socket once more; the daemon listens and then
 * reads the directory. Whichever comes first, one of the two sees the other, and a DEL done twice is harmless.
 *
 * Needs read and write permission for the directory.
 *
 * @module
 */

import {
  type CniRequest,
  encodeRequest,
  REQUEST_BYTES_MAX,
  TRACE_NAMES,
} from "./request.ts";

/** Most files kept: some runs of the kubelet's 110 pods a node, far below what a directory listing minds. */
export const SPOOL_COUNT_MAX = 2000;

/** Most bytes kept: 2000 configurations of 30 kB; a filled disk would harm the node more than a leaked address. */
export const SPOOL_BYTES_MAX = 64 * 1024 * 1024;

/** What an entry's name is made of. */
export interface SpoolName {
  /** The container's id, or the start of a long one. */
  readonly containerId: string;
  /** Of the content, 32 hexadecimal digits. */
  readonly hash: string;
}

const NAME = /^([A-Za-z0-9][A-Za-z0-9_.-]*)@([0-9a-f]{32})\.json$/;

/** File names end at 255 bytes; container ids have 64. A longer one is cut, the hash still tells them apart. */
const CONTAINER_ID_SHOWN_MAX = 128;

/** The parts of an entry's file name; undefined if it is not one. */
export function parseSpoolName(name: string): SpoolName | undefined {
  const [, containerId, hash] = NAME.exec(name) ?? [];
  return containerId === undefined || hash === undefined
    ? undefined
    : { containerId, hash };
}

/** The container part of the names of a container's entries. */
export function spoolPrefix(containerId: string): string {
  return containerId.slice(0, CONTAINER_ID_SHOWN_MAX);
}

/** The name for a file with this content. */
export async function formatSpoolName(
  containerId: string,
  text: string,
): Promise<string> {
  const digest = await crypto.subtle.digest(
    "SHA-256",
    new TextEncoder().encode(text),
  );
  return `${spoolPrefix(containerId)}@${
    new Uint8Array(digest, 0, 16).toHex()
  }.json`;
}

/**
 * Leaves a request in the spool directory, durable when this returns. The directory is made if missing. The
 * trace is left out: it will be over, and would make each repetition another file.
 *
 * @returns the path of its file
 * @throws {RangeError} If the request is too large or the directory is full
 * @throws whatever the file system says
 */
export async function leaveRequest(
  dir: string,
  request: CniRequest,
): Promise<string> {
  const text = encodeRequest({ ...request, env: withoutTrace(request.env) });
  const size = new TextEncoder().encode(text).length;
  if (size > REQUEST_BYTES_MAX) {
    throw new RangeError(`Request is too large to be kept: ${size} bytes`);
  }
  await Deno.mkdir(dir, { recursive: true, mode: 0o700 });
  const path = `${dir}/${await formatSpoolName(
    request.env.CNI_CONTAINERID ?? "",
    text,
  )}`;
  if (!await exists(path)) {
    await assertRoom(dir, size);
    await writeWhole(path, text);
  }
  await syncDir(dir);
  return path;
}

/** Takes a request back after the daemon has answered it; one that the daemon took first is no error. */
export async function withdrawRequest(path: string): Promise<void> {
  try {
    await Deno.remove(path);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}

function withoutTrace(
  env: Readonly<Record<string, string>>,
): Record<string, string> {
  const traceNames: readonly string[] = TRACE_NAMES;
  return Object.fromEntries(
    Object.entries(env).filter(([name]) => !traceNames.includes(name)),
  );
}

async function exists(path: string): Promise<boolean> {
  try {
    return (await Deno.lstat(path)).isFile;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

/** Shims that come here at once may together pass the limits by a few; they bound a disk, not a protocol. */
async function assertRoom(dir: string, size: number): Promise<void> {
  let count = 1;
  let bytes = size;
  for await (const entry of Deno.readDir(dir)) {
    if (!entry.isFile) continue;
    count++;
    bytes += await sizeOf(`${dir}/${entry.name}`);
    if (count > SPOOL_COUNT_MAX || bytes > SPOOL_BYTES_MAX) {
      throw new RangeError(
        "It is full of DELs that wait for the daemon of this node: it works them off as soon as it runs",
      );
    }
  }
}

async function sizeOf(path: string): Promise<number> {
  try {
    return (await Deno.lstat(path)).size;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return 0;
    throw error;
  }
}

async function writeWhole(path: string, text: string): Promise<void> {
  const temporary = `${
    path.slice(0, path.lastIndexOf("/"))
  }/.${crypto.randomUUID()}.tmp`;
  try {
    using file = await Deno.open(temporary, {
      write: true,
      createNew: true,
      mode: 0o600,
    });
    const bytes = new TextEncoder().encode(text);
    for (let at = 0; at < bytes.length;) {
      at += await file.write(bytes.subarray(at));
    }
    await file.sync();
    await Deno.rename(temporary, path);
  } catch (error) {
    await withdrawRequest(temporary);
    throw error;
  }
}

async function syncDir(dir: string): Promise<void> {
  const opened = await Deno.open(dir, { read: true });
  try {
    await opened.sync();
  } finally {
    opened.close();
  }
}
