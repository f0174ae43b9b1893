/**
 * How long the shim takes for a call, at most.
 *
 * @module
 */

import type { Command } from "../cni/version.ts";

/** What a call may take. */
export interface Patience {
  /** How long a daemon that is not there may take to appear, in milliseconds. */
  readonly waitMs: number;
  /** How long the call may take in all, in milliseconds. */
  readonly totalMs: number;
}

/**
 * The kubelet gives a sandbox 4 minutes to start (ADD) and 2 to stop (DEL); the shim ends before, so that the
 * reason reaches the pod's events. STATUS is asked often and must take less than a second, start-up included.
 * CHECK and GC come again by themselves: they outlast a restart of the daemon, not more. How long ADD waits
 * stands in the configuration.
 */
export const PATIENCE: Readonly<Record<Exclude<Command, "VERSION">, Patience>> =
  {
    ADD: { waitMs: Infinity, totalMs: 220_000 },
    DEL: { waitMs: 0, totalMs: 110_000 },
    CHECK: { waitMs: 2_000, totalMs: 110_000 },
    GC: { waitMs: 2_000, totalMs: 110_000 },
    STATUS: { waitMs: 0, totalMs: 800 },
  };
