/**
 * The error for what a daemon does not begin any more, because it is shutting
 * down. The server answers it with 503, which tells a shim that nothing was
 * taken: it waits for the next daemon, and an update costs no pod its start.
 */
import { CniError, ErrorCode } from "../cni/error.ts";

/** The daemon is shutting down; the next one will do it. */
export class ShuttingDownError extends CniError {
  /** Tells it from other errors. */
  override readonly name = "ShuttingDownError";

  /** Always the same words. */
  constructor() {
    super(
      ErrorCode.tryAgainLater,
      "The daemon is shutting down and takes no ADD: the next one will",
    );
  }
}
