/**
 * A bound on open connections, apart from the lanes of `limits.ts`: one that
 * only waits costs little, but not nothing, and health checks and DELs must
 * still find a door when ADDs fill theirs.
 *
 * @module
 */
import { WAITING_MAX } from "./limits.ts";

/** A bound on open connections. */
export interface ConnectionBound {
  /** How many are open now. */
  readonly open: number;
  /** Counts one more until disposed of; `undefined` when there are too many. */
  enter(): Disposable | undefined;
}

/** Twice the longest queue of ADDs, so that a full one leaves half of the room to all others. */
export const CONNECTIONS_MAX = 2 * WAITING_MAX;

/** Makes a bound on open connections. */
export function createConnectionBound(
  connectionsMax: number = CONNECTIONS_MAX,
): ConnectionBound {
  let open = 0;
  return {
    get open(): number {
      return open;
    },
    enter(): Disposable | undefined {
      if (open >= connectionsMax) return undefined;
      open += 1;
      let held = true;
      return {
        [Symbol.dispose]: (): void => {
          if (held) open -= 1;
          held = false;
        },
      };
    },
  };
}
