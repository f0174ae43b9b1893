/**
 * What can go wrong between a node and the Kubernetes API, told apart by what the
 * caller should do about it: try again later (`ApiUnavailableError`), or take no
 * for an answer (`ApiStatusError`, and for pods and networks the errors that say
 * what is not there). None of them is a CNI error; the daemon makes those.
 *
 * @module
 */

/**
 * The API could not be asked, or could not answer: the network, a deadline, a
 * refused token, 429 or 5xx. The same request may work later.
 */
export class ApiUnavailableError extends Error {
  /** Tells it apart where classes are not known. */
  override readonly name = "ApiUnavailableError";
  /** One line without "Kubernetes API": "connection refused", "status 503: …". */
  readonly reason: string;
  /** The HTTP status where there was an answer. */
  readonly status: number | undefined;
  /** How long the server asked to be left alone. */
  readonly retryAfterMs: number | undefined;

  /** Says what happened. */
  constructor(
    reason: string,
    options: { status?: number; retryAfterMs?: number; cause?: unknown } = {},
  ) {
    super(`Kubernetes API is not available: ${reason}`, {
      cause: options.cause,
    });
    this.reason = reason;
    this.status = options.status;
    this.retryAfterMs = options.retryAfterMs;
  }
}

/** The API answered, and the answer is no: 403, 404, 409, 410, 422 and the like. */
export class ApiStatusError extends Error {
  /** Tells it apart where classes are not known. */
  override readonly name = "ApiStatusError";
  /** The HTTP status. */
  readonly status: number;
  /** The API's word for it, such as "NotFound", "Conflict", "Expired". */
  readonly reason: string;
  /** What the API says about it, for people. */
  readonly detail: string;

  /** Says what happened. */
  constructor(status: number, reason: string, message: string) {
    super(`Kubernetes API answered ${status} ${reason}: ${message}`);
    this.status = status;
    this.reason = reason;
    this.detail = message;
  }
}

/** The API knows no such pod. */
export class PodNotFoundError extends Error {
  /** Tells it apart where classes are not known. */
  override readonly name = "PodNotFoundError";

  /** Says what happened. */
  constructor(pod: { namespace: string; name: string }) {
    super(`Pod does not exist: ${pod.namespace}/${pod.name}`);
  }
}

/** A pod of that name exists, but it is another one than the one asked for. */
export class PodReplacedError extends Error {
  /** Tells it apart where classes are not known. */
  override readonly name = "PodReplacedError";
  /** The UID of the pod that is there now. */
  readonly presentUid: string;

  /** Says what happened. */
  constructor(
    pod: { namespace: string; name: string },
    uids: { asked: string; present: string },
  ) {
    super(
      `Pod ${pod.namespace}/${pod.name} is another one than ${uids.asked}: ${uids.present}`,
    );
    this.presentUid = uids.present;
  }
}

/** The API knows no such NetworkAttachmentDefinition. */
export class AttachmentNotFoundError extends Error {
  /** Tells it apart where classes are not known. */
  override readonly name = "AttachmentNotFoundError";

  /** Says what happened. */
  constructor(attachment: { namespace: string; name: string }) {
    super(
      `NetworkAttachmentDefinition does not exist: ${attachment.namespace}/${attachment.name}`,
    );
  }
}

/** A kubeconfig, or the in-cluster credentials, cannot be used. */
export class CredentialsError extends Error {
  /** Tells it apart where classes are not known. */
  override readonly name = "CredentialsError";
}
