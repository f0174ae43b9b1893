/**
 * Asks the kubelet which devices the containers of a pod were given: gRPC `v1.PodResourcesLister` on a unix socket.
 *
 * Many ADDs ask at once when a node starts, and the kubelet answers only so many calls a second, for all its clients
 * together. So there is one call at a time, and whoever asks meanwhile shares the next: `Get` when one pod is asked
 * for, one `List` when there are several, `List` also where the kubelet knows no `Get` (before 1.27) or has it
 * switched off (before 1.34). Every answer was asked for after its asker came, so none can be out of date, not even
 * for a pod that has just replaced another of its name; that is why nothing is kept longer than the call.
 *
 * A call that the kubelet refuses for its rate limit, or cannot answer now, is made again, for as long as somebody
 * waits. What the device IDs mean, and in which order networks take them, is decided elsewhere.
 */

import { CniError, ErrorCode } from "../cni/error.ts";
import {
  CallStatus,
  connectKubelet,
  KubeletCallError,
  type KubeletConnection,
} from "./kubelet_connection.ts";
import {
  type ContainerDevices,
  podKey,
  type PodName,
  readGetResponse,
  readListResponse,
  writeGetRequest,
  writeListRequest,
} from "./pod_resources_messages.ts";

/** Where the kubelet listens, unless its root directory was moved. */
export const POD_RESOURCES_SOCKET =
  "/var/lib/kubelet/pod-resources/kubelet.sock";

/** Answers which devices a pod was given. */
export interface PodResourcesClient {
  /**
   * Lists a pod's devices, in the kubelet's order of containers. A pod that the kubelet does not know has none.
   *
   * @throws {CniError} code 11 when the kubelet did not answer before the signal, or refused; code 6 when its answer
   *   cannot be read
   */
  devicesOf(
    pod: PodName,
    options: { signal: AbortSignal },
  ): Promise<readonly ContainerDevices[]>;
}

/**
 * Makes a client; it connects when it is asked something, and disconnects when nobody waits any longer.
 *
 * Needs read, write and net permission for the socket (`--allow-net=unix:<socket>`).
 */
export function createPodResourcesClient(
  socket: string,
  options: { callTimeoutMs?: number } = {},
): PodResourcesClient {
  return new SharedCalls(socket, options.callTimeoutMs ?? CALL_TIMEOUT_MS);
}

const GET = "/v1.PodResourcesLister/Get";
const LIST = "/v1.PodResourcesLister/List";

/** A kubelet that is busy with its device manager takes seconds; one that takes longer has lost the call. */
const CALL_TIMEOUT_MS = 10_000;
/** A tenth of the 100 calls a second that the kubelet allows to all its clients together. */
const CALL_INTERVAL_MS = 100;
/** The first wait after a refusal: a rate limit of 5 a second lets the next call through after 200 ms. */
const BACKOFF_START_MS = 200;
/** Long enough for a kubelet that restarts, short enough to leave an ADD most of its time. */
const BACKOFF_MAX_MS = 1_000;

/** Statuses that pass: the rate limit, a kubelet that restarts, a lost call. */
const PASSING_STATUSES: ReadonlySet<number> = new Set([
  CallStatus.resourceExhausted,
  CallStatus.unavailable,
  CallStatus.deadlineExceeded,
]);
/**
 * Statuses after which `List` may know more than `Get`. The kubelet gives "unknown" both when `Get` is switched off and
 * when the pod is not known, and both only as words.
 */
const GET_FAILED_STATUSES: ReadonlySet<number> = new Set([
  CallStatus.unimplemented,
  CallStatus.unknown,
  CallStatus.notFound,
]);

interface Waiter {
  readonly pod: PodName;
  readonly resolve: (devices: readonly ContainerDevices[]) => void;
  readonly reject: (error: CniError) => void;
}

class SharedCalls implements PodResourcesClient {
  readonly #socket: string;
  readonly #callTimeoutMs: number;
  readonly #waiting = new Set<Waiter>();
  #working = false;
  /** Ends the pause or the call under way, for when its last waiter has gone. */
  #round = new AbortController();
  /** False once the kubelet has said that it serves no `Get`; it does not change its mind while it runs. */
  #servesGet = true;
  #lastCallAt = -Infinity;
  #backoffMs = 0;
  #lastRefusal: KubeletCallError | undefined;

  constructor(socket: string, callTimeoutMs: number) {
    this.#socket = socket;
    this.#callTimeoutMs = callTimeoutMs;
  }

