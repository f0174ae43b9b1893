/**
 * Asking a daemon that may not be there yet: a node that has just booted starts pods before the daemon, and an
 * update takes the daemon away for seconds. Nothing was taken while nobody listens or the daemon says 503, so
 * these two may be asked again; everything else is the answer.
 *
 * @module
 */

import type { Answer } from "./answer.ts";
import { ask, DaemonAbsentError } from "./ask.ts";
import type { Exchange, Question } from "./exchange.ts";

/** First pause: a daemon that restarts is back within a few of these. */
const PAUSE_MS_MIN = 50;

/** Longest pause: what a pod may lose once the daemon is there; at this rate a hundred waiting shims cost nothing. */
const PAUSE_MS_MAX = 500;

/** HTTP's word for "not now, ask again". */
const UNAVAILABLE = 503;

/**
 * Asks until the daemon takes the request, for at most `waitMs`; the first time with what is `begun`, if anything is.
 *
 * @returns the answer; one with status 503 if the daemon was still not ready in the end
 * @throws {DaemonAbsentError} If nobody listened in all that time
 * @throws whatever `ask` throws
 */
export async function askPatiently(
  question: Question,
  options: {
    waitMs: number;
    signal: AbortSignal;
    begun?: Exchange | undefined;
  },
): Promise<Answer> {
  const { signal, waitMs } = options;
  let { begun } = options;
  const end = performance.now() + waitMs;
  for (
    let pauseMs = PAUSE_MS_MIN;;
    pauseMs = Math.min(2 * pauseMs, PAUSE_MS_MAX)
  ) {
    const last = performance.now() >= end;
    try {
      const answer = await ask(question, { signal, begun });
      if (last || answer.status !== UNAVAILABLE) return answer;
    } catch (error) {
      if (last || !(error instanceof DaemonAbsentError)) throw error;
    }
    begun = undefined;
    const ms = Math.min(jitter(pauseMs), end - performance.now());
    await pause(ms, signal);
  }
}

/** Spreads shims that started in the same moment, as they do after a boot. */
function jitter(ms: number): number {
  return ms * (0.5 + Math.random() / 2);
}

async function pause(ms: number, signal: AbortSignal): Promise<void> {
  signal.throwIfAborted();
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const onAbort = (): void => reject(signal.reason);
  const timer = setTimeout(resolve, Math.max(0, ms));
  signal.addEventListener("abort", onAbort);
  await promise.finally(() => {
    clearTimeout(timer);
    signal.removeEventListener("abort", onAbort);
  });
}
