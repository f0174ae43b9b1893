import { deepEqual, equal, match, ok } from "node:assert/strict";
import { CniError, ErrorCode } from "../cni/error.ts";
import {
  ApiStatusError,
  ApiUnavailableError,
  CredentialsError,
  PodNotFoundError,
  PodReplacedError,
} from "../kube/error.ts";
import { noLog } from "../log.ts";
import { REQUEST_BYTES_MAX } from "../wire/request.ts";
import {
  type Check,
  createHandler,
  type Operations,
  type Served,
} from "./server.ts";

const POD = { namespace: "default", name: "p" };

/** A handler whose operations do what the test says. */
function createTestHandler(
  options: { cni?: Operations["cni"]; checks?: readonly Check[] } = {},
): { handle: (request: Request) => Promise<Response>; served: Served[] } {
  const served: Served[] = [];
  const nothing = (): Promise<undefined> => Promise.resolve(undefined);
  const handle = createHandler({
    operations: { cni: options.cni ?? nothing, delegate: nothing },
    readiness: () => options.checks ?? [],
    status: () => ({ version: "test" }),
    onServed: (one) => void served.push(one),
    log: noLog,
  });
  return { handle, served };
}

function post(body: BodyInit, route = "/cni"): Request {
  return new Request(`http://multus${route}`, { method: "POST", body });
}

/** A DEL as a shim sends it. */
function del(
  conf: unknown = { cniVersion: "1.0.0", name: "n", type: "multus-shim" },
): Request {
  const env = {
    CNI_COMMAND: "DEL",
    CNI_CONTAINERID: "c1",
    CNI_NETNS: "/run/netns/a",
    CNI_IFNAME: "eth0",
    CNI_PATH: "/opt/cni/bin",
  };
  const config = new TextEncoder().encode(JSON.stringify(conf)).toBase64();
  return post(JSON.stringify({ env, config }));
}

/** A body of this size that does not end before it is told to. */
function unfinished(
  bytes: number,
): { body: ReadableStream<Uint8Array>; end: () => void } {
  let end = (): void => {};
  const body = new ReadableStream<Uint8Array>({
    start(controller): void {
      controller.enqueue(new Uint8Array(bytes));
      end = () => controller.close();
    },
  });
  return { body, end: () => end() };
}

Deno.test("createHandler() answers each route", async () => {
  const { handle, served } = createTestHandler({
    checks: [{ name: "cluster", ok: true, reason: "caches are complete" }],
  });
  const get = (path: string): Promise<Response> =>
    handle(new Request(`http://multus${path}`));
  equal((await get("/healthz")).status, 200);
  equal((await handle(post("", "/healthz"))).status, 200, "older shims post");
  equal((await get("/readyz")).status, 200);
  match(
    await (await get("/readyz?verbose")).text(),
    /\[\+\] cluster: caches are complete/,
  );
  deepEqual(await (await get("/status")).json(), { version: "test" });
  equal((await get("/elsewhere")).status, 404);
  const refused = await get("/cni");
  equal(refused.status, 405);
  equal(refused.headers.get("allow"), "POST");
  ok(
    served.every(({ handler }) =>
      ["/healthz", "/readyz", "/status", "/cni", "other"].includes(handler)
    ),
  );
});

Deno.test("createHandler() gives each client a result in a version that it understands", async (t) => {
  const { handle } = createTestHandler({
    cni: () => Promise.resolve({ interfaces: [], ips: [], routes: [] }),
  });
  const table: [agent: string, asked: string, given: string][] = [
    ["multus-shim/0.1.0", "0.3.1", "0.3.1"],
    ["multus-shim/0.1.0", "1.1.0", "1.1.0"],
    ["multus-shim/0.1.0", "9.9.9", "1.1.0"],
    ["Go-http-client/1.1", "0.3.1", "1.0.0"],
    ["Go-http-client/1.1", "1.1.0", "1.1.0"],
    ["curl/8.0", "0.4.0", "1.1.0"],
    ["", "0.4.0", "1.1.0"],
  ];
  for (const [agent, asked, given] of table) {
    await t.step(`${agent || "nobody"} with ${asked}`, async () => {
      const request = del({ cniVersion: asked, name: "n", type: "multus" });
      request.headers.set("user-agent", agent);
      const { Result } = await (await handle(request)).json();
      equal(Result.cniVersion, given);
    });
  }
});

