/**
 * How long to wait before trying again: twice as long each time up to a limit, and
 * never the same on two nodes. Every wait ends with the caller's signal.
 *
 * @module
 */

/** The bounds of a series of waits. */
export interface BackOffRange {
  /** The first wait. */
  readonly minMs: number;
  /** The longest wait. */
  readonly maxMs: number;
}

/** More doublings than any range needs; beyond them 2 ** n only grows absurd. */
const DOUBLINGS_MAX = 30;

/**
 * The wait before the next attempt, after so many failed ones: between half of the
 * exponential value and the whole of it.
 */
export function backOffMs(
  failures: number,
  options: BackOffRange & { random?: () => number },
): number {
  const { minMs, maxMs, random = Math.random } = options;
  const doublings = Math.min(Math.max(failures - 1, 0), DOUBLINGS_MAX);
  const whole = Math.min(maxMs, minMs * 2 ** doublings);
  return whole / 2 + random() * whole / 2;
}

/** Waits. @throws the signal's reason when it is aborted first. */
export function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal.aborted) return reject(signal.reason);
    const stop = (): void => {
      clearTimeout(timer);
      reject(signal.reason);
    };
    const timer = setTimeout(() => {
      signal.removeEventListener("abort", stop);
      resolve();
    }, ms);
    signal.addEventListener("abort", stop, { once: true });
  });
}

/** Waits for a promise, no longer than the signal allows. @throws the signal's reason when it is aborted first */
export async function until<T>(
  promise: Promise<T>,
  signal: AbortSignal,
): Promise<T> {
  const { promise: aborted, reject } = Promise.withResolvers<never>();
  const stop = (): void => reject(signal.reason);
  if (signal.aborted) stop();
  else signal.addEventListener("abort", stop, { once: true });
  try {
    return await Promise.race([promise, aborted]);
  } finally {
    signal.removeEventListener("abort", stop);
  }
}
