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
import type { HttpRequest, HttpResponse } from "./http_request.ts";
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
): {
  handle: (request: HttpRequest) => Promise<HttpResponse>;
  served: Served[];
} {
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

function get(path: string, query = ""): HttpRequest {
  const { signal } = new AbortController();
  const body = new Uint8Array();
  return { method: "GET", path, query, userAgent: "", body, signal };
}

function post(body: Uint8Array, path = "/cni"): HttpRequest {
  return { ...get(path), method: "POST", body };
}

function bytesOf(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}

/** A DEL as a shim sends it. */
function del(
  conf: unknown = { cniVersion: "1.0.0", name: "n", type: "multus-shim" },
): HttpRequest {
  const env = {
    CNI_COMMAND: "DEL",
    CNI_CONTAINERID: "c1",
    CNI_NETNS: "/run/netns/a",
    CNI_IFNAME: "eth0",
    CNI_PATH: "/opt/cni/bin",
  };
  const config = bytesOf(JSON.stringify(conf)).toBase64();
  return post(bytesOf(JSON.stringify({ env, config })));
}

Deno.test("createHandler() answers each route", async () => {
  const { handle, served } = createTestHandler({
    checks: [{ name: "cluster", ok: true, reason: "caches are complete" }],
  });
  const ask = (path: string, query?: string): Promise<HttpResponse> =>
    handle(get(path, query));
  equal((await ask("/healthz")).status, 200);
  const posted = await handle(post(new Uint8Array(), "/healthz"));
  equal(posted.status, 200, "older shims post");
  deepEqual(await ask("/readyz"), {
    status: 200,
    body: "ok\n",
    contentType: "text/plain;charset=UTF-8",
  });
  match(
    (await ask("/readyz", "?verbose")).body,
    /\[\+\] cluster: caches are complete/,
  );
  deepEqual(await ask("/status"), {
    status: 200,
    body: '{"version":"test"}',
    contentType: "application/json",
  });
  equal((await ask("/elsewhere")).status, 404);
  for (const route of ["/cni", "/delegate"]) {
    const refused = await ask(route);
    equal(refused.status, 405);
    equal(refused.allow, "POST");
  }
  deepEqual(await handle(del()), {
    status: 200,
    body: "",
    contentType: "application/json",
  });
  ok(
    served.every(({ handler }) =>
      ["/healthz", "/readyz", "/status", "/cni", "/delegate", "other"]
        .includes(handler)
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
      const response = await handle({ ...request, userAgent: agent });
      const { Result } = JSON.parse(response.body);
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
  const response = await handle(get("/readyz"));
  equal(response.status, 500);
  equal(
    response.body,
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
    equal(response.contentType, "application/json");
    const document = JSON.parse(response.body);
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
    const bytes = typeof body === "string" ? bytesOf(body) : body;
    const response = await handle(post(bytes));
    equal(response.status, 400);
    ok(
      [ErrorCode.decodingFailure, ErrorCode.invalidEnvironment].includes(
        JSON.parse(response.body).code,
      ),
    );
  });
}

Deno.test("createHandler() refuses a body that is too large, and no smaller one for its size", async () => {
  const { handle } = createTestHandler();
  const refusal = async (bytes: number): Promise<string> =>
    JSON.parse((await handle(post(new Uint8Array(bytes)))).body).msg;
  match(await refusal(REQUEST_BYTES_MAX + 1), /^Request is larger than/);
  match(await refusal(REQUEST_BYTES_MAX), /^Cannot read the request/);
});
