import { deepEqual, equal, ok, rejects } from "node:assert/strict";
import {
  formatAnswer,
  leaveStaleSocket,
  type Script,
  startScriptedDaemon,
} from "../../tests/scripted_daemon.ts";
import type { Answer } from "./answer.ts";
import { ask, ConnectionCutError, DaemonAbsentError } from "./ask.ts";
import { ANSWER_BYTES_MAX } from "./http_answer.ts";

/** Never aborted: the script of each test ends the call. */
const signal = new AbortController().signal;

interface Socket extends Disposable {
  readonly path: string;
}

function makeSocketPath(): Socket {
  const dir = Deno.makeTempDirSync({ prefix: "ask" });
  return {
    path: `${dir}/multus.sock`,
    [Symbol.dispose]: () => Deno.removeSync(dir, { recursive: true }),
  };
}

Deno.test("ask() sends one request that ends the connection", async () => {
  using socket = makeSocketPath();
  await using daemon = startScriptedDaemon(socket.path, () => [
    formatAnswer(200, "{}"),
  ]);
  const body = JSON.stringify({ text: "x".repeat(300_000) });
  const question = { socketPath: socket.path, route: "/cni", body };
  deepEqual(await ask(question, { signal }), { status: 200, body: "{}" });
  const [asked] = daemon.asked;
  equal(daemon.asked.length, 1);
  equal(asked?.method, "POST");
  equal(asked?.route, "/cni");
  equal(asked?.headers.get("connection"), "close");
  equal(asked?.headers.get("host"), "multus");
  equal(asked?.body, body);
});

Deno.test("ask() asks nothing when its signal has come already", async () => {
  using socket = makeSocketPath();
  await using daemon = startScriptedDaemon(socket.path, () => [
    formatAnswer(200, "{}"),
  ]);
  const question = { socketPath: socket.path, route: "/cni" };
  const signal = AbortSignal.abort(new RangeError("over"));
  await rejects(ask(question, { signal }), RangeError);
  equal(daemon.asked.length, 0);
});

Deno.test("ask() gets an answer of Deno's server", async () => {
  using socket = makeSocketPath();
  await using _server = Deno.serve(
    { path: socket.path, onListen: () => {} },
    async (request) =>
      new Response(`${request.method} ${await request.text()}`),
  );
  const question = { socketPath: socket.path, route: "/healthz" };
  const get = { ...question, method: "GET" } as const;
  const post = { ...question, body: "ä" };
  equal((await ask(get, { signal })).body, "GET ");
  equal((await ask(post, { signal })).body, "POST ä");
});

const HEAD = "HTTP/1.1 200 OK\r\n";
const CHUNKS = [`${HEAD}Transfer-`, "Encoding: chunked\r\n\r\n2\r", "\n{}\r\n"];
const LARGE = "y".repeat(ANSWER_BYTES_MAX);

const ANSWERED: readonly [string, Script, Answer][] = [
  ["in pieces", () => [...formatAnswer(400, "bad")], {
    status: 400,
    body: "bad",
  }],
  ["in chunks", () => [...CHUNKS, "0\r\n\r\n"], { status: 200, body: "{}" }],
  ["up to the end", () => [`${HEAD}\r\nall`], { status: 200, body: "all" }],
  ["as large as allowed", () => [formatAnswer(200, LARGE)], {
    status: 200,
    body: LARGE,
  }],
  [
    "and the connection held open",
    ({ gone }) => [formatAnswer(200, ""), gone],
    { status: 200, body: "" },
  ],
];

Deno.test("ask() reads an answer that comes", async (t) => {
  for (const [name, script, expected] of ANSWERED) {
    await t.step(name, async () => {
      using socket = makeSocketPath();
      await using _daemon = startScriptedDaemon(socket.path, script);
      const question = { socketPath: socket.path, route: "/cni" };
      deepEqual(await ask(question, { signal }), expected);
    });
  }
});

type Kind = new (...args: never[]) => Error;

const FAILED: readonly [string, Script, Kind][] = [
  ["nothing comes", () => [], ConnectionCutError],
  [
    "it ends in the head",
    () => ["HTTP/1.1 200 OK\r\nConte"],
    ConnectionCutError,
  ],
  [
    "it ends in the body",
    () => [`${HEAD}Content-Length: 10\r\n\r\n{"Res`],
    ConnectionCutError,
  ],
  ["it ends between chunks", () => CHUNKS, ConnectionCutError],
  ["rubbish comes", () => ["SSH-2.0-OpenSSH_9.2\r\n"], SyntaxError],
  [
    "rubbish comes and the connection stays",
    ({ gone }) => [new Uint8Array([0, 1, 2, 3]), gone],
    SyntaxError,
  ],
  ["it is too large", () => [formatAnswer(200, `${LARGE}y`)], RangeError],
  ["it never ends", () => [`${HEAD}\r\n`, ...Array(9).fill(LARGE)], RangeError],
];

Deno.test("ask() fails when there is no whole answer", async (t) => {
  for (const [name, script, kind] of FAILED) {
    await t.step(name, async () => {
      using socket = makeSocketPath();
      await using _daemon = startScriptedDaemon(socket.path, script);
      const question = { socketPath: socket.path, route: "/cni" };
      await rejects(ask(question, { signal }), kind);
    });
  }
});

Deno.test("ask() takes an answer that comes before the request was read", async () => {
  using socket = makeSocketPath();
  using listener = Deno.listen({ transport: "unix", path: socket.path });
  const body = "x".repeat(2 * 1024 * 1024);
  const question = { socketPath: socket.path, route: "/cni", body };
  const answered = ask(question, { signal });
  using conn = await listener.accept();
  const refusal = new TextEncoder().encode(formatAnswer(413, "too large"));
  equal(await conn.write(refusal), refusal.length);
  deepEqual(await answered, { status: 413, body: "too large" });
});

Deno.test("ask() tells that nobody listens when the socket is missing or left behind", async () => {
  using socket = makeSocketPath();
  const question = { socketPath: socket.path, route: "/cni" };
  await rejects(ask(question, { signal }), DaemonAbsentError);
  await leaveStaleSocket(socket.path);
  ok((await Deno.lstat(socket.path)).isSocket);
  await rejects(ask(question, { signal }), DaemonAbsentError);
});

Deno.test("ask() ends with the signal's reason when it is aborted", async () => {
  using socket = makeSocketPath();
  const controller = new AbortController();
  const reason = new RangeError("Enough");
  await using daemon = startScriptedDaemon(socket.path, ({ gone }) => {
    controller.abort(reason);
    return [gone];
  });
  const question = { socketPath: socket.path, route: "/cni" };
  const limits = { signal: controller.signal };
  await rejects(ask(question, limits), reason);
  await daemon.asked[0]?.gone;
  await rejects(ask(question, limits), reason);
  equal(daemon.asked.length, 1);
});
