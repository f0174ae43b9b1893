/**
 * Writes the network status of pods off the path of ADD: what is handed in is
 * written sooner or later, tried again with a back-off until it is there or the pod
 * is gone. Of several for one pod only the newest counts. It keeps nothing on disk;
 * after a restart the daemon hands in again what its records say.
 *
 * @module
 */
import { backOffMs, type BackOffRange, pause, until } from "./waiting.ts";
import { ApiStatusError } from "./error.ts";
import { objectKey } from "./objects.ts";

/** Whose status it is. The UID is the one that the API knows. */
export interface StatusTarget {
  /** The pod's namespace. */
  readonly namespace: string;
  /** The pod's name. */
  readonly name: string;
  /** The UID that the API knows it by. */
  readonly uid: string;
}

/** What became of a status, for logs and metrics. */
export interface StatusEvent {
  /** Whose status it was. */
  readonly pod: StatusTarget;
  /** "failed" will be tried again; "refused" and "dropped" will not. */
  readonly outcome: "written" | "gone" | "failed" | "refused" | "dropped";
  /** Why it failed. */
  readonly error?: unknown;
}

/** How statuses are written. */
export interface StatusWriterOptions {
  /** One attempt; `Cluster.patchNetworkStatus`. */
  readonly write: (
    pod: StatusTarget,
    statusJson: string,
    options: { signal: AbortSignal },
  ) => Promise<"written" | "gone">;
  /** Told of every attempt. */
  readonly onEvent?: (event: StatusEvent) => void;
  /** Writes under way at once. */
  readonly concurrency?: number;
  /** Pods that wait at most; beyond them the one that waits longest is dropped. */
  readonly podsMax?: number;
  /** Waits between attempts, other than the usual. */
  readonly backOff?: BackOffRange;
}

/** The queue. */
export interface StatusWriter extends AsyncDisposable {
  /** Takes a status and returns at once. */
  enqueue(pod: StatusTarget, statusJson: string): void;
  /** Forgets what waits for a pod: it is being deleted. */
  forget(pod: { namespace: string; name: string }): void;
  /** Pods whose status is not written yet. */
  pending(): number;
  /** Waits until nothing is pending. @throws the signal's reason */
  drain(signal: AbortSignal): Promise<void>;
}

/** A few, so that a slow answer does not hold up the others and a burst stays gentle. */
const CONCURRENCY = 4;
/** More pods than any node has. */
const PODS_MAX = 2_000;
/** One second is as good as at once for who reads a status; a minute after an outage is soon enough. */
const BACK_OFF: BackOffRange = { minMs: 500, maxMs: 60_000 };
/** The server said that it will never take this. */
const REFUSED = [400, 413, 422];

/** Starts an empty queue. */
export function createStatusWriter(
  options: StatusWriterOptions,
): StatusWriter {
  return new Queue(options);
}

interface Entry {
  readonly pod: StatusTarget;
  readonly cancelled: AbortController;
  statusJson: string;
  failures: number;
  state: "waiting" | "writing" | "resting";
  /** Something newer came while it was being written. */
  again: boolean;
}

class Queue implements StatusWriter {
  readonly #options: StatusWriterOptions;
  readonly #entries = new Map<string, Entry>();
  /** Writes and rests under way, to be waited for at the end. */
  readonly #running = new Set<Promise<void>>();
  #empty = Promise.withResolvers<void>();
  #writing = 0;
  #stopped = false;

  constructor(options: StatusWriterOptions) {
    this.#options = options;
    this.#empty.resolve();
  }

  enqueue(pod: StatusTarget, statusJson: string): void {
    if (this.#stopped) return;
    const present = this.#entries.get(objectKey(pod));
    if (present?.pod.uid === pod.uid) {
      present.statusJson = statusJson;
      present.again = present.state === "writing";
      return;
    }
    if (present !== undefined) this.#cancel(present);
    this.#makeRoom();
    this.#add({
      pod,
      statusJson,
      failures: 0,
      state: "waiting",
      again: false,
      cancelled: new AbortController(),
    });
    this.#next();
  }

  forget(pod: { namespace: string; name: string }): void {
    const present = this.#entries.get(objectKey(pod));
    if (present !== undefined) this.#cancel(present);
  }

  pending(): number {
    return this.#entries.size;
  }

  async drain(signal: AbortSignal): Promise<void> {
    await until(this.#empty.promise, signal);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stopped = true;
    for (const entry of [...this.#entries.values()]) this.#cancel(entry);
    await Promise.all(this.#running);
  }

  #add(entry: Entry): void {
    if (this.#entries.size === 0) this.#empty = Promise.withResolvers();
    this.#entries.set(objectKey(entry.pod), entry);
  }

  #remove(entry: Entry): void {
    const key = objectKey(entry.pod);
    if (this.#entries.get(key) === entry) this.#entries.delete(key);
    if (this.#entries.size === 0) this.#empty.resolve();
  }

  #cancel(entry: Entry): void {
    this.#remove(entry);
    entry.cancelled.abort();
  }

  /** Drops what waits longest when there are too many. */
  #makeRoom(): void {
    if (this.#entries.size < (this.#options.podsMax ?? PODS_MAX)) return;
    const [oldest] = this.#entries.values();
    if (oldest === undefined) return;
    this.#cancel(oldest);
    this.#options.onEvent?.({ pod: oldest.pod, outcome: "dropped" });
  }

  /** Starts as many writes as may run. */
  #next(): void {
    const { concurrency = CONCURRENCY } = this.#options;
    for (const entry of this.#entries.values()) {
      if (this.#writing >= concurrency || this.#stopped) return;
      if (entry.state !== "waiting") continue;
      entry.state = "writing";
      this.#writing += 1;
      this.#track(this.#write(entry));
    }
  }

  #track(work: Promise<void>): void {
    this.#running.add(work);
    work.finally(() => this.#running.delete(work));
  }

  async #write(entry: Entry): Promise<void> {
    const { pod, statusJson, cancelled: { signal } } = entry;
    try {
      const outcome = await this.#options.write(pod, statusJson, { signal });
      this.#finish(entry, { pod, outcome });
    } catch (error) {
      if (!signal.aborted) this.#fail(entry, error);
    } finally {
      this.#writing -= 1;
      this.#next();
    }
  }

  #finish(entry: Entry, event: StatusEvent): void {
    this.#options.onEvent?.(event);
    if (!entry.again) return this.#remove(entry);
    Object.assign(entry, { again: false, failures: 0, state: "waiting" });
  }

  #fail(entry: Entry, error: unknown): void {
    const { pod } = entry;
    if (error instanceof ApiStatusError && REFUSED.includes(error.status)) {
      return this.#finish(entry, { pod, outcome: "refused", error });
    }
    this.#options.onEvent?.({ pod, outcome: "failed", error });
    this.#track(this.#rest(entry));
  }

  /** Waits before the next attempt, which takes the newest status. */
  async #rest(entry: Entry): Promise<void> {
    Object.assign(entry, { state: "resting", again: false });
    entry.failures += 1;
    const range = this.#options.backOff ?? BACK_OFF;
    await pause(backOffMs(entry.failures, range), entry.cancelled.signal)
      .catch(() => {});
    entry.state = "waiting";
    this.#next();
  }
}
