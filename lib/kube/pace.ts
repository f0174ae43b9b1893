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
  const { now = () => performance.now(), random = Math.random } = options;
  const state: PaceState = {
    inFlight: 0,
    tokens: limits.burst,
    filledAt: now(),
    failures: 0,
    outageUntil: -Infinity,
    askedUntil: -Infinity,
    looking: false,
    problem: undefined,
    waiters: new Set(),
  };
  const closedUntil = (): number =>
    Math.max(state.outageUntil, state.askedUntil);
  const isClosed = (): boolean =>
    state.failures >= limits.failuresMax || now() < closedUntil();

  /** How long to wait before asking again; 0 means the turn is taken, Infinity to be woken. */
  const take = (): number => {
    const at = now();
    const filled = state.tokens +
      (at - state.filledAt) * limits.perSecond / 1000;
    Object.assign(state, {
      tokens: Math.min(limits.burst, filled),
      filledAt: at,
    });
    if (at < closedUntil()) return closedUntil() - at;
    if (isClosed() && state.looking) return Infinity;
    if (state.inFlight >= limits.concurrency) return Infinity;
    if (state.tokens < 1) return (1 - state.tokens) * 1000 / limits.perSecond;
    state.tokens -= 1;
    state.inFlight += 1;
    return 0;
  };
  const settle = (outcome: Outcome): void => {
    state.problem = outcome.reason;
    if (outcome.ok) {
      Object.assign(state, { failures: 0, outageUntil: -Infinity });
      return;
    }
    state.failures += 1;
    const askedMs = Math.min(outcome.retryAfterMs ?? 0, RETRY_AFTER_MS_MAX);
    if (askedMs > 0) state.askedUntil = now() + askedMs;
    const beyond = state.failures - limits.failuresMax + 1;
    if (beyond < 1) return;
    state.outageUntil = now() + backOffMs(beyond, { ...limits.outage, random });
  };
  const startTurn = (): Turn => {
    const looks = isClosed();
    if (looks) state.looking = true;
    let ended = false;
    return {
      end: (outcome) => {
        if (ended) return;
        ended = true;
        state.inFlight -= 1;
        if (looks) state.looking = false;
        if (outcome !== undefined) settle(outcome);
        for (const wake of [...state.waiters]) wake();
      },
    };
  };
  return {
    get closed() {
      return isClosed();
    },
    get problem() {
      return state.problem;
    },
    enter: async (signal) => {
      for (;;) {
        if (signal.aborted) throw toWaitError(signal, state.problem);
        const waitMs = take();
        if (waitMs === 0) return startTurn();
        await waitToBeWoken(state.waiters, signal, waitMs);
      }
    },
  };
}

interface PaceState {
  inFlight: number;
  tokens: number;
  filledAt: number;
  failures: number;
  outageUntil: number;
  askedUntil: number;
  looking: boolean;
  problem: string | undefined;
  readonly waiters: Set<() => void>;
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
