/**
 * Whether the daemon can take ADDs, and why not. Each part of the daemon says
 * what it knows of itself when it is asked; nothing is polled here.
 */
import type { Check } from "./server.ts";

/** Says how it stands with one part. */
export type Probe = () => Check;

/** The readiness of the daemon. */
export interface Readiness {
  /** Adds a part that has a say. */
  watch(probe: Probe): void;
  /** From now on the daemon is not ready: it is shutting down. */
  shutDown(): void;
  /** Whether it is. */
  readonly isShuttingDown: boolean;
  /** All parts, in the order in which they were added. */
  checks(): readonly Check[];
}

/** Makes a readiness without parts. */
export function createReadiness(): Readiness {
  const probes: Probe[] = [];
  let isShuttingDown = false;
  return {
    watch: (probe) => void probes.push(probe),
    get isShuttingDown(): boolean {
      return isShuttingDown;
    },
    shutDown(): void {
      isShuttingDown = true;
    },
    checks(): Check[] {
      const serving = isShuttingDown
        ? { name: "serving", ok: false, reason: "the daemon is shutting down" }
        : { name: "serving", ok: true, reason: "requests are taken" };
      return [serving, ...probes.map((probe) => probe())];
    },
  };
}

/** Whether a file is there; one that cannot be looked at is not. */
export async function isThere(path: string): Promise<boolean> {
  try {
    await Deno.stat(path);
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.NotCapable) throw error;
    return false;
  }
}

/** The default network's agent writes its file within seconds of its start: looked for often, it costs a stat. */
const INDICATOR_WAIT_MS = 200;

/**
 * Waits until the file is there. Needs read of it.
 *
 * @throws the signal's reason when it is not there in time.
 */
export async function waitForFile(
  path: string,
  signal: AbortSignal,
): Promise<void> {
  while (!await isThere(path)) {
    signal.throwIfAborted();
    await new Promise<void>((resolve) => {
      const timer = setTimeout(done, INDICATOR_WAIT_MS);
      function done(): void {
        clearTimeout(timer);
        signal.removeEventListener("abort", done);
        resolve();
      }
      signal.addEventListener("abort", done);
    });
  }
}