Deno.test("createHandler() says what is not ready", async () => {
  const { handle } = createTestHandler({
    checks: [
      { name: "serving", ok: true, reason: "requests are taken" },
      {
        name: "configuration",
        ok: false,
        reason: "00-multus.conf was renamed",
      },
    ],
  });
  const response = await handle(new Request("http://multus/readyz"));
  equal(response.status, 500);
  equal(
    await response.text(),
    "[-] configuration: 00-multus.conf was renamed\nnot ready\n",
  );
});

const ERRORS: readonly [
  name: string,
  error: unknown,
  code: number,
  message: RegExp,
][] = [
  [
    "a CNI error",
    new CniError(107, "Out of addresses"),
    107,
    /^Out of addresses$/,
  ],
  [
    "an API server that is away",
    new ApiUnavailableError("connection refused"),
    ErrorCode.tryAgainLater,
    /connection refused/,
  ],
  [
    "an API server that says no",
    new ApiStatusError(403, "Forbidden", "no"),
    ErrorCode.tryAgainLater,
    /403 Forbidden/,
  ],
  [
    "credentials that cannot be used",
    new CredentialsError("No token"),
    ErrorCode.tryAgainLater,
    /No token/,
  ],
  [
    "a pod that is not there",
    new PodNotFoundError(POD),
    ErrorCode.unknownContainer,
    /default\/p/,
  ],
  [
    "another pod of the name",
    new PodReplacedError(POD, { asked: "a", present: "b" }),
    ErrorCode.unknownContainer,
    /another one/,
  ],
  ["whatever else", new RangeError("Odd"), ErrorCode.internal, /Odd/],
];

for (const [name, error, code, message] of ERRORS) {
  Deno.test(`createHandler() answers ${name} with code ${code}`, async () => {
    const { handle, served } = createTestHandler({
      cni: () => Promise.reject(error),
    });
    const response = await handle(del());
    equal(response.status, 400);
    const document = await response.json();
    equal(document.code, code);
    match(document.msg, message);
    equal(document.cniVersion, "1.0.0", "the configuration's");
    equal(served[0]?.error?.code, code);
  });
}

for (
  const [name, body] of [
    ["nothing", ""],
    ["no JSON", "{"],
    ["no object", "[]"],
    ["an environment that is none", '{"env":[],"config":""}'],
    ["a configuration that is no base64", '{"env":{},"config":"%"}'],
    ["bytes that are no text", new Uint8Array([0xff, 0xfe, 0x00])],
  ] as const
) {
  Deno.test(`createHandler() refuses ${name}`, async () => {
    const { handle } = createTestHandler();
    const response = await handle(post(body));
    equal(response.status, 400);
    ok(
      [ErrorCode.decodingFailure, ErrorCode.invalidEnvironment].includes(
        (await response.json()).code,
      ),
    );
  });
}

Deno.test("createHandler() refuses a body that is too large, without reading on", async () => {
  const { handle } = createTestHandler();
  const { body } = unfinished(REQUEST_BYTES_MAX + 1);
  const response = await handle(post(body));
  match((await response.json()).msg, /larger than/);
});

Deno.test("createHandler() bounds what all bodies take together, each handler its own, and takes more when some are gone", async () => {
  const { handle } = createTestHandler();
  const count = 64 * 1024 * 1024 / REQUEST_BYTES_MAX;
  const bodies = Array.from(
    { length: count },
    () => unfinished(REQUEST_BYTES_MAX),
  );
  const answers = bodies.map(({ body }) => handle(post(body)));
  const one = unfinished(REQUEST_BYTES_MAX);
  // All of the first have been read as far as they go when this one is answered.
  const refused = await handle(post(one.body));
  equal((await refused.json()).code, ErrorCode.tryAgainLater);
  equal((await createTestHandler().handle(del())).status, 200);
  for (const { end } of bodies) end();
  await Promise.all(answers);
  equal((await handle(del())).status, 200);
});
