import assert from "node:assert/strict";
import fc from "fast-check";
import {
  CniError,
  ErrorCode,
  quote,
  readErrorDocument,
  toErrorDocument,
} from "./error.ts";

function bytesOf(document: unknown): number {
  return new TextEncoder().encode(JSON.stringify(document)).length;
}

Deno.test("toErrorDocument() gives every kind of error its code", () => {
  class NamedError extends CniError {}
  const cause = new Error("below");
  const table: [error: unknown, code: number, msg: string][] = [
    [new CniError(7, "No plugin"), 7, "No plugin"],
    [new CniError(100, "Plugin's own"), 100, "Plugin's own"],
    [new NamedError(4, "Named"), 4, "Named"],
    [new CniError(5, "Above", { cause }), 5, "Above"],
    [new SyntaxError("Unparsable"), 999, "Unparsable"],
    [new TypeError("Wrong shape"), 999, "Wrong shape"],
    [new DOMException("Gone", "AbortError"), 11, "Gone"],
    [new DOMException("Late", "TimeoutError"), 11, "Late"],
    ["a string", 999, "a string"],
    [new Error(""), 999, "Unknown error"],
    [undefined, 999, "Unknown error"],
    [Object.create(null), 999, "Unknown error"],
    [new CniError(-1, "Not a code"), 999, "Not a code"],
    [new CniError(1.5, "Not a code"), 999, "Not a code"],
  ];
  for (const [error, code, msg] of table) {
    const document = toErrorDocument(error, "1.0.0");
    assert.deepEqual(document, { cniVersion: "1.0.0", code, msg });
  }
});

Deno.test("toErrorDocument() carries details and keeps the cause to itself", () => {
  const error = new CniError(5, "No file", {
    details: "tail of stderr",
    cause: new Error("token abc"),
  });
  const document = toErrorDocument(error, "0.4.0");
  assert.equal(document.details, "tail of stderr");
  assert.ok(!JSON.stringify(document).includes("abc"));
});

Deno.test("toErrorDocument() writes one line of text without control characters", () => {
  const error = new CniError(5, " a\n\tb\u0000\u001b[31mc\u202ed\u2028e ", {
    details: "1\r\n2\u0085",
  });
  const document = toErrorDocument(error, "1.1.0");
  assert.equal(document.msg, "a b [31mc d e");
  assert.equal(document.details, "1 2");
});

Deno.test("toErrorDocument() cuts the details before the message", () => {
  const long = new CniError(7, "m".repeat(600), { details: "d".repeat(5000) });
  const document = toErrorDocument(long, "1.1.0");
  assert.equal(document.msg, "m".repeat(600));
  assert.match(document.details ?? "", /^d{200,}…$/);

  const longer = new CniError(7, `cause ${"m".repeat(5000)}`, { details: "d" });
  const cut = toErrorDocument(longer, "1.1.0");
  assert.match(cut.msg, /^cause m{900,}…$/);
  assert.equal(cut.details, undefined);
});

Deno.test("toErrorDocument() stays under 1000 bytes and never throws", () => {
  const text = fc.oneof(
    fc.string({ unit: "binary", maxLength: 40 }),
    fc.string({ unit: "binary", minLength: 300, maxLength: 3000 }),
    fc.constantFrom('"', "\\", "\u{1f600}", "é", "\ud800", "x")
      .chain((char) => fc.nat(3000).map((count) => char.repeat(count))),
  );
  const error = fc.oneof(
    fc.tuple(fc.integer(), text, text).map(([code, message, details]) =>
      new CniError(code, message, { details })
    ),
    text.map((message) => new Error(message)),
    text,
    fc.anything(),
  );
  fc.assert(fc.property(error, text, (error, version) => {
    const document = toErrorDocument(error, version);
    assert.ok(bytesOf(document) < 1000, `${bytesOf(document)}`);
    assert.ok(document.msg.length > 0 && document.msg.isWellFormed());
    assert.doesNotMatch(JSON.stringify(Object.values(document)), /\\u00|\\n/);
  }));
});

Deno.test("toErrorDocument() and readErrorDocument() round-trip", () => {
  const word = fc.stringMatching(/^[a-z"\\]{1,100}$/);
  const code = fc.integer({ min: 0, max: 0xffff_ffff });
  fc.assert(fc.property(code, word, word, (code, message, details) => {
    const error = new CniError(code, message, { details });
    const document = toErrorDocument(error, "1.1.0");
    assert.deepEqual(document, {
      cniVersion: "1.1.0",
      code,
      msg: message,
      details,
    });
    assert.deepEqual(readErrorDocument(JSON.stringify(document)), document);
  }));
});

Deno.test("readErrorDocument() tells error documents from other texts", () => {
  const table: [text: string, expected: unknown][] = [
    ['{"code":7,"msg":"x"}', { cniVersion: "", code: 7, msg: "x" }],
    [
      ' {"cniVersion":"1.0.0","code":100,"msg":"x","details":"y","more":1}\n',
      { cniVersion: "1.0.0", code: 100, msg: "x", details: "y" },
    ],
    ['{"code":0,"msg":"","details":""}', { cniVersion: "", code: 0, msg: "" }],
    ["", undefined],
    ["panic: runtime error", undefined],
    ["[]", undefined],
    ["null", undefined],
    ['{"cniVersion":"1.0.0"}', undefined],
    ['{"code":"7","msg":"x"}', undefined],
    ['{"code":-7,"msg":"x"}', undefined],
    ['{"code":7.5,"msg":"x"}', undefined],
    ['{"code":4294967296,"msg":"x"}', undefined],
    ['{"code":7}', undefined],
    ['{"code":7,"msg":5}', undefined],
    ['{"code":7,"msg":"x","cniVersion":1}', undefined],
  ];
  for (const [text, expected] of table) {
    assert.deepEqual(readErrorDocument(text), expected, text);
  }
});

Deno.test("readErrorDocument() never throws", () => {
  fc.assert(fc.property(fc.oneof(fc.string(), fc.json()), (text) => {
    const document = readErrorDocument(text);
    assert.ok(document === undefined || Number.isInteger(document.code));
  }));
});

Deno.test("quote() shows scalars and only the kind of the rest", () => {
  const table: [value: unknown, expected: string][] = [
    ["a\n", '"a\\n"'],
    ["", '""'],
    ["x".repeat(48), `"${"x".repeat(48)}"`],
    ["x".repeat(49), `"${"x".repeat(48)}…"`],
    [1, "1"],
    [true, "true"],
    [null, "null"],
    [undefined, "undefined"],
    [["secret"], "an array"],
    [{ key: "secret" }, "an object"],
  ];
  for (const [value, expected] of table) assert.equal(quote(value), expected);
});

Deno.test("ErrorCode holds the codes of the specification", () => {
  assert.deepEqual(Object.values(ErrorCode), [
    ...[1, 2, 3, 4, 5, 6, 7, 11, 50, 51, 999],
  ]);
});
