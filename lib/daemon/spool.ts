/**
 * The daemon's side of the spool directory: DELs that a shim left because no daemon was there, and those that
 * the daemon itself could not finish. An entry is worked on by moving it aside, so that the same DEL left again
 * meanwhile is a new entry and not lost with the old one; entries that a crash left aside come back. What is no
 * request of ours is put away, not deleted: somebody may want to know. When to work, and how a DEL is done, is
 * left to the callers; how an entry is written stands in `lib/wire/spool_file.ts`.
 *
 * Needs read and write permission for the directory.
 *
 * @module
 */

import {
  type CniRequest,
  decodeRequest,
  REQUEST_BYTES_MAX,
} from "../wire/request.ts";
import {
  formatSpoolName,
  leaveRequest,
  parseSpoolName,
  SPOOL_COUNT_MAX,
  spoolPrefix,
} from "../wire/spool_file.ts";

/** One request that waits. */
export interface SpoolEntry {
  /** Its file name, which is its identity. */
  readonly name: string;
  /** The container's id, or the start of a long one. */
  readonly containerId: string;
  /** When it was left, in ms since 1970. */
  readonly leftMs: number;
}

/** The requests that wait in a directory. */
export interface Spool {
  /** Keeps a request, durable when this returns. */
  leave(request: CniRequest): Promise<void>;
  /** What waits, oldest first; of one container, if its id is given. */
  list(containerId?: string): Promise<SpoolEntry[]>;
  /** Takes an entry to work on it; undefined if somebody else has it, or if it is no DEL, and then it is put away. */
  take(name: string): Promise<CniRequest | undefined>;
  /** Ends the work on an entry: it is done. */
  remove(name: string): Promise<void>;
  /** Ends the work on an entry: it waits again. */
  putBack(name: string): Promise<void>;
  /** Whether an entry that was taken is still to be done: a request of the runtime may have made it void. */
  isTaken(name: string): Promise<boolean>;
  /** Drops all entries of a container, those that are being worked on too: what they ask for is done, or void. */
  forget(containerId: string): Promise<void>;
  /** How many there are, those that are being worked on too. */
  count(): Promise<number>;
  /** Calls `listener` whenever this daemon has left a request, until it is disposed of. */
  onLeave(listener: () => void): Disposable;
}

/** Where entries are while they are worked on. */
const TAKEN = "taken";

/** Where that goes which is no request. */
const JUNK = "junk";

/** Enough to find out what went wrong; more would fill the disk with it. */
const JUNK_COUNT_MAX = 100;

/** A shim writes its file within milliseconds; one that is older was killed, and its file will never be whole. */
const TEMPORARY_AGE_MS_MAX = 10 * 60_000;

