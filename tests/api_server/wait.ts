/**
 * Waiting in tests: for a condition, with a deadline, never for a time.
 *
 * @module
 */

/** How long a test waits for something that should happen at once, on a busy machine. */
const WAIT_MS = 10_000;
/** Short beside anything that is waited for. */
const LOOK_AGAIN_MS = 5;

/** Thrown when what was waited for did not come about. */
export class WaitError extends Error {
  override readonly name = "WaitError";
}

/** Waits until the condition holds. @throws {WaitError} naming `what` when it does not in time. */
export async function waitUntil(
  condition: () => boolean | Promise<boolean>,
  options: { what: string; timeoutMs?: number },
): Promise<void> {
  const deadline = Date.now() + (options.timeoutMs ?? WAIT_MS);
  while (!await condition()) {
    if (Date.now() > deadline) {
      throw new WaitError(`Waited in vain: ${options.what}`);
    }
    await new Promise((resolve) => setTimeout(resolve, LOOK_AGAIN_MS));
  }
}
