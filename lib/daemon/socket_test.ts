import { equal, match, ok, rejects } from "node:assert/strict";
import { leaveStaleSocket } from "../../tests/scripted_daemon.ts";
import { ask } from "../wire/ask.ts";
import { REQUEST_BYTES_MAX } from "../wire/request.ts";
import { type HttpResponse, textResponse } from "./http_request.ts";
import {
  type Handler,
  type Server,
  serveSocket,
  SOCKET_LIMITS,
  SocketInUseError,
} from "./socket.ts";

/** How long a test waits for what should happen at once. */
const WAIT_MS = 10_000;
const BRIEF = { ...SOCKET_LIMITS, headMs: 100, requestMs: 200 };

function say(text: string): Promise<HttpResponse> {
  return Promise.resolve(textResponse(200, text));
}

const echo: Handler = ({ method, path, body }) =>
  say(`${method} ${path} ${body.length}`);

interface Served extends AsyncDisposable {
  readonly server: Server;
  connect(text?: string): Promise<Deno.UnixConn>;
  leave(conn: Deno.UnixConn): void;
}

async function serve(
  handler: Handler,
  limits = SOCKET_LIMITS,
): Promise<Served> {
  const dir = await Deno.makeTempDir({ prefix: "socket" });
  const server = await serveSocket(dir, handler, limits);
  const connections = new Set<Deno.UnixConn>();
  return {
    server,
    async connect(text = ""): Promise<Deno.UnixConn> {
      const conn = await Deno.connect({ transport: "unix", path: server.path });
      connections.add(conn);
      // The server may have refused it already: that is what the test reads then.
      await writeAll(conn, text).catch(() => {});
      return conn;
    },
    leave(conn): void {
      connections.delete(conn);
      conn.close();
    },
    async [Symbol.asyncDispose](): Promise<void> {
      for (const conn of connections) conn.close();
      await server.shutdown();
      await Deno.remove(dir, { recursive: true });
    },
  };
}

async function writeAll(conn: Deno.UnixConn, text: string): Promise<void> {
  const bytes = new TextEncoder().encode(text);
  for (let at = 0; at < bytes.length;) {
    at += await conn.write(bytes.subarray(at));
  }
}

/** Everything that the server says until it closes. */
async function readAll(conn: Deno.UnixConn): Promise<string> {
  const decoder = new TextDecoder();
  let text = "";
  const buffer = new Uint8Array(4096);
  for (;;) {
    const count = await conn.read(buffer).catch(() => null);
    if (count === null) return text;
    text += decoder.decode(buffer.subarray(0, count));
  }
}

async function ping({ server }: Served, body = "12345"): Promise<string> {
  const signal = AbortSignal.timeout(WAIT_MS);
  const question = { socketPath: server.path, route: "/cni", body };
  return (await ask(question, { signal })).body;
}

/** Asks again and again, until it is so. */
async function until(isSo: () => Promise<boolean>): Promise<void> {
  const end = performance.now() + WAIT_MS;
  while (!await isSo()) ok(performance.now() < end, "in time");
}

Deno.test("serveSocket() answers, with directory and socket for root alone", async () => {
  await using served = await serve(echo);
  equal(await ping(served), "POST /cni 5");
  const { mode } = await Deno.stat(served.server.path);
  equal((mode ?? 0) & 0o777, 0o600);
});

const SLOW = [
  ["nothing", ""],
  ["half a line", "POST /c"],
  ["half a head", "POST /cni HTTP/1.1\r\nHost: a\r\nX: "],
  [
    "half a body",
    "POST /cni HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc",
  ],
] as const;

Deno.test("serveSocket() refuses a socket on which somebody answers", async () => {
  await using served = await serve(echo);
  const { path } = served.server;
  await rejects(
    serveSocket(path.slice(0, path.lastIndexOf("/")), echo),
    SocketInUseError,
  );
  const signal = AbortSignal.timeout(WAIT_MS);
  equal((await ask({ socketPath: path, route: "/x" }, { signal })).status, 200);
});

Deno.test("serveSocket() takes over a socket on which nobody answers", async (t) => {
  const ways: Record<string, (path: string) => Promise<Disposable>> = {
    "its file was left behind": async (path) => {
      await leaveStaleSocket(path);
      return { [Symbol.dispose]: () => {} };
    },
    "somebody holds it open and takes no connection": (path) =>
      Promise.resolve(Deno.listen({ transport: "unix", path })),
    "somebody holds it open and is just going": async (path) => {
      const kept = `${path}.kept`;
      const listener = Deno.listen({ transport: "unix", path });
      await Deno.rename(path, kept);
      setTimeout(() => listener.close(), 200);
      await Deno.rename(kept, path);
      return { [Symbol.dispose]: () => {} };
    },
  };
  for (const [way, leave] of Object.entries(ways)) {
    await t.step(way, async () => {
      const dir = await Deno.makeTempDir({ prefix: "socket" });
      using _left = await leave(`${dir}/multus.sock`);
      await using server = await serveSocket(dir, echo);
      const signal = AbortSignal.timeout(WAIT_MS);
      const question = { socketPath: server.path, route: "/x" };
      equal((await ask(question, { signal })).status, 200);
      await server.shutdown();
      await Deno.remove(dir, { recursive: true });
    });
  }
});

