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
   * Waits until it is open; until the answer is disposed of, whoever closes it waits.
   *
   * @throws the signal's reason when it is aborted first
   */
  pass(signal: AbortSignal): Promise<Disposable>;
  /**
   * Closes it until the answer is disposed of, and waits for those who are
   * just passing; several may hold it closed.
   *
   * @throws the signal's reason when it is aborted first; then it is not closed
   */
  close(signal: AbortSignal): Promise<Disposable>;
}

/** Counts those who hold something, and tells when nobody does. */
class Holders {
  #count = 0;
  #none = Promise.withResolvers<void>();

  /** One more, until the answer is disposed of. */
  enter(): Disposable {
    this.#count += 1;
    let isHeld = true;
    return {
      [Symbol.dispose]: (): void => {
        if (!isHeld) return;
        isHeld = false;
        this.#count -= 1;
        if (this.#count > 0) return;
        this.#none.resolve();
        this.#none = Promise.withResolvers();
      },
    };
  }

  get isHeld(): boolean {
    return this.#count > 0;
  }

  /** Waits until there are none; there may be new ones when the caller goes on. */
  async gone(signal: AbortSignal): Promise<void> {
    if (this.isHeld) await until(this.#none.promise, signal);
  }
}

/** Makes a gate, which is open. */
export function createGate(): Gate {
  const closers = new Holders();
  const passing = new Holders();
  return {
    async pass(signal): Promise<Disposable> {
      // Looked at and entered in one step, or somebody might close in between.
      while (closers.isHeld) await closers.gone(signal);
      return passing.enter();
    },
    async close(signal): Promise<Disposable> {
      const closed = closers.enter();
      try {
        while (passing.isHeld) await passing.gone(signal);
        return closed;
      } catch (error) {
        closed[Symbol.dispose]();
        throw error;
      }
    },
  };
}
