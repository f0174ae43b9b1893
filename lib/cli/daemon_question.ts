/**
 * What commands ask the daemon of this node over its socket, and what it
 * means for a person when it does not answer.
 *
 * Needs read, write and `net=unix:` of the socket.
 */
import type { Answer } from "../wire/answer.ts";
import { ask, DaemonAbsentError } from "../wire/ask.ts";
import type { StatusDocument } from "../daemon/observation.ts";
import { StatusShape } from "./status_schema.ts";

/** The status is made from memory: a daemon that needs longer is stuck. */
const STATUS_WAIT_MS = 5_000;

/** The daemon does not answer, or not as it should. */
export class NoDaemonError extends Error {
  /** The name of the class. */
  override readonly name = "NoDaemonError";
  /** What to do about it. */
  readonly remedy: string;

  /** Says what happened, and what to do. */
  constructor(
    problem: string,
    { remedy, cause }: { remedy: string; cause?: unknown },
  ) {
    super(`${problem}: ${remedy}`, { cause });
    this.remedy = remedy;
  }
}

/**
 * The status of the daemon.
 *
 * @throws {NoDaemonError} when nobody answers, or somebody who knows no status.
 */
export async function askStatus(socketPath: string): Promise<StatusDocument> {
  const question = { socketPath, route: "/status", method: "GET" } as const;
  const answer = await askDaemon(question, STATUS_WAIT_MS);
  const parsed = answer.status === 200
    ? StatusShape.safeParse(JSON.parse(answer.body))
    : undefined;
  if (parsed?.success) return parsed.data;
  throw new NoDaemonError(
    `The daemon on ${socketPath} knows no status that this multusctl understands`,
    {
      remedy:
        "it is of another version or the Go daemon, use the multusctl of its image",
    },
  );
}

/**
 * Asks, with a bound.
 *
 * @throws {NoDaemonError} when nobody answers in time.
 */
export async function askDaemon(
  question: Parameters<typeof ask>[0],
  waitMs: number,
): Promise<Answer> {
  const { socketPath } = question;
  try {
    return await ask(question, { signal: AbortSignal.timeout(waitMs) });
  } catch (cause) {
    if (cause instanceof DaemonAbsentError) {
      throw new NoDaemonError(`The daemon does not answer on ${socketPath}`, {
        remedy: "is the multus DaemonSet running on this node?",
        cause,
      });
    }
    if (cause instanceof DOMException && cause.name === "TimeoutError") {
      throw new NoDaemonError(
        `The daemon on ${socketPath} did not answer within ${waitMs / 1000} s`,
        { remedy: "look into its log, and delete its pod", cause },
      );
    }
    throw cause;
  }
}