  async devicesOf(
    pod: PodName,
    { signal }: { signal: AbortSignal },
  ): Promise<readonly ContainerDevices[]> {
    const { promise, resolve, reject } = Promise.withResolvers<
      readonly ContainerDevices[]
    >();
    const waiter: Waiter = { pod, resolve, reject };
    const giveUp = (): void =>
      reject(refusal(pod, this.#lastRefusal ?? signal.reason));
    if (signal.aborted) throw refusal(pod, signal.reason);
    signal.addEventListener("abort", giveUp, { once: true });
    this.#waiting.add(waiter);
    if (!this.#working) this.#work();
    try {
      return await promise;
    } finally {
      signal.removeEventListener("abort", giveUp);
      this.#waiting.delete(waiter);
      if (this.#waiting.size === 0) this.#round.abort();
    }
  }

  /** Calls until nobody waits. Never rejects: what goes wrong is told to those who wait. */
  async #work(): Promise<void> {
    this.#working = true;
    try {
      using connection = await connectKubelet(this.#socket);
      while (this.#waiting.size > 0) await this.#serveRound(connection);
    } catch (error) {
      for (const waiter of this.#waiting) {
        waiter.reject(refusal(waiter.pod, error));
      }
      this.#waiting.clear();
    } finally {
      this.#working = false;
      this.#backoffMs = 0;
      this.#lastRefusal = undefined;
    }
  }

  /** One call for all who wait when it begins, after the pause that is due. */
  async #serveRound(connection: KubeletConnection): Promise<void> {
    this.#round = new AbortController();
    const { signal } = this.#round;
    const dueAt = this.#lastCallAt +
      Math.max(CALL_INTERVAL_MS, this.#backoffMs);
    await pause(dueAt - performance.now(), signal);
    const batch = [...this.#waiting];
    if (batch.length === 0) return;
    try {
      const devices = await this.#ask(connection, batch, signal);
      this.#settle(
        batch,
        (waiter) => waiter.resolve(devices.get(podKey(waiter.pod)) ?? []),
      );
      this.#backoffMs = 0;
    } catch (error) {
      if (this.#isPassing(error)) return;
      this.#settle(
        batch,
        (waiter) => waiter.reject(refusal(waiter.pod, error)),
      );
    }
  }

  #settle(batch: readonly Waiter[], settle: (waiter: Waiter) => void): void {
    for (const waiter of batch) {
      this.#waiting.delete(waiter);
      settle(waiter);
    }
  }

  async #ask(
    connection: KubeletConnection,
    batch: readonly Waiter[],
    signal: AbortSignal,
  ): Promise<Map<string, ContainerDevices[]>> {
    const wanted = new Map(batch.map(({ pod }) => [podKey(pod), pod]));
    const [pod] = wanted.values();
    if (wanted.size === 1 && pod !== undefined && this.#servesGet) {
      const devices = await this.#get(connection, pod, signal);
      if (devices !== undefined) return new Map([[podKey(pod), devices]]);
    }
    const answer = await this.#call(connection, {
      method: LIST,
      request: writeListRequest(),
      signal,
    });
    return readListResponse(answer, new Set(wanted.keys()));
  }

  /** Undefined when `List` has to be asked instead. */
  async #get(
    connection: KubeletConnection,
    pod: PodName,
    signal: AbortSignal,
  ): Promise<ContainerDevices[] | undefined> {
    try {
      return readGetResponse(
        await this.#call(connection, {
          method: GET,
          request: writeGetRequest(pod),
          signal,
        }),
      );
    } catch (error) {
      if (
        !(error instanceof KubeletCallError) ||
        !GET_FAILED_STATUSES.has(error.status)
      ) throw error;
      if (
        error.status === CallStatus.unimplemented ||
        /disabled/i.test(error.message)
      ) this.#servesGet = false;
      return undefined;
    }
  }

  #call(
    connection: KubeletConnection,
    { method, request, signal }: {
      method: string;
      request: Uint8Array;
      signal: AbortSignal;
    },
  ): Promise<Uint8Array> {
    this.#lastCallAt = performance.now();
    return connection.call(method, request, {
      timeoutMs: this.#callTimeoutMs,
      signal,
    });
  }

  /** Whether to call again, and if so, after which wait. */
  #isPassing(error: unknown): boolean {
    if (!(error instanceof KubeletCallError)) return false;
    // Cancelled by the last waiter that left: whoever has come since is served by the next round.
    if (error.status === CallStatus.cancelled && this.#round.signal.aborted) {
      return true;
    }
    if (!PASSING_STATUSES.has(error.status) || isTooLarge(error)) return false;
    this.#lastRefusal = error;
    this.#backoffMs = Math.min(
      BACKOFF_MAX_MS,
      Math.max(BACKOFF_START_MS, this.#backoffMs * 2),
    );
    return true;
  }
}

/** An answer above the size limit has the status of a rate limit, but stays as it is however often it is asked for. */
function isTooLarge(error: KubeletCallError): boolean {
  return /larger than max/i.test(error.message);
}

function refusal(pod: PodName, cause: unknown): CniError {
  const code = cause instanceof SyntaxError
    ? ErrorCode.decodingFailure
    : ErrorCode.tryAgainLater;
  const reason = cause instanceof Error ? cause.message : String(cause);
  return new CniError(
    code,
    `Kubelet does not tell the devices of pod "${podKey(pod)}": ${reason}`,
    { cause },
  );
}

/** Waits, but not longer than until the signal. */
async function pause(ms: number, signal: AbortSignal): Promise<void> {
  if (ms <= 0 || signal.aborted) return;
  const { promise, resolve } = Promise.withResolvers<void>();
  const timer = setTimeout(resolve, ms);
  signal.addEventListener("abort", () => resolve(), { once: true });
  await promise;
  clearTimeout(timer);
}
