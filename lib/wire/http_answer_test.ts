import { deepEqual, equal, ok, throws } from "node:assert/strict";
import fc from "fast-check";
import {
  ANSWER_BYTES_MAX,
  HEAD_BYTES_MAX,
  parseAnswer,
} from "./http_answer.ts";

function bytesOf(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}

function chunked(pieces: readonly string[]): string {
  const sized = pieces.filter((piece) => piece !== "").map((piece) => {
    return `${bytesOf(piece).length.toString(16)}\r\n${piece}\r\n`;
  });
  return `HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n${
    sized.join("")
  }0\r\n\r\n`;
}

const READABLE = [
  ["counted", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", {
    status: 200,
    body: "{}",
  }],
  [
    "counted, with more behind it",
    "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}rest",
    { status: 200, body: "{}" },
  ],
  ["empty", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", {
    status: 200,
    body: "",
  }],
  ["no content", "HTTP/1.1 204 No Content\r\n\r\n", { status: 204, body: "" }],
  ["no reason", "HTTP/1.1 400\r\ncontent-length:3\r\n\r\nbad", {
    status: 400,
    body: "bad",
  }],
  [
    "length twice, the same",
    "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx",
    {
      status: 200,
      body: "x",
    },
  ],
  [
    "Go's own form",
    "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nX-Content-Type-Options: nosniff\r\n" +
    "Date: Sun, 22 Nov 2026 17:00:00 GMT\r\nContent-Length: 5\r\nConnection: close\r\n\r\noops\n",
    { status: 400, body: "oops\n" },
  ],
  ["chunked", chunked(["{}", "ä"]), { status: 200, body: "{}ä" }],
  ["chunked, nothing in it", chunked([]), { status: 200, body: "" }],
  [
    "chunked, with extension and trailer",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n2;a=b\r\n{}\r\n0\r\nX: y\r\n\r\n",
    { status: 200, body: "{}" },
  ],
] as const;

Deno.test("parseAnswer() reads an answer from its last byte on, and not before", async (t) => {
  for (const [name, text, expected] of READABLE) {
    await t.step(name, () => {
      const bytes = bytesOf(text.replace(/rest$/, ""));
      for (let length = 0; length < bytes.length; length++) {
        equal(
          parseAnswer(bytes.subarray(0, length), { ended: true }),
          undefined,
          `at byte ${length}`,
        );
      }
      deepEqual(parseAnswer(bytesOf(text), { ended: false }), expected);
    });
  }
});

Deno.test("parseAnswer() takes what stands before the end when neither length nor chunks are given", () => {
  const bytes = bytesOf("HTTP/1.0 200 OK\r\n\r\nall of it");
  equal(parseAnswer(bytes, { ended: false }), undefined);
  deepEqual(parseAnswer(bytes, { ended: true }), {
    status: 200,
    body: "all of it",
  });
});

const HEAD = "HTTP/1.1 200 OK\r\n";
const BAD = [
  ["not HTTP", "220 smtp ready\r\n", SyntaxError],
  ["binary", "\0\0\0\x12", SyntaxError],
  ["HTTP/2", "HTTP/2 200\r\n\r\n", SyntaxError],
  ["no status", "HTTP/1.1 OK\r\n\r\n", SyntaxError],
  ["a header without colon", `${HEAD}oops\r\n\r\n`, SyntaxError],
  ["a header's name with a space", `${HEAD}a b: c\r\n\r\n`, SyntaxError],
  ["a negative length", `${HEAD}Content-Length: -1\r\n\r\n`, SyntaxError],
  [
    "two lengths",
    `${HEAD}Content-Length: 1\r\nContent-Length: 2\r\n\r\n`,
    SyntaxError,
  ],
  [
    "an unknown coding",
    `${HEAD}Transfer-Encoding: gzip, chunked\r\n\r\n`,
    SyntaxError,
  ],
  [
    "a chunk without size",
    `${HEAD}Transfer-Encoding: chunked\r\n\r\nzz\r\n`,
    SyntaxError,
  ],
  [
    "a chunk line without end",
    `${HEAD}Transfer-Encoding: chunked\r\n\r\n${"1".repeat(300)}`,
    SyntaxError,
  ],
  [
    "a body in thousands of chunks",
    `${HEAD}Transfer-Encoding: chunked\r\n\r\n${"1\r\nx\r\n".repeat(3_000)}`,
    RangeError,
  ],
  [
    "a torn chunk",
    `${HEAD}Transfer-Encoding: chunked\r\n\r\n1\r\nabc`,
    SyntaxError,
  ],
  [
    "a large length",
    `${HEAD}Content-Length: ${ANSWER_BYTES_MAX + 1}\r\n\r\n`,
    RangeError,
  ],
  [
    "a large chunk",
    `${HEAD}Transfer-Encoding: chunked\r\n\r\nffffffff\r\n`,
    RangeError,
  ],
  [
    "a large body",
    `${HEAD}\r\n${"x".repeat(ANSWER_BYTES_MAX + 1)}`,
    RangeError,
  ],
  ["a large head", `${HEAD}X: ${"x".repeat(HEAD_BYTES_MAX)}`, RangeError],
  [
    "a large trailer",
    `${HEAD}Transfer-Encoding: chunked\r\n\r\n0\r\nX: ${
      "x".repeat(HEAD_BYTES_MAX)
    }`,
    RangeError,
  ],
] as const;

Deno.test("parseAnswer() refuses what is not an answer, or too large", async (t) => {
  for (const [name, text, kind] of BAD) {
    await t.step(
      name,
      () => throws(() => parseAnswer(bytesOf(text), { ended: false }), kind),
    );
  }
});

Deno.test("parseAnswer() puts any chunks together", () => {
  fc.assert(fc.property(fc.array(fc.string({ unit: "grapheme" })), (pieces) => {
    deepEqual(parseAnswer(bytesOf(chunked(pieces)), { ended: false }), {
      status: 200,
      body: pieces.join(""),
    });
  }));
});

Deno.test("parseAnswer() throws nothing but SyntaxError and RangeError on any bytes", () => {
  const heads = fc.constantFrom(
    "",
    "HTTP/1.1 200 OK\r\n\r\n",
    `${HEAD}Transfer-Encoding: chunked\r\n\r\n`,
    "HTTP/1.1 ",
  );
  fc.assert(
    fc.property(heads, fc.uint8Array(), fc.boolean(), (head, tail, ended) => {
      const bytes = new Uint8Array([...bytesOf(head), ...tail]);
      try {
        parseAnswer(bytes, { ended });
      } catch (error) {
        ok(
          error instanceof SyntaxError || error instanceof RangeError,
          String(error),
        );
      }
    }),
  );
});
