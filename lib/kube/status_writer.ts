/**
 * Writes the network status of pods off the path of ADD: what is handed in is
 * written sooner or later, tried again with a back-off until it is there or the pod
 * is gone. Of several for one pod only the newest counts. It keeps nothing on disk;
 * after a restart the daemon hands in again what its records say.
 *
 * @module
 */
import { backOffMs, type BackOffRange, pause } from "./waiting.ts";
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

interface Entry {
  pod: StatusTarget;
  statusJson: string;
  failures: number;
  state: "waiting" | "writing" | "resting";
  /** Something newer came while it was being written. */
  again: boolean;
  readonly cancelled: AbortController;
}

/** Starts an empty queue. */
export function createStatusWriter(
  options: StatusWriterOptions,
): StatusWriter {
  const { concurrency = CONCURRENCY, podsMax = PODS_MAX } = options;
  const entries = new Map<string, Entry>();
  const stopping = new AbortController();
  const running = new Set<Promise<void>>();
  const idle = new Set<() => void>();
  let writing = 0;

  const remove = (entry: Entry): void => {
    const key = objectKey(entry.pod);
    if (entries.get(key) === entry) entries.delete(key);
    if (entries.size > 0) return;
    for (const wake of idle) wake();
  };
  const finish = (entry: Entry, event: StatusEvent): void => {
    options.onEvent?.(event);
    if (!entry.again) return remove(entry);
    Object.assign(entry, { again: false, failures: 0, state: "waiting" });
  };
  const rest = async (entry: Entry): Promise<void> => {
    entry.failures += 1;
    entry.state = "resting";
    const ms = backOffMs(entry.failures, options.backOff ?? BACK_OFF);
    await pause(ms, entry.cancelled.signal).catch(() => {});
    if (entries.get(objectKey(entry.pod)) === entry) entry.state = "waiting";
    next();
  };
  const write = async (entry: Entry): Promise<void> => {
    const { pod, statusJson, cancelled: { signal } } = entry;
    try {
      const outcome = await options.write(pod, statusJson, { signal });
      finish(entry, { pod, outcome });
    } catch (error) {
      if (signal.aborted) return;
      if (error instanceof ApiStatusError && REFUSED.includes(error.status)) {
        return finish(entry, { pod, outcome: "refused", error });
      }
      options.onEvent?.({ pod, outcome: "failed", error });
      entry.again = false;
      track(rest(entry));
    } finally {
      writing -= 1;
      next();
    }
  };
  const track = (work: Promise<void>): void => {
    running.add(work);
    work.finally(() => running.delete(work));
  };
  const next = (): void => {
    if (stopping.signal.aborted) return;
    for (const entry of entries.values()) {
      if (writing >= concurrency) return;
      if (entry.state !== "waiting") continue;
      entry.state = "writing";
      writing += 1;
      track(write(entry));
    }
  };
  const cancel = (entry: Entry): void => {
    remove(entry);
    entry.cancelled.abort();
  };
  const makeRoom = (): void => {
    if (entries.size < podsMax) return;
    const [oldest] = entries.values();
    if (oldest === undefined) return;
    cancel(oldest);
    options.onEvent?.({ pod: oldest.pod, outcome: "dropped" });
  };
  return {
    enqueue: (pod, statusJson) => {
      if (stopping.signal.aborted) return;
      const present = entries.get(objectKey(pod));
      if (present?.pod.uid === pod.uid) {
        present.statusJson = statusJson;
        present.again = present.state === "writing";
        return;
      }
      if (present !== undefined) cancel(present);
      makeRoom();
      entries.set(objectKey(pod), {
        pod,
        statusJson,
        failures: 0,
        state: "waiting",
        again: false,
        cancelled: new AbortController(),
      });
      next();
    },
    forget: (pod) => {
      const present = entries.get(objectKey(pod));
      if (present !== undefined) cancel(present);
    },
    pending: () => entries.size,
    drain: (signal) => drained(entries, idle, signal),
    [Symbol.asyncDispose]: async () => {
      stopping.abort();
      for (const entry of entries.values()) entry.cancelled.abort();
      entries.clear();
      for (const wake of idle) wake();
      await Promise.all(running);
    },
  };
}

/** Waits until there are no entries, or the signal is aborted. */
function drained(
  entries: ReadonlyMap<string, Entry>,
  idle: Set<() => void>,
  signal: AbortSignal,
): Promise<void> {
  return new Promise((resolve, reject) => {
    if (entries.size === 0) return resolve();
    if (signal.aborted) return reject(signal.reason);
    const leave = (): void => {
      idle.delete(wake);
      signal.removeEventListener("abort", stop);
    };
    const wake = (): void => {
      leave();
      resolve();
    };
    const stop = (): void => {
      leave();
      reject(signal.reason);
    };
    idle.add(wake);
    signal.addEventListener("abort", stop, { once: true });
  });
}
