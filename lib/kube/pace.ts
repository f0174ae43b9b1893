/**
 * How gently the API server is treated: so many requests at once, so many a second,
 * and while it is down or asks for it, next to none. After a few failures in a row
 * the gate closes; then one request at a time is let through to look, with a
 * back-off between the looks, and all others wait behind it or give up with their
 * own signal.
 *
 * @module
 */
import { backOffMs, type BackOffRange } from "./waiting.ts";
import { ApiUnavailableError } from "./error.ts";

/** The limits. */
export interface PaceLimits {
  /** Requests in flight, watches not counted. */
  readonly concurrency: number;
  /** Requests a second, in the long run. */
  readonly perSecond: number;
  /** Requests that may come at once after a quiet time. */
  readonly burst: number;
  /** Failures in a row that mean the server is down, not unlucky. */
  readonly failuresMax: number;
  /** The waits between looks while it is down. */
  readonly outage: BackOffRange;
}

/** How a request ended, as far as the pace is concerned. */
export interface Outcome {
  /** Says that the server answers and is well. */
  readonly ok: boolean;
  /** Why it failed. */
  readonly reason?: string;
  /** How long the server asked to be left alone. */
  readonly retryAfterMs?: number;
}

/** A place among the requests in flight. */
export interface Turn {
  /** Gives the place back; without an outcome nothing is learned of the server. Calls after the first do nothing. */
  end(outcome?: Outcome): void;
}

/** The limits at work. */
export interface Pace {
  /**
   * Waits for a turn.
   *
   * @throws {ApiUnavailableError} when the signal's time is up first
   * @throws the signal's reason when it is aborted for another cause
   */
  enter(signal: AbortSignal): Promise<Turn>;
  /** Says whether the gate is closed. */
  readonly closed: boolean;
  /** Why the last request failed; undefined when the last one did not. */
  readonly problem: string | undefined;
}

/**
 * 50 a second is what the Go daemon allows itself; 5 % of answers failing at random
 * make three failures in a row once in 8,000 requests.
 */
export const PACE_LIMITS: PaceLimits = {
  concurrency: 16,
  perSecond: 50,
  burst: 100,
  failuresMax: 3,
  outage: { minMs: 500, maxMs: 10_000 },
};

/** No server may silence a node for longer with one header. */
const RETRY_AFTER_MS_MAX = 60_000;

/** Makes a pace. */
export function createPace(
  limits: PaceLimits,
  options: { now?: () => number; random?: () => number } = {},
): Pace {
  return new LimitedPace(limits, options);
}

class LimitedPace implements Pace {
  readonly #limits: PaceLimits;
  readonly #now: () => number;
  readonly #random: () => number;
  readonly #waiters = new Set<() => void>();
  #inFlight = 0;
  #tokens: number;
  #filledAt: number;
  #failures = 0;
  /** Until when the back-off of an outage lasts. */
  #outageUntil = -Infinity;
  /** Until when the server asked to be left alone. */
  #askedUntil = -Infinity;
  /** A request looks whether the server is back. */
  #looking = false;
  #problem: string | undefined;

  constructor(
    limits: PaceLimits,
    options: { now?: () => number; random?: () => number },
  ) {
    this.#limits = limits;
    this.#now = options.now ?? (() => performance.now());
    this.#random = options.random ?? Math.random;
    this.#tokens = limits.burst;
    this.#filledAt = this.#now();
  }

  get closed(): boolean {
    return this.#failures >= this.#limits.failuresMax ||
      this.#now() < this.#closedUntil;
  }

  get problem(): string | undefined {
    return this.#problem;
  }

  async enter(signal: AbortSignal): Promise<Turn> {
    for (;;) {
      if (signal.aborted) throw toWaitError(signal, this.#problem);
      const waitMs = this.#take();
      if (waitMs === 0) return this.#startTurn();
      await waitToBeWoken(this.#waiters, signal, waitMs);
    }
  }

  get #closedUntil(): number {
    return Math.max(this.#outageUntil, this.#askedUntil);
  }

  /** Takes a turn and returns 0, or how long to wait before asking again; Infinity to be woken. */
  #take(): number {
    const { burst, concurrency, perSecond } = this.#limits;
    const at = this.#now();
    const filled = this.#tokens + (at - this.#filledAt) * perSecond / 1000;
    this.#tokens = Math.min(burst, filled);
    this.#filledAt = at;
    if (at < this.#closedUntil) return this.#closedUntil - at;
    if (this.closed && this.#looking) return Infinity;
    if (this.#inFlight >= concurrency) return Infinity;
    if (this.#tokens < 1) return (1 - this.#tokens) * 1000 / perSecond;
    this.#tokens -= 1;
    this.#inFlight += 1;
    return 0;
  }

  #startTurn(): Turn {
    const looks = this.closed;
    if (looks) this.#looking = true;
    let ended = false;
    return {
      end: (outcome) => {
        if (ended) return;
        ended = true;
        this.#inFlight -= 1;
        if (looks) this.#looking = false;
        if (outcome !== undefined) this.#settle(outcome);
        for (const wake of [...this.#waiters]) wake();
      },
    };
  }

  /** Learns from an outcome. */
  #settle(outcome: Outcome): void {
    this.#problem = outcome.reason;
    if (outcome.ok) {
      this.#failures = 0;
      this.#outageUntil = -Infinity;
      return;
    }
    this.#failures += 1;
    const { failuresMax, outage } = this.#limits;
    const askedMs = Math.min(outcome.retryAfterMs ?? 0, RETRY_AFTER_MS_MAX);
    if (askedMs > 0) this.#askedUntil = this.#now() + askedMs;
    const beyond = this.#failures - failuresMax + 1;
    if (beyond < 1) return;
    const waitMs = backOffMs(beyond, { ...outage, random: this.#random });
    this.#outageUntil = this.#now() + waitMs;
  }
}

/** Ends when it is woken, when the time is over, or when the signal is aborted. */
function waitToBeWoken(
  waiters: Set<() => void>,
  signal: AbortSignal,
  ms: number,
): Promise<void> {
  return new Promise((resolve) => {
    const wake = (): void => {
      clearTimeout(timer);
      waiters.delete(wake);
      signal.removeEventListener("abort", wake);
      resolve();
    };
    const timer = ms === Infinity ? undefined : setTimeout(wake, ms);
    waiters.add(wake);
    signal.addEventListener("abort", wake, { once: true });
  });
}

function toWaitError(
  signal: AbortSignal,
  problem: string | undefined,
): unknown {
  const timedOut = signal.reason instanceof DOMException &&
    signal.reason.name === "TimeoutError";
  if (!timedOut) return signal.reason;
  return new ApiUnavailableError(
    problem ?? "no turn within the deadline",
    { cause: signal.reason },
  );
}
