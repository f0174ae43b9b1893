/**
 * A gate that is open, but for moments: nobody begins to attach anything while
 * the plugins are told what is attached (GC), or they would free what was
 * handed out after the list was written.
 *
 * @module
 */
import { until } from "../kube/waiting.ts";

/** A gate. */
export interface Gate {
  /**
   * Waits until it is open.
   *
   * @throws the signal's reason when it is aborted first
   */
  pass(signal: AbortSignal): Promise<void>;
  /** Closes it until the answer is disposed of; several may hold it closed. */
  close(): Disposable;
}

/** Makes a gate, which is open. */
export function createGate(): Gate {
  let held = 0;
  let opened = Promise.withResolvers<void>();
  return {
    async pass(signal): Promise<void> {
      while (held > 0) await until(opened.promise, signal);
    },
    close(): Disposable {
      held += 1;
      let isHeld = true;
      return {
        [Symbol.dispose]: (): void => {
          if (!isHeld) return;
          isHeld = false;
          held -= 1;
          if (held > 0) return;
          opened.resolve();
          opened = Promise.withResolvers();
        },
      };
    },
  };
}
