/**
 * A deadline of its own within the caller's signal, whose timer goes away with it.
 *
 * @module
 */

/** A signal that aborts with its parent or when its time is up. */
export interface Deadline extends Disposable {
  /** Aborts when time is up. */
  readonly signal: AbortSignal;
  /** Says whether it was its own time that was up, not its parent's. */
  readonly expired: boolean;
  /** Begins its time anew, from now on with another length if one is given: there was a sign of life. */
  extend(ms?: number): void;
}

/** Starts a deadline. The signal's reason is a `TimeoutError` when its own time is up. */
export function startDeadline(parent: AbortSignal, ms: number): Deadline {
  let lengthMs = ms;
  const controller = new AbortController();
  let expired = false;
  let timer: ReturnType<typeof setTimeout> | undefined;
  const stop = (): void => controller.abort(parent.reason);
  const expire = (): void => {
    expired = true;
    controller.abort(
      new DOMException(`Nothing came within ${lengthMs} ms`, "TimeoutError"),
    );
  };
  const extend = (ms = lengthMs): void => {
    lengthMs = ms;
    clearTimeout(timer);
    if (!controller.signal.aborted) timer = setTimeout(expire, lengthMs);
  };
  if (parent.aborted) stop();
  else parent.addEventListener("abort", stop, { once: true });
  extend();
  return {
    signal: controller.signal,
    get expired() {
      return expired;
    },
    extend,
    [Symbol.dispose]: () => {
      clearTimeout(timer);
      parent.removeEventListener("abort", stop);
    },
  };
}
