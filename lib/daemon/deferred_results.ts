/**
 * Results are written behind the answer: an ADD does not need libcni's files of what it came to, only
 * the CHECK, DEL and GC that follow do, and a Go Multus that takes the node over. So a result waits in
 * memory for a moment: by then the answer is sent, or a plugin runs that takes its time. (Written while
 * a quick one ran, it kept the daemon from hearing that the plugin had exited, 0.5 ms for each network.)
 * Everybody who asks this process meanwhile gets it from memory.
 *
 * Nothing is lost by that: the same result stands in the attachment record before the answer. A daemon
 * that was killed in between leaves a record that says "done" and no file, and the next one writes the
 * file from the record before it serves.
 *
 * It leaves alone what has a file already: that is replaced at once, because a file that is older than
 * its record would be taken for the truth after a crash, and one that is missing is not. It leaves alone
 * the files themselves, too (`lib/cni/result_cache.ts`, which has done its work when a call returns,
 * before the promise is settled: so a flush is never half-way when somebody removes a result), and
 * records of the Go daemon, which hold no results.
 *
 * Needs what the cache beneath needs.
 *
 * @module
 */
import { parseConf } from "../cni/conf.ts";
import { toCached } from "../cni/list.ts";
import {
  assertKeepable,
  type AttachmentKey,
  type CachedAttachment,
  type CachedAttachments,
  type CacheFilter,
  isWanted,
  type ResultCache,
} from "../cni/result_cache.ts";
import type { Log } from "../log.ts";
import { argsOf } from "./attachments.ts";
import type { AttachmentRecord } from "./record_format.ts";
import type { Records } from "./records.ts";

/** A cache that writes behind the answer. */
export interface DeferredResults extends ResultCache {
  /** Writes what waits; what cannot be written is told, and waits for the next time. Never fails. */
  flush(): Promise<void>;
}

/** Until what waits is written: longer than an ADD of plugins that do nothing takes. */
const WAIT_MS = 20;

/** Results of one directory that cannot be written: more are not kept for a disk that may never have room again. */
const REFUSED_MAX = 256;

/** A result that waits to be written. */
interface Pending {
  readonly attachment: CachedAttachment;
  /** It could not be written when it was its turn. */
  readonly isRefused: boolean;
}

/** Puts `cache` behind the answers; nobody else in this process may write to its directory. */
export function createDeferredResults(
  cache: ResultCache,
  log: Log,
): DeferredResults {
  return new DeferredResultCache(cache, log);
}

class DeferredResultCache implements DeferredResults {
  readonly #cache: ResultCache;
  readonly #log: Log;
  readonly #pending = new Map<string, Pending>();
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(cache: ResultCache, log: Log) {
    this.#cache = cache;
    this.#log = log;
  }

  async read(key: AttachmentKey): Promise<CachedAttachment | undefined> {
    return this.#pending.get(idOf(key))?.attachment ??
      await this.#cache.read(key);
  }

  async write(attachment: CachedAttachment): Promise<void> {
    assertKeepable(attachment);
    this.#pending.delete(idOf(attachment));
    if (this.#isOnDisk(attachment, { ifUnknown: false })) {
      await this.#cache.write(attachment);
    } else this.#defer({ attachment, isRefused: false });
  }

  async remove(key: AttachmentKey): Promise<void> {
    const pending = this.#pending.get(idOf(key));
    this.#pending.delete(idOf(key));
    const isNew = pending !== undefined && !pending.isRefused;
    if (isNew && !this.#isOnDisk(key, { ifUnknown: true })) return;
    try {
      await this.#cache.remove(key);
    } catch (error) {
      // It is still wanted: by the next DEL.
      if (pending !== undefined) this.#defer(pending);
      throw error;
    }
  }

  mayHold(containerId: string): boolean {
    return this.#pending.values().some(({ attachment }) =>
      attachment.containerId === containerId
    ) || this.#cache.mayHold(containerId);
  }

  has(key: AttachmentKey): boolean {
    return this.#pending.has(idOf(key)) || this.#cache.has(key);
  }

  async tidy(): Promise<void> {
    await this.#cache.tidy();
  }