/** The spool in this directory, which is made when the first request is left or forgotten. */
export function createSpool(dir: string): Spool {
  // Whatever lies aside before this daemon took anything was taken by one that crashed.
  let recovered: Promise<void> | undefined;
  const recoverOnce = (): Promise<void> => recovered ??= recover(dir);
  let made: Promise<void> | undefined;
  // Each ADD and DEL looks into the directory: into one that is there in half the time. Without it, all works as well.
  const makeOnce = (): Promise<void> =>
    made ??= Deno.mkdir(dir, { recursive: true, mode: 0o700 }).catch(() => {});
  // What lies aside since this daemon runs: nobody else takes anything.
  const taken = new Set<string>();
  const workedOn = new Set<string>();
  /** What cannot be moved away from where it lies aside stays known there. */
  const end = async (
    name: string,
    move: () => Promise<unknown>,
  ): Promise<void> => {
    try {
      await move();
      taken.delete(name);
    } finally {
      workedOn.delete(name);
    }
  };
  const putBack = (name: string): Promise<void> =>
    end(name, () => moveIfThere(`${dir}/${TAKEN}/${name}`, `${dir}/${name}`));
  const listeners = new Set<() => void>();
  const list = async (containerId?: string): Promise<SpoolEntry[]> => {
    await recoverOnce();
    const entries = await listEntries(dir);
    if (containerId === undefined) return entries;
    const prefix = spoolPrefix(containerId);
    return entries.filter((entry) => entry.containerId === prefix);
  };
  return {
    async leave(request): Promise<void> {
      await leaveRequest(dir, request);
      for (const listener of listeners) listener();
    },
    list,
    async take(name): Promise<CniRequest | undefined> {
      await recoverOnce();
      if (workedOn.has(name)) return undefined;
      workedOn.add(name);
      // Before it is: who looks at what is taken must not miss it in between.
      taken.add(name);
      try {
        const request = await takeEntry(dir, name);
        if (request === undefined) await end(name, () => Promise.resolve());
        return request;
      } catch (error) {
        await putBack(name).catch(() => {}); // The first error is the one to tell.
        throw error;
      }
    },
    remove: (name) => end(name, () => removeIfThere(`${dir}/${TAKEN}/${name}`)),
    putBack,
    isTaken: async (name) =>
      await statIfThere(`${dir}/${TAKEN}/${name}`) !== undefined,
    async forget(containerId): Promise<void> {
      // A cut id may be another container's: its entries are worked off, which is harmless.
      if (containerId !== spoolPrefix(containerId)) return;
      await recoverOnce();
      await makeOnce();
      await forgetIn(dir, listNames(dir), containerId);
      // Looked at only now: what was not there any more has been taken by then.
      await forgetIn(`${dir}/${TAKEN}`, [...taken], containerId);
    },
    async count(): Promise<number> {
      await recoverOnce();
      const names = [
        ...listNames(dir),
        ...listNames(`${dir}/${TAKEN}`),
      ];
      return names.filter((name) => parseSpoolName(name) !== undefined).length;
    },
    onLeave(listener): Disposable {
      listeners.add(listener);
      return { [Symbol.dispose]: () => void listeners.delete(listener) };
    },
  };
}

async function forgetIn(
  place: string,
  names: readonly string[],
  containerId: string,
): Promise<void> {
  for (const name of names) {
    if (parseSpoolName(name)?.containerId !== containerId) continue;
    await removeIfThere(`${place}/${name}`);
  }
}

/** What became of a round of work. */
export interface Drained {
  /** How many were done. */
  readonly done: number;
  /** How many failed and wait again. */
  readonly failed: number;
  /** How many were not due yet. */
  readonly waiting: number;
}

/** How a round of work is done. */
export interface DrainOptions {
  /** Ends it early, with the rest waiting. */
  readonly signal: AbortSignal;
  /** Of one container only. */
  readonly containerId?: string;
  /** Whether it is an entry's time; without it, always. */
  readonly isDue?: (name: string) => boolean;
  /** How many are worked on at once; one, if left out. */
  readonly concurrency?: number;
}

/**
 * Works off what waits, oldest first, each entry once: `handle` does the DEL, and throws when it must be tried
 * again later.
 */
export async function drainSpool(
  spool: Spool,
  handle: (request: CniRequest, name: string) => Promise<void>,
  options: DrainOptions,
): Promise<Drained> {
  const { signal, containerId, isDue = (): boolean => true } = options;
  const drained = { done: 0, failed: 0, waiting: 0 };
  const entries = (await spool.list(containerId)).values();
  const work = async (): Promise<void> => {
    for (const { name } of entries) {
      if (signal.aborted) return;
      if (!isDue(name)) drained.waiting++;
      else await drainEntry(spool, { name, handle, drained });
    }
  };
  await Promise.all(Array.from({ length: options.concurrency ?? 1 }, work));
  return drained;
}

async function drainEntry(
  spool: Spool,
  { name, handle, drained }: {
    name: string;
    handle: (request: CniRequest, name: string) => Promise<void>;
    drained: { done: number; failed: number };
  },
): Promise<void> {
  try {
    const request = await spool.take(name);
    if (request === undefined) return;
    await handle(request, name);
    await spool.remove(name);
    drained.done++;
  } catch {
    // Whoever handles it says why; here it only must not be lost.
    await spool.putBack(name);
    drained.failed++;
  }
}

