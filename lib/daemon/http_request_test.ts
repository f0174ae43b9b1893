import { deepEqual, equal, ok, throws } from "node:assert/strict";
import fc from "fast-check";
import {
  HEAD_BYTES_MAX,
  parseRequestBody,
  parseRequestHead,
  parseTarget,
} from "./http_request.ts";

function bytesOf(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}

const NOTHING_MORE = {
  chunked: false,
  userAgent: "",
  expectsContinue: false,
};

const READABLE = [
  ["a line alone", "GET /healthz HTTP/1.1\r\n\r\n", {
    ...NOTHING_MORE,
    method: "GET",
    target: "/healthz",
  }],
  [
    "Go's own form",
    "POST /cni HTTP/1.1\r\nHost: dummy\r\nUser-Agent: Go-http-client/1.1\r\nContent-Length: 2\r\n" +
    "Content-Type: application/json\r\nAccept-Encoding: gzip\r\n\r\n",
    {
      ...NOTHING_MORE,
      method: "POST",
      target: "/cni",
      userAgent: "Go-http-client/1.1",
      length: 2,
    },
  ],
  [
    "curl with a large body",
    "POST /cni HTTP/1.1\r\nhost: a\r\nContent-Length: 70000\r\nExpect: 100-continue\r\n\r\n",
    {
      ...NOTHING_MORE,
      method: "POST",
      target: "/cni",
      length: 70000,
      expectsContinue: true,
    },
  ],
  [
    "chunks, from a client of 1.0",
    "POST /delegate?x HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
    {
      ...NOTHING_MORE,
      method: "POST",
      target: "/delegate?x",
      chunked: true,
    },
  ],
] as const;

Deno.test("parseRequestHead() reads a head from its last byte on, and not before", async (t) => {
  for (const [name, text, expected] of READABLE) {
    await t.step(name, () => {
      const bytes = bytesOf(text);
      for (let length = 0; length < bytes.length; length++) {
        equal(parseRequestHead(bytes.subarray(0, length)), undefined);
      }
      const bodyAt = bytes.length;
      deepEqual(parseRequestHead(bytesOf(`${text}{}`)), {
        ...expected,
        bodyAt,
      });
    });
  }
});

const BAD = [
  ["an answer", "HTTP/1.1 200 OK\r\n\r\n", SyntaxError],
  ["another protocol", "GET / HTTP/2\r\n\r\n", SyntaxError],
  ["no protocol", "GET /\r\n\r\n", SyntaxError],
  ["a method in lower case", "get / HTTP/1.1\r\n\r\n", SyntaxError],
  ["a path with a space", "GET /a b HTTP/1.1\r\n\r\n", SyntaxError],
  ["an empty line first", "\r\nGET / HTTP/1.1\r\n\r\n", SyntaxError],
  ["a header without colon", "GET / HTTP/1.1\r\noops\r\n\r\n", SyntaxError],
  [
    "a header's name with a space",
    "GET / HTTP/1.1\r\na b: c\r\n\r\n",
    SyntaxError,
  ],
  ["a folded header", "GET / HTTP/1.1\r\na: b\r\n c: d\r\n\r\n", SyntaxError],
  [
    "two lengths",
    "POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
    SyntaxError,
  ],
  [
    "a length that is none",
    "POST / HTTP/1.1\r\nContent-Length: +1\r\n\r\n",
    SyntaxError,
  ],
  [
    "an unknown coding",
    "POST / HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n",
    SyntaxError,
  ],
  [
    "a large head",
    `GET / HTTP/1.1\r\nX: ${"x".repeat(HEAD_BYTES_MAX)}`,
    RangeError,
  ],
] as const;

Deno.test("parseRequestHead() refuses what is not a request, or too large", async (t) => {
  for (const [name, text, kind] of BAD) {
    await t.step(
      name,
      () => throws(() => parseRequestHead(bytesOf(text)), kind),
    );
  }
});

Deno.test("parseRequestHead() throws nothing but SyntaxError and RangeError on any bytes", () => {
  const heads = fc.constantFrom(
    "",
    "GET / HTTP/1.1\r\n",
    "POST /cni HTTP/1.1\r\nContent-Length: ",
  );
  const tails = fc.constantFrom("", "\r\n\r\n");
  fc.assert(
    fc.property(heads, fc.uint8Array(), tails, (head, middle, tail) => {
      const bytes = new Uint8Array([
        ...bytesOf(head),
        ...middle,
        ...bytesOf(tail),
      ]);
      try {
        parseRequestHead(bytes);
      } catch (error) {
        ok(
          error instanceof SyntaxError || error instanceof RangeError,
          String(error),
        );
      }
    }),
  );
});

Deno.test("parseTarget() reads path and query as a URL has them, however they are written", async (t) => {
  const table: [target: string, expected: ReturnType<typeof parseTarget>][] = [
    ["/cni", { path: "/cni", query: "" }],
    ["/readyz?verbose", { path: "/readyz", query: "?verbose" }],
    ["/./cni", { path: "/cni", query: "" }],
    ["/a/../cni#there", { path: "/cni", query: "" }],
    ["/c%6ei", { path: "/c%6ei", query: "" }],
    ["http://host/cni?x", { path: "/cni", query: "?x" }],
    ["//host/cni", { path: "/cni", query: "" }],
    ["*", { path: "/*", query: "" }],
    ["", { path: "/", query: "" }],
    ["http://[", undefined],
    ["//", undefined],
  ];
  for (const [target, expected] of table) {
    await t.step(
      target || "nothing",
      () => deepEqual(parseTarget({ method: "GET", target }), expected),
    );
  }
  for (const method of ["CONNECT", "TRACE", "TRACK"]) {
    equal(parseTarget({ method, target: "/cni" }), undefined, method);
  }
  const pieces = fc.constantFrom("/", "//", "cni", "a-b_c", ".", "..", "%2e");
  const targets = fc.array(fc.oneof(pieces, fc.string())).map((some) =>
    `/${some.join("")}`
  );
  fc.assert(fc.property(targets, (target) => {
    const url = URL.parse(target, "http://multus");
    const expected = url && { path: url.pathname, query: url.search };
    deepEqual(parseTarget({ method: "GET", target }), expected ?? undefined);
  }));
});

Deno.test("parseRequestBody() reads what is counted, what comes in chunks, and nothing where nothing is announced", () => {
  const read = (
    text: string,
    framing: { length?: number; chunked?: boolean },
  ): string | undefined => {
    const body = parseRequestBody(
      bytesOf(text),
      { chunked: false, ...framing },
      10,
    );
    return body && new TextDecoder().decode(body);
  };
  equal(read("", {}), "");
  equal(read("more", {}), "");
  equal(read("ab", { length: 3 }), undefined);
  equal(read("abcd", { length: 3 }), "abc");
  equal(read("2\r\nab\r\n1\r\nc\r\n", { chunked: true }), undefined);
  equal(read("2\r\nab\r\n1\r\nc\r\n0\r\n\r\n", { chunked: true }), "abc");
  throws(() => read("", { length: 11 }), RangeError);
  throws(() => read("zz\r\n", { chunked: true }), SyntaxError);
});
