/**
 * Whether single objects can be read while the caches are not complete: a list
 * may be refused, or too large for a busy server, where a get is answered. As
 * long as that is so, pods can have their networks. It is tried now and then,
 * and not any more once it does not matter.
 *
 * @module
 */
import { startDeadline } from "./deadline.ts";
import { pause } from "./waiting.ts";

/** What is tried. */
export interface ReadTrialsOptions {
  /** Reads of objects of each kind; one that is answered, also by "there is none", returns. */
  readonly reads: readonly ((signal: AbortSignal) => Promise<unknown>)[];
  /** Whether it still matters. */
  readonly isNeeded: () => boolean;
  /** The wait before each try, other than the usual. */
  readonly everyMs?: number;
}

/** The tries. */
export interface ReadTrials extends AsyncDisposable {
  /** Whether all kinds could be read at the last try; not before the first one. */
  readonly work: boolean;
  /** Begins; calls after the first do nothing. */
  start(): void;
}

/** Caches that take longer than this are not just being read for the first time; and as often as this costs a server nothing. */
const EVERY_MS = 3_000;
/** A read that takes longer is of no use to an ADD. */
const TRY_MS = 10_000;

/** Makes the tries, which are begun by `start`. */
export function createReadTrials(options: ReadTrialsOptions): ReadTrials {
  const { reads, isNeeded, everyMs = EVERY_MS } = options;
  const stopping = new AbortController();
  const { signal } = stopping;
  let running: Promise<void> | undefined;
  let work = false;
  const run = async (): Promise<void> => {
    while (!signal.aborted && isNeeded()) {
      await pause(everyMs, signal).catch(() => {});
      if (signal.aborted || !isNeeded()) return;
      work = await tryAll(reads, signal);
    }
  };
  return {
    get work() {
      return work;
    },
    start: () => void (running ??= run()),
    [Symbol.asyncDispose]: async () => {
      stopping.abort();
      await running;
    },
  };
}

async function tryAll(
  reads: ReadTrialsOptions["reads"],
  signal: AbortSignal,
): Promise<boolean> {
  using deadline = startDeadline(signal, TRY_MS);
  const tries = reads.map((read) => read(deadline.signal));
  const outcomes = await Promise.allSettled(tries);
  return outcomes.every(({ status }) => status === "fulfilled");
}