Deno.test("serveSocket() closes on a client that sends too slowly", async () => {
  await using served = await serve(echo, BRIEF);
  await Promise.all(SLOW.map(async ([what, text]) => {
    const conn = await served.connect(text);
    match(await readAll(conn), /^(HTTP\/1.1 408 .*|)$/s, what);
  }));
  equal(await ping(served), "POST /cni 5");
});

Deno.test("serveSocket() closes on one client too many, and serves again when one has left", async () => {
  await using served = await serve(echo, {
    ...SOCKET_LIMITS,
    connectionsMax: 2,
  });
  const first = await served.connect("POST /");
  await served.connect("POST /");
  equal(await readAll(await served.connect("POST /")), "");
  served.leave(first);
  const end = performance.now() + WAIT_MS;
  let answer: string | undefined;
  while (answer === undefined && performance.now() < end) {
    answer = await ping(served).catch(() => undefined);
  }
  equal(answer, "POST /cni 5");
});

Deno.test("serveSocket() refuses a head that is too long", async () => {
  await using served = await serve(echo);
  const conn = await served.connect(
    `GET / HTTP/1.1\r\nHost: a\r\nX: ${"x".repeat(64 * 1024)}\r\n\r\n`,
  );
  match(await readAll(conn), /^(HTTP\/1.1 4\d\d .*|)$/s);
  equal(await ping(served), "POST /cni 5");
});

Deno.test("serveSocket() answers other clients than shims, and closes after each answer", async (t) => {
  const table: [what: string, request: string, expected: RegExp][] = [
    [
      "one that would go on",
      "POST /cni HTTP/1.1\r\nHost: a\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\n{}GET / HTTP/1.1\r\n",
      /^HTTP\/1\.1 200 OK\r\n.*\r\nconnection: close\r\n.*\r\n\r\nPOST \/cni 2$/s,
    ],
    [
      "one that sends chunks",
      "POST /cni HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
      /^HTTP\/1\.1 200 OK\r\n.*\r\n\r\nPOST \/cni 2$/s,
    ],
    [
      "one that asks before it sends the body",
      "POST /cni HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n{}",
      /^HTTP\/1\.1 100 Continue\r\n\r\nHTTP\/1\.1 200 OK\r\n.*\r\n\r\nPOST \/cni 2$/s,
    ],
    [
      "one that wants the head alone",
      "HEAD /healthz HTTP/1.1\r\nHost: a\r\n\r\n",
      /^HTTP\/1\.1 200 OK\r\n.*\r\ncontent-length: 15\r\n\r\n$/s,
    ],
    [
      "one that speaks something else",
      "\x16\x03\x01 hello\r\n\r\n",
      /^HTTP\/1\.1 400 Bad Request\r\n.*\r\ncontent-length: 0\r\n\r\n$/s,
    ],
    [
      "one that asks for no path",
      "GET http://[ HTTP/1.1\r\n\r\n",
      /^HTTP\/1\.1 400 Bad Request\r\n.*\r\n\r\nNot a path\n$/s,
    ],
  ];
  await using served = await serve(echo);
  for (const [what, request, expected] of table) {
    await t.step(what, async () => {
      match(await readAll(await served.connect(request)), expected);
    });
  }
});

Deno.test("serveSocket() writes what the handler answers, and how long it is in bytes", async (t) => {
  const table: [what: string, response: HttpResponse, expected: string][] = [
    [
      "a text",
      textResponse(200, "grün\n"),
      "HTTP/1.1 200 OK\r\ncontent-type: text/plain;charset=UTF-8\r\n" +
      "date: -\r\nconnection: close\r\ncontent-length: 6\r\n\r\ngrün\n",
    ],
    [
      "another method than the allowed one",
      { ...textResponse(405, "no"), allow: "POST" },
      "HTTP/1.1 405 Method Not Allowed\r\nallow: POST\r\ncontent-type: text/plain;charset=UTF-8\r\n" +
      "date: -\r\nconnection: close\r\ncontent-length: 2\r\n\r\nno",
    ],
    [
      "no body",
      { status: 200, body: "", contentType: "application/json" },
      "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n" +
      "date: -\r\nconnection: close\r\ncontent-length: 0\r\n\r\n",
    ],
  ];
  for (const [what, response, expected] of table) {
    await t.step(what, async () => {
      await using served = await serve(() => Promise.resolve(response));
      const conn = await served.connect("GET / HTTP/1.1\r\n\r\n");
      const given = await readAll(conn);
      equal(given.replace(/(?<=^date: )\w{3}, .* GMT$/m, "-"), expected);
    });
  }
});

