/**
 * HTTPS for the stand-in API server. `Deno.serve` sends the head and the body of an
 * answer in two packets and waits 40 ms for the acknowledgement between them, which
 * real API servers do not, and which would be all that a benchmark measures; it can
 * not drop a connection without an answer either. `node:https` does both right.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import type { IncomingMessage, ServerResponse } from "node:http";
import { createServer } from "node:https";
import type { CertificatePair } from "./certificates.ts";

/** Where and as whom to listen, and who answers. */
export interface ListenOptions {
  readonly hostname: string;
  /** 0 for any that is free. */
  readonly port: number;
  readonly pair: CertificatePair;
  /** Answers a request; undefined drops the connection. */
  readonly handle: (request: Request) => Promise<Response | undefined>;
}

/** A listening server. */
export interface Listener {
  readonly port: number;
  /** Stops listening and breaks every connection off. */
  close(): Promise<void>;
}

/** Listens. Needs `net` for the address. */
export async function listenHttps(options: ListenOptions): Promise<Listener> {
  const { hostname, port, pair, handle } = options;
  const answering = new Set<Promise<void>>();
  const server = createServer(
    { cert: pair.certPem, key: pair.keyPem, noDelay: true },
    (incoming, outgoing) => {
      const answered = answer(incoming, outgoing, handle).catch(() => {
        outgoing.destroy();
      });
      answering.add(answered);
      answered.finally(() => answering.delete(answered));
    },
  );
  // Real servers keep idle connections for minutes; who closes early races with the next request.
  server.keepAliveTimeout = 0;
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  server.once("error", reject);
  server.listen(port, hostname, resolve);
  await promise;
  const address = server.address();
  return {
    port: typeof address === "object" && address !== null ? address.port : port,
    close: async () => {
      const closed = new Promise((resolve) => server.close(resolve));
      server.closeAllConnections();
      // One in the middle of its TLS handshake is not among them yet.
      const again = setInterval(() => server.closeAllConnections(), 10);
      await closed;
      clearInterval(again);
      await Promise.all(answering);
    },
  };
}

async function answer(
  incoming: IncomingMessage,
  outgoing: ServerResponse,
  handle: ListenOptions["handle"],
): Promise<void> {
  const response = await handle(await toRequest(incoming));
  if (response === undefined) {
    outgoing.destroy();
    return;
  }
  // A client that has gone meanwhile says so no second time: a watch would wait for it for ever.
  if (outgoing.destroyed) return await response.body?.cancel();
  outgoing.writeHead(response.status, Object.fromEntries(response.headers));
  if (isWatch(response)) outgoing.flushHeaders();
  await send(response, outgoing);
}

async function toRequest(incoming: IncomingMessage): Promise<Request> {
  const { method = "GET", url = "/", headers } = incoming;
  const body = await readBody(incoming);
  const texts = Object.entries(headers).flatMap(([name, value]) =>
    typeof value === "string" ? [[name, value]] : []
  );
  return new Request(`https://${headers.host ?? "server"}${url}`, {
    method,
    headers: Object.fromEntries(texts),
    ...(body.length === 0 ? {} : { body }),
  });
}

/** The whole body. A connection that is broken off in the middle ends the reading, too: iterating would wait for ever. */
async function readBody(
  incoming: IncomingMessage,
): Promise<Buffer<ArrayBuffer>> {
  const pieces: Uint8Array[] = [];
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  incoming.on("data", (piece: Uint8Array) => pieces.push(piece));
  incoming.once("end", resolve);
  incoming.once("error", reject);
  incoming.once(
    "close",
    () => reject(new Deno.errors.ConnectionReset("The client has gone")),
  );
  await promise;
  return Buffer.concat(pieces);
}

/** A watch's head is sent before there is anything to say. */
function isWatch(response: Response): boolean {
  return response.headers.get("content-type")?.includes("stream=watch") ??
    false;
}

/** Sends a body piece by piece; a body that breaks breaks the connection. */
async function send(
  response: Response,
  outgoing: ServerResponse,
): Promise<void> {
  const reader = response.body?.getReader();
  if (reader === undefined) {
    outgoing.end();
    return;
  }
  const { promise: gone, resolve: leave } = Promise.withResolvers<void>();
  // A client that goes away ends the reading, too, and what is being written: nobody would say how that went.
  outgoing.once("close", () => {
    reader.cancel().catch(() => {});
    leave();
  });
  for (;;) {
    const { value, done } = await reader.read();
    if (done) break;
    const written = new Promise<void>((resolve, reject) => {
      outgoing.write(value, (error) => error ? reject(error) : resolve());
    });
    await Promise.race([written, gone]);
  }
  outgoing.end();
}
