/**
 * Waiting for the API server on the way of a request: who is told that the
 * time is up is also told what was waited for. How the API is asked, and how
 * often, is left to `lib/kube`.
 */
import { CniError } from "../cni/error.ts";

/** What is waited for. */
export interface Asked {
  /** As a person names it: "pod ns/name". */
  readonly subject: string;
  /** The request's. */
  readonly signal: AbortSignal;
  /** Why the last attempt failed, where one did. */
  readonly problem: () => string | undefined;
}

/**
 * Waits for an answer of the API server about a subject.
 *
 * @throws {CniError} with the code of the signal's reason when the request was called off: its time is up, or a DEL came in between.
 * @throws what `answer` throws otherwise.
 */
export async function whileAsking<T>(
  answer: Promise<T>,
  { subject, signal, problem }: Asked,
): Promise<T> {
  try {
    return await answer;
  } catch (error) {
    const isCalledOff = signal.aborted && error === signal.reason;
    if (!isCalledOff || !(error instanceof CniError)) throw error;
    const reason = problem();
    const message =
      `${error.message}; the Kubernetes API had not answered for ${subject}`;
    throw new CniError(
      error.code,
      reason === undefined ? message : `${message}: ${reason}`,
      { cause: error },
    );
  }
}
