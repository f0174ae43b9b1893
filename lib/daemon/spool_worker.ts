/**
 * Works off the DELs that are left over: those that shims left while no
 * daemon was there, and those whose plugins failed. Each is tried again with
 * a back-off until it works, across restarts; a DEL of the runtime's own
 * never waits for one of these.
 */
import { backOffMs, type BackOffRange, pause } from "../kube/waiting.ts";
import { del, type OperationParts } from "./operations.ts";
import { toCall } from "./server.ts";
import { drainSpool } from "./spool.ts";

/** A plugin that fails now may work in a second; one that fails for hours is asked once in five minutes. */
const RETRY: BackOffRange = { minMs: 1_000, maxMs: 300_000 };

/** How often the directory is looked at when nothing failed: a shim that left something found no daemon, and that is rare. */
const LOOK_MS = 10_000;

/** The worker, which ends when it is disposed of. */
export interface SpoolWorker extends AsyncDisposable {
  /** DELs that wait, as of the last look. */
  pending(): number;
}

async function drainOnce(
  parts: OperationParts,
  signal: AbortSignal,
): Promise<number> {
  const { failed } = await drainSpool(parts.spool, async (request) => {
    try {
      await del(parts, toCall(request, signal), { isLeftOver: true });
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      parts.log.verbose(`A left-over DEL has to wait: ${reason}`, {
        container: request.env["CNI_CONTAINERID"] ?? "",
      });
      throw error;
    }
  }, { signal });
  return failed;
}

/** Starts to work, at once and then for as long as the daemon runs. */
export function startSpoolWorker(parts: OperationParts): SpoolWorker {
  const ending = new AbortController();
  const { signal } = ending;
  let pending = 0;
  const work = async (): Promise<void> => {
    for (let failures = 0; !signal.aborted;) {
      try {
        pending = await drainOnce(parts, signal);
      } catch (error) {
        const reason = error instanceof Error ? error.message : String(error);
        parts.log.error(`Cannot work off left-over DELs: ${reason}`);
        pending = Math.max(pending, 1);
      }
      failures = pending > 0 ? failures + 1 : 0;
      await pause(failures > 0 ? backOffMs(failures, RETRY) : LOOK_MS, signal);
    }
  };
  const done = work().catch((error: unknown) => {
    if (!signal.aborted) throw error;
  });
  return {
    pending: () => pending,
    async [Symbol.asyncDispose](): Promise<void> {
      ending.abort();
      await done;
    },
  };
}
