/**
 * A lane: a fixed number of places, and a bounded queue before them that is
 * served in order of arrival. Whoever waits can be called away by a signal;
 * whoever holds a place gives it back by `using`.
 *
 * It knows nothing of requests or containers; `limits.ts` builds on it.
 *
 * @module
 */
import { CniError, ErrorCode } from "../cni/error.ts";

/** How wide a lane is, and how long its queue may grow. */
export interface LaneOptions {
  /** How many may hold a place at once. */
  readonly slots: number;
  /** How many may wait for one. */
  readonly waitingMax: number;
}

/** A fixed number of places with a first-in, first-out queue. */
export interface Lane {
  /** How many hold a place now. */
  readonly inFlight: number;
  /** How many wait now. */
  readonly queued: number;
  /**
   * Waits for a place and takes it; disposing of the answer gives it back, once.
   *
   * @throws The signal's reason when it is aborted before the turn comes.
   * @throws {CniError} "try again later" when the queue is full.
   */
  acquire(signal: AbortSignal): Promise<Disposable>;
}

/**
 * Makes a lane. The name is for the error of a full queue.
 *
 * @throws {RangeError} When there would be no place at all.
 */
export function createLane(name: string, options: LaneOptions): Lane {
  if (!(Number.isInteger(options.slots) && options.slots > 0)) {
    throw new RangeError(`A lane needs at least one place: ${options.slots}`);
  }
  return new FifoLane(name, options);
}

class FifoLane implements Lane {
  readonly #name: string;
  readonly #options: LaneOptions;
  // A Set keeps order of arrival and lets one that gives up leave from the middle.
  readonly #waiting = new Set<() => void>();
  #inFlight = 0;

  constructor(name: string, options: LaneOptions) {
    this.#name = name;
    this.#options = options;
  }

  get inFlight(): number {
    return this.#inFlight;
  }

  get queued(): number {
    return this.#waiting.size;
  }

  async acquire(signal: AbortSignal): Promise<Disposable> {
    signal.throwIfAborted();
    if (this.#inFlight < this.#options.slots) {
      this.#inFlight += 1;
    } else {
      await this.#queue(signal);
    }
    return this.#place();
  }

  // Resolves with the place already counted for the one who waited: between the release and the
  // moment he goes on, nobody can slip in.
  async #queue(signal: AbortSignal): Promise<void> {
    if (this.#waiting.size >= this.#options.waitingMax) {
      throw new CniError(
        ErrorCode.tryAgainLater,
        `Too many ${this.#name} requests are waiting: ${this.#waiting.size}`,
      );
    }
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const giveUp = (): void => {
      this.#waiting.delete(resolve);
      reject(signal.reason);
    };
    this.#waiting.add(resolve);
    signal.addEventListener("abort", giveUp, { once: true });
    // An abort after the place was given changes nothing here: the caller finds its signal aborted
    // while it holds the place, and gives it back.
    await promise.finally(() => signal.removeEventListener("abort", giveUp));
  }

  #place(): Disposable {
    let held = true;
    return {
      [Symbol.dispose]: (): void => {
        if (!held) return;
        held = false;
        this.#release();
      },
    };
  }

  #release(): void {
    const [next] = this.#waiting;
    if (next === undefined) {
      this.#inFlight -= 1;
      return;
    }
    this.#waiting.delete(next);
    next();
  }
}
