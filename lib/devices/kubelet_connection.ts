/**
 * Calls to the kubelet's gRPC server on its unix socket: bytes in, bytes out. What the bytes mean is read elsewhere,
 * and so is the decision whether to call again: nothing is retried here. The gRPC library is loaded with the first
 * connection, since most nodes have no device to ask for.
 */

import { Buffer } from "node:buffer";
import type { Client, ServiceError } from "@grpc/grpc-js";

/** The status codes of gRPC that are told apart here. */
export const CallStatus = {
  cancelled: 1,
  unknown: 2,
  deadlineExceeded: 4,
  notFound: 5,
  resourceExhausted: 8,
  unimplemented: 12,
  unavailable: 14,
} as const;

/** A call that the kubelet refused or did not answer; the message is the kubelet's. */
export class KubeletCallError extends Error {
  /** Tells this error from others by name. */
  override readonly name = "KubeletCallError";
  /** The gRPC status code. */
  readonly status: number;

  /** Keeps the status and the words of the call. */
  constructor(status: number, message: string, options?: ErrorOptions) {
    super(message, options);
    this.status = status;
  }
}

/** A connection to the kubelet, to be disposed of after use. */
export interface KubeletConnection extends Disposable {
  /**
   * Calls one method, such as `/v1.PodResourcesLister/List`.
   *
   * @throws {KubeletCallError} for every status but OK
   */
  call(
    method: string,
    request: Uint8Array,
    options: { timeoutMs: number; signal: AbortSignal },
  ): Promise<Uint8Array>;
}

/**
 * Makes ready for calls; the socket is opened by the first.
 *
 * Needs read, write and net permission for the socket (`--allow-net=unix:<socket>`).
 */
export async function connectKubelet(
  socket: string,
): Promise<KubeletConnection> {
  const { default: grpc } = await import("./grpc.ts");
  const client = new grpc.Client(
    `unix:${socket}`,
    grpc.credentials.createInsecure(),
    CHANNEL_OPTIONS,
  );
  return {
    call: (method, request, options) =>
      callOnce(client, { method, request, ...options }),
    [Symbol.dispose]: () => client.close(),
  };
}

const CHANNEL_OPTIONS = {
  // What the kubelet's own client allows: a list of a node with many devices is of the order of 2 MB.
  "grpc.max_receive_message_length": 16 * 1024 * 1024,
  // An HTTP proxy of the node has no business with a unix socket.
  "grpc.enable_http_proxy": 0,
  "grpc.service_config_disable_resolution": 1,
  // Whoever calls decides on retries, since it knows the deadline.
  "grpc.enable_retries": 0,
  // Connecting again waits for as long as the caller's back-off, not for minutes.
  "grpc.initial_reconnect_backoff_ms": 100,
  "grpc.max_reconnect_backoff_ms": 1_000,
  // A channel of its own, so that closing it leaves no subchannel behind in a pool.
  "grpc.use_local_subchannel_pool": 1,
};

interface Call {
  readonly method: string;
  readonly request: Uint8Array;
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
}

function callOnce(
  client: Client,
  { method, request, timeoutMs, signal }: Call,
): Promise<Uint8Array> {
  const { promise, resolve, reject } = Promise.withResolvers<Uint8Array>();
  const onAnswer = (error: ServiceError | null, answer?: Uint8Array): void => {
    signal.removeEventListener("abort", cancel);
    if (error !== null) {
      reject(new KubeletCallError(error.code, error.details, { cause: error }));
    } else resolve(answer ?? new Uint8Array());
  };
  const deadline = Date.now() + timeoutMs;
  const call = client.makeUnaryRequest(method, toBuffer, toBytes, request, {
    deadline,
  }, onAnswer);
  const cancel = (): void => call.cancel();
  signal.addEventListener("abort", cancel, { once: true });
  if (signal.aborted) cancel();
  return promise;
}

function toBuffer(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function toBytes(buffer: Buffer): Uint8Array {
  return buffer;
}
