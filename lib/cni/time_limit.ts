/**
 * Limits that are hardly ever reached: the longest that a plugin, a request or a wait may take. Each
 * is a place in a list, and one timer looks at all of them, because a timer of its own takes as long to
 * make and to clear (30 to 50 µs on a daemon that has rested) as to read a file's attributes, and an ADD
 * of three networks would have nine. The price is that a limit is noticed up to a tenth of a second
 * late; what has to be exact takes `setTimeout`.
 *
 * @module
 */

/** How often limits are looked at: the most that one is noticed late. */
const LOOK_MS = 100;

const TIMER_MS_MAX = 24 * 60 * 60_000;

interface Limit {
  /** In milliseconds of `performance.now()`. */
  readonly endsAt: number;
  readonly onOver: () => void;
}

const limits = new Set<Limit>();
let timer: ReturnType<typeof setTimeout> | undefined;
/** When the timer goes off. */
let looksAt = 0;

/**
 * Calls `onOver` once `milliseconds` have gone by, or up to 100 ms later, unless it is disposed of
 * before; `onOver` must not throw.
 */
export function startTimeLimit(
  milliseconds: number,
  onOver: () => void,
): Disposable {
  const now = performance.now();
  const limit: Limit = { endsAt: now + milliseconds, onOver };
  limits.add(limit);
  // The first look comes soon whatever the limit: others that are shorter are about to follow.
  if (timer === undefined || limit.endsAt + LOOK_MS < looksAt) {
    lookAt(now + LOOK_MS, now);
  }
  return {
    [Symbol.dispose]: () => {
      if (!limits.delete(limit) || limits.size > 0) return;
      clearTimeout(timer);
      timer = undefined;
    },
  };
}

function lookAt(time: number, now: number): void {
  clearTimeout(timer);
  // A timer that is longer than 24 days goes off at once.
  looksAt = Math.min(time, now + TIMER_MS_MAX);
  timer = setTimeout(look, looksAt - now);
}

function look(): void {
  timer = undefined;
  const now = performance.now();
  let first = Infinity;
  for (const limit of limits) {
    if (limit.endsAt > now) {
      first = Math.min(first, limit.endsAt);
      continue;
    }
    limits.delete(limit);
    limit.onOver();
  }
  // What came in by `onOver` has seen to itself.
  if (first < Infinity && timer === undefined) {
    lookAt(Math.max(first, now + LOOK_MS), now);
  }
}
