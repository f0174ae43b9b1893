/**
 * Works off the DELs that are left over: those that shims left while no
 * daemon was there, and those whose plugins failed. Each is tried again with
 * a back-off of its own until it works, across restarts; a DEL of the runtime's
 * own never waits for one of these.
 */
import { backOffMs, type BackOffRange, pause } from "../kube/waiting.ts";
import { del, type OperationParts } from "./operations.ts";
import { toCall } from "./server.ts";
import { type Drained, drainSpool } from "./spool.ts";

/** A plugin that fails now may work in a second; one that fails for hours is asked once in five minutes. */
const RETRY: BackOffRange = { minMs: 1_000, maxMs: 300_000 };

/** How often the directory is looked at when nobody here left anything: a shim that did found no daemon, and that is rare. */
const LOOK_MS = 10_000;

/** One that hangs must not hold up the others; more would take the DELs of the runtime their places. */
const CONCURRENCY = 2;

/** The worker, which ends when it is disposed of. */
export interface SpoolWorker extends AsyncDisposable {
  /** DELs that wait, as of the last look. */
  pending(): number;
}

interface Retry {
  readonly failures: number;
  readonly dueMs: number;
}

interface Worker {
  readonly parts: OperationParts;
  readonly signal: AbortSignal;
  readonly retries: Map<string, Retry>;
  pending: number;
}

async function drainOnce(worker: Worker): Promise<Drained> {
  const { parts, retries, signal } = worker;
  const startMs = performance.now();
  return await drainSpool(parts.spool, async (request, name) => {
    try {
      await del(parts, toCall(request, signal, parts), {
        isStillWanted: () => parts.spool.isTaken(name),
      });
      retries.delete(name);
    } catch (error) {
      const failures = (retries.get(name)?.failures ?? 0) + 1;
      const dueMs = performance.now() + backOffMs(failures, RETRY);
      retries.set(name, { failures, dueMs });
      const reason = error instanceof Error ? error.message : String(error);
      parts.log.verbose(`A left-over DEL has to wait: ${reason}`, {
        container: request.env["CNI_CONTAINERID"] ?? "",
      });
      throw error;
    }
  }, {
    signal,
    concurrency: CONCURRENCY,
    isDue: (name) => (retries.get(name)?.dueMs ?? 0) <= startMs,
  });
}

/** Looks once; how long until the next look. */
async function look(worker: Worker): Promise<number> {
  const { parts, retries } = worker;
  try {
    const { failed, waiting } = await drainOnce(worker);
    worker.pending = failed + waiting;
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    parts.log.error(`Cannot work off left-over DELs: ${reason}`);
    return LOOK_MS;
  }
  // What another request did or dropped is not in the directory any more.
  if (worker.pending === 0) retries.clear();
  const dueMs = [...retries.values()].map((retry) => retry.dueMs);
  const untilDueMs = Math.min(...dueMs) - performance.now();
  return Math.min(LOOK_MS, Math.max(untilDueMs, RETRY.minMs / 2));
}

/** Starts to work, at once and then for as long as the daemon runs. */
export function startSpoolWorker(parts: OperationParts): SpoolWorker {
  const ending = new AbortController();
  const { signal } = ending;
  const worker: Worker = { parts, signal, retries: new Map(), pending: 0 };
  let resting = new AbortController();
  const listening = parts.spool.onLeave(() => resting.abort());
  const work = async (): Promise<void> => {
    while (!signal.aborted) {
      resting = new AbortController();
      const ms = await look(worker);
      // Left by this daemon: its plugins just failed, a first wait gives them a chance.
      await pause(ms, resting.signal).catch(() => pause(RETRY.minMs, signal));
    }
  };
  const done = work().catch((error: unknown) => {
    if (!signal.aborted) throw error;
  });
  return {
    pending: () => worker.pending,
    async [Symbol.asyncDispose](): Promise<void> {
      listening[Symbol.dispose]();
      ending.abort();
      resting.abort();
      await done;
    },
  };
}
