/**
 * One read for all who ask for the same thing at the same time. The read goes on
 * while anybody waits for it, and each waits no longer than their own signal says.
 *
 * @module
 */

import { until } from "./waiting.ts";

/** What a read gave, and whether it was under way before it was asked for. */
export interface SharedRead<T> {
  /** What was read. */
  readonly value: T;
  /** It began earlier, so it may show an earlier state than the asker must see. */
  readonly joined: boolean;
}

/** Reads that are shared while they run. */
export interface SharedReads<T> {
  /** @throws what the read throws, or the signal's reason */
  /** Reads, or joins a read. */
  read(key: string, signal: AbortSignal): Promise<SharedRead<T>>;
}

interface Running<T> {
  readonly promise: Promise<T>;
  readonly controller: AbortController;
  waiters: number;
}

/** Makes an empty set of shared reads. */
export function createSharedReads<T>(
  read: (key: string, signal: AbortSignal) => Promise<T>,
): SharedReads<T> {
  const running = new Map<string, Running<T>>();
  const start = (key: string): Running<T> => {
    const controller = new AbortController();
    const promise = read(key, controller.signal).finally(() => {
      if (running.get(key) === started) running.delete(key);
    });
    // Whoever waits hears of it; with nobody waiting it is nobody's failure.
    promise.catch(() => {});
    const started = { promise, controller, waiters: 0 };
    running.set(key, started);
    return started;
  };
  return {
    read: async (key, signal) => {
      signal.throwIfAborted();
      const present = running.get(key);
      const shared = present ?? start(key);
      shared.waiters += 1;
      try {
        const value = await until(shared.promise, signal);
        return { value, joined: present !== undefined };
      } finally {
        shared.waiters -= 1;
        if (shared.waiters === 0) {
          if (running.get(key) === shared) running.delete(key);
          shared.controller.abort();
        }
      }
    },
  };
}