Deno.test("serveSocket() bounds what all requests take together, and takes more when one has gone", async () => {
  await using served = await serve(echo);
  // Each fills a buffer of 2 MiB without being complete, so that it gets one of 8 MiB.
  const head = "POST /cni HTTP/1.1\r\nContent-Length: 2097152\r\n\r\n";
  const unfinished = head + "x".repeat(REQUEST_BYTES_MAX - head.length);
  const conns = await Promise.all(
    Array.from({ length: 8 }, () => served.connect(unfinished)),
  );
  const isCrowded = async (): Promise<boolean> =>
    await ping(served) === "too much is being asked at once\n";
  await until(isCrowded);
  const [first] = conns;
  if (first !== undefined) served.leave(first);
  await until(async () => !await isCrowded());
});

Deno.test("serveSocket() reads a request however it is cut", async () => {
  await using served = await serve(echo);
  const request =
    `POST /cni HTTP/1.1\r\nHost: a\r\nContent-Length: 20000\r\n\r\n${
      "x".repeat(20_000)
    }`;
  for (const at of [1, 30, 55, 60, 8_192, 20_000]) {
    const conn = await served.connect(request.slice(0, at));
    await new Promise((resolve) => setTimeout(resolve, 5));
    await conn.write(new TextEncoder().encode(request.slice(at)));
    match(await readAll(conn), /POST \/cni 20000$/, `cut at ${at}`);
  }
});

Deno.test("serveSocket() keeps its listening socket from programs that it starts", async () => {
  await using _served = await serve(echo);
  const { stdout } = await new Deno.Command("sh", {
    args: ["-c", "ls -l /proc/$$/fd"],
  }).output();
  ok(!new TextDecoder().decode(stdout).includes("socket:"));
});

Deno.test("serveSocket() hands on no more of a body than shows that it is too long", async () => {
  let seen = 0;
  await using served = await serve(({ body }) => {
    seen = body.length;
    return Promise.resolve(textResponse(400, "no"));
  });
  const length = REQUEST_BYTES_MAX + 1024 * 1024;
  await ping(served, "x".repeat(length)).catch(() => {}); // Refused while it is still sending.
  ok(seen > REQUEST_BYTES_MAX && seen < length, String(seen));
});

Deno.test("serveSocket() tells the handler when the client has gone", async () => {
  const gone = Promise.withResolvers<void>();
  const started = Promise.withResolvers<void>();
  await using served = await serve(async ({ signal }) => {
    signal.addEventListener("abort", () => gone.resolve());
    started.resolve();
    await gone.promise;
    return say("late");
  });
  const conn = await Deno.connect({
    transport: "unix",
    path: served.server.path,
  });
  await conn.write(
    new TextEncoder().encode("GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"),
  );
  await started.promise;
  conn.close();
  await gone.promise;
});

Deno.test("serveSocket() does not abort a request that was answered", async () => {
  const signals: AbortSignal[] = [];
  await using served = await serve(({ signal }) => {
    signals.push(signal);
    return say("done");
  });
  equal(await ping(served), "done");
  await served.server.shutdown();
  ok(signals[0]?.aborted === false);
});

/** A handler that says when it was asked, and answers when it is released. */
function heldAnswer(text: string): {
  handler: Handler;
  started: PromiseWithResolvers<void>;
  release: PromiseWithResolvers<void>;
} {
  const started = Promise.withResolvers<void>();
  const release = Promise.withResolvers<void>();
  const handler: Handler = async () => {
    started.resolve();
    await release.promise;
    return say(text);
  };
  return { handler, started, release };
}

Deno.test("shutdown() leaves the socket of the next daemon alone", async () => {
  const { handler, started, release } = heldAnswer("late");
  await using served = await serve(handler);
  const { path } = served.server;
  const answer = ping(served);
  await started.promise;
  const down = served.server.shutdown();
  await using next = await serveSocket(
    path.slice(0, path.lastIndexOf("/")),
    echo,
  );
  release.resolve();
  equal(await answer, "late");
  await down;
  const signal = AbortSignal.timeout(WAIT_MS);
  const question = { socketPath: next.path, route: "/x" };
  equal((await ask(question, { signal })).status, 200);
  await next.shutdown();
});

Deno.test("shutdown() still answers who was about to ask", async () => {
  await using served = await serve(echo);
  const conn = await served.connect("GET /healthz HTTP/1.1\r\n");
  await ping(served); // By then the first is accepted.
  const down = served.server.shutdown();
  await conn.write(new TextEncoder().encode("Host: a\r\n\r\n"));
  match(await readAll(conn), /\r\n\r\nGET \/healthz 0$/);
  await down;
});

Deno.test("serveSocket() says so when its handler fails", async () => {
  await using served = await serve(() => Promise.reject(new Error("oops")));
  equal(await ping(served), "The daemon failed\n");
});

Deno.test("shutdown() waits for the answer, not for a client that does not send, and removes the socket", async () => {
  const { handler, started, release } = heldAnswer("answered");
  await using served = await serve(handler);
  await served.connect("POST /cni HTTP/1.1\r\n");
  const answer = ping(served);
  await started.promise;
  const down = served.server.shutdown();
  release.resolve();
  equal(await answer, "answered");
  await down;
  await rejects(Deno.lstat(served.server.path), Deno.errors.NotFound);
});