  async list(options: CacheFilter = {}): Promise<CachedAttachments> {
    await this.flush();
    const { attachments, unreadable } = await this.#cache.list(options);
    const written = attachments.filter((one) => !this.#pending.has(idOf(one)));
    const refused = this.#pending.values().map(({ attachment }) => attachment)
      .filter((one) => isWanted(one, options));
    return { attachments: [...written, ...refused], unreadable };
  }

  async clear(containerId: string): Promise<void> {
    for (const [id, { attachment }] of this.#pending) {
      if (attachment.containerId === containerId) this.#pending.delete(id);
    }
    await this.#cache.clear(containerId);
  }

  async flush(): Promise<void> {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    // New ones first; of the others only as many as the disk takes again.
    const inTurn = [...this.#pending].sort(([, a], [, b]) =>
      Number(a.isRefused) - Number(b.isRefused)
    );
    let isRefusing = false;
    for (const [id, pending] of inTurn) {
      if (isRefusing && pending.isRefused) return;
      // Written anew or removed meanwhile.
      if (this.#pending.get(id) !== pending) continue;
      if (!await this.#write(id, pending)) isRefusing = true;
    }
  }

  /** In a moment, which several ADDs share. */
  #defer(pending: Pending): void {
    this.#pending.set(idOf(pending.attachment), pending);
    this.#timer ??= setTimeout(() => this.flush(), WAIT_MS);
  }

  /** Whether it is written now. */
  async #write(id: string, pending: Pending): Promise<boolean> {
    try {
      await this.#cache.write(pending.attachment);
      if (this.#pending.get(id) === pending) this.#pending.delete(id);
      return true;
    } catch (error) {
      if (this.#pending.get(id) === pending) this.#refuse(id, pending, error);
      return false;
    }
  }

  /** Keeps it, behind the others that were refused, so that each has its turn. */
  #refuse(id: string, pending: Pending, error: unknown): void {
    const { attachment, isRefused } = pending;
    this.#pending.delete(id);
    this.#pending.set(id, { attachment, isRefused: true });
    if (isRefused) return;
    this.#log.error(
      `A result stays in memory, because it cannot be written: ${
        reasonOf(error)
      }`,
      fieldsOf(attachment),
    );
    this.#dropOldest();
  }

  #dropOldest(): void {
    const refused = [...this.#pending].filter(([, { isRefused }]) => isRefused);
    for (const [id, { attachment }] of refused.slice(0, -REFUSED_MAX)) {
      this.#pending.delete(id);
      this.#log.error(
        "A result is given up: there are too many that cannot be written",
        fieldsOf(attachment),
      );
    }
  }

  /** What is wrong with a directory that cannot be looked into is told by who writes there or removes. */
  #isOnDisk(
    key: AttachmentKey,
    { ifUnknown }: { readonly ifUnknown: boolean },
  ): boolean {
    try {
      return this.#cache.has(key);
    } catch {
      return ifUnknown;
    }
  }
}

function idOf({ networkName, containerId, ifname }: AttachmentKey): string {
  return JSON.stringify([networkName, containerId, ifname]);
}

function fieldsOf(
  { networkName, containerId, ifname }: AttachmentKey,
): { network: string; container: string; interface: string } {
  return { network: networkName, container: containerId, interface: ifname };
}

/** What results are written again from. */
export interface RestoreOptions {
  /** The records, loaded. */
  readonly records: Records;
  /** This boot of the machine: of another one's attachments nothing is left that a result could be about. */
  readonly bootId: string;
  /** Hears of what was done, and of what could not be. */
  readonly log: Log;
}

/**
 * Writes the results that a killed daemon left in its records only. For the daemon's start, before it
 * serves: a DEL that is under way looks the same. What goes wrong is told and keeps nobody from starting.
 */
export async function restoreResults(
  cache: DeferredResults,
  options: RestoreOptions,
): Promise<void> {
  const { records, log } = options;
  try {
    let restored = 0;
    for (const containerId of containersWithout(cache, records)) {
      restored += await restoreContainer(cache, containerId, options);
    }
    await cache.flush();
    if (restored === 0) return;
    log.verbose("Results are written again from the records", { restored });
  } catch (error) {
    log.error(`Cannot find out which results are missing: ${reasonOf(error)}`);
  }
}

/** How many were missing. */
async function restoreContainer(
  cache: DeferredResults,
  containerId: string,
  { records, bootId, log }: RestoreOptions,
): Promise<number> {
  try {
    const record = await records.read(containerId);
    if (record?.origin !== "own" || record.bootId !== bootId) return 0;
    const missing = missingOf(cache, record);
    for (const result of missing) await cache.write(result);
    return missing.length;
  } catch (error) {
    log.error(`Cannot write results again: ${reasonOf(error)}`, {
      container: containerId,
    });
    return 0;
  }
}

/** The containers with an attachment whose result has no file; by what is in memory, so that no record is read for nothing. */
function containersWithout(cache: ResultCache, records: Records): string[] {
  return [...records.summaries()].filter(([containerId, { attachments }]) =>
    attachments.some(({ state, network: networkName, ifname }) =>
      state === "done" && !cache.has({ networkName, containerId, ifname })
    )
  ).map(([containerId]) => containerId);
}

/** As the ADD kept them. */
function missingOf(
  cache: ResultCache,
  record: AttachmentRecord,
): CachedAttachment[] {
  const { containerId, netns = "", attachments } = record;
  const container = { containerId, netns, cniArgs: [] };
  return attachments.flatMap((attachment) => {
    const { state, result, config } = attachment;
    if (state !== "done" || result === undefined) return [];
    const kept = toCached(
      parseConf(config),
      argsOf(container, attachment),
      result,
    );
    return cache.has(kept) ? [] : [kept];
  });
}

function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
