/**
 * Waiting for the API server on the way of a request: who is told that the
 * time is up is also told what was waited for. How the API is asked, and how
 * often, is left to `lib/kube`.
 */
import { CniError } from "../cni/error.ts";

/**
 * Waits for an answer of the API server about `subject`.
 *
 * @throws {CniError} with the code of the signal's reason when the request was called off: its time is up, or a DEL came in between.
 * @throws what `answer` throws otherwise.
 */
export async function whileAsking<T>(
  subject: string,
  answer: Promise<T>,
  signal: AbortSignal,
): Promise<T> {
  try {
    return await answer;
  } catch (error) {
    const isCalledOff = signal.aborted && error === signal.reason;
    if (!isCalledOff || !(error instanceof CniError)) throw error;
    throw new CniError(
      error.code,
      `${error.message}; the Kubernetes API had not answered for ${subject}`,
      { cause: error },
    );
  }
}