async function recover(dir: string): Promise<void> {
  for (const name of listNames(`${dir}/${TAKEN}`)) {
    await moveIfThere(`${dir}/${TAKEN}/${name}`, `${dir}/${name}`);
  }
}

async function listEntries(dir: string): Promise<SpoolEntry[]> {
  const entries: SpoolEntry[] = [];
  for (const name of listNames(dir)) {
    const path = `${dir}/${name}`;
    const parsed = parseSpoolName(name);
    const info = await statIfThere(path);
    if (info === undefined) continue;
    const leftMs = info.mtime?.getTime() ?? 0;
    if (parsed !== undefined) {
      entries.push({ name, containerId: parsed.containerId, leftMs });
    } else if (/^\.[0-9a-f-]{36}\.tmp$/.test(name)) {
      if (Date.now() - leftMs > TEMPORARY_AGE_MS_MAX) await removeIfThere(path);
    } else await putAway(dir, name);
  }
  return entries.sort((a, b) => a.leftMs - b.leftMs);
}

/**
 * The names in a directory, without our own sub-directories; none when there is no such directory. Bounded, what is
 * beyond comes with the next round. A look into the kernel's own cache, for each ADD and DEL.
 */
function listNames(dir: string): string[] {
  const names: string[] = [];
  try {
    for (const { name } of Deno.readDirSync(dir)) {
      if (name === TAKEN || name === JUNK) continue;
      if (names.push(name) >= SPOOL_COUNT_MAX) break;
    }
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return names;
    throw error;
  }
  return names;
}

async function takeEntry(
  dir: string,
  name: string,
): Promise<CniRequest | undefined> {
  const taken = `${dir}/${TAKEN}/${name}`;
  if (parseSpoolName(name) === undefined) return undefined;
  await Deno.mkdir(`${dir}/${TAKEN}`, { recursive: true, mode: 0o700 });
  if (!await moveIfThere(`${dir}/${name}`, taken)) return undefined;
  const request = await readEntry(taken, name);
  if (request === undefined) await putAway(dir, `${TAKEN}/${name}`);
  return request;
}

async function readEntry(
  path: string,
  name: string,
): Promise<CniRequest | undefined> {
  const info = await Deno.lstat(path);
  if (!info.isFile || info.size > REQUEST_BYTES_MAX) return undefined;
  const text = await Deno.readTextFile(path);
  const request = parseEntry(text);
  const { CNI_COMMAND, CNI_CONTAINERID = "" } = request?.env ?? {};
  const isWhole = await formatSpoolName(CNI_CONTAINERID, text) === name;
  return isWhole && CNI_COMMAND === "DEL" ? request : undefined;
}

function parseEntry(text: string): CniRequest | undefined {
  try {
    return decodeRequest(text);
  } catch {
    return undefined; // no request: it is put away
  }
}

/** Old junk makes room for new. */
async function putAway(dir: string, name: string): Promise<void> {
  const junk = `${dir}/${JUNK}`;
  await Deno.mkdir(junk, { recursive: true, mode: 0o700 });
  const base = name.slice(name.lastIndexOf("/") + 1).slice(0, 200);
  await moveIfThere(`${dir}/${name}`, `${junk}/${Date.now()}-${base}`);
  const kept = listNames(junk).sort();
  for (const old of kept.slice(0, -JUNK_COUNT_MAX)) {
    await Deno.remove(`${junk}/${old}`, { recursive: true });
  }
}

async function statIfThere(path: string): Promise<Deno.FileInfo | undefined> {
  return await ifThere(() => Deno.lstat(path));
}

async function moveIfThere(from: string, to: string): Promise<boolean> {
  const isMoved = await ifThere(async () => {
    await Deno.rename(from, to);
    return true;
  });
  return isMoved ?? false;
}

async function removeIfThere(path: string): Promise<void> {
  await ifThere(() => Deno.remove(path));
}

/** Shims, and this daemon's own requests, change the directory at any moment. */
async function ifThere<T>(act: () => Promise<T>): Promise<T | undefined> {
  try {
    return await act();
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
}
