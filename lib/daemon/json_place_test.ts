import assert from "node:assert/strict";
import fc from "fast-check";
import { findJsonError, placeAt } from "./json_place.ts";

Deno.test("findJsonError() gives the place where the text cannot go on", () => {
  const table: [string, number, number][] = [
    ["", 1, 1],
    ["  ", 1, 3],
    ["{", 1, 2],
    ["{a}", 1, 2],
    ['{"a"}', 1, 5],
    ['{"a" 1}', 1, 6],
    ['{"a":}', 1, 6],
    ['{"a":1,}', 1, 8],
    ['{"a":1 "b":2}', 1, 8],
    ['{\n  "a": 1\n  "b": 2\n}', 3, 3],
    ["[1,]", 1, 4],
    ["[1 2]", 1, 4],
    ["[1}", 1, 3],
    ['{"a":1]', 1, 7],
    ["tru", 1, 1],
    ["01", 1, 2],
    ["[1.]", 1, 3],
    ['["\\x"]', 1, 2],
    ['["a\nb"]', 1, 2],
    ["{} x", 1, 4],
    ["{},", 1, 3],
    ["]", 1, 1],
    ["// comment\n{}", 1, 1],
  ];
  for (const [text, line, column] of table) {
    assert.throws(() => JSON.parse(text), SyntaxError);
    assert.deepEqual(findJsonError(text), { line, column }, text);
  }
});

Deno.test("findJsonError() gives the end of the text exactly for what is JSON or only cut off between tokens", () => {
  fc.assert(
    fc.property(fc.json(), (text) => {
      assert.deepEqual(findJsonError(text), placeAt(text, text.length));
    }),
  );
});

Deno.test("findJsonError() ends for any text, with a place inside it", () => {
  fc.assert(
    fc.property(fc.string({ unit: "grapheme" }), (text) => {
      const { line, column } = findJsonError(text);
      const lines = text.split("\n");
      assert.ok(line >= 1 && line <= lines.length);
      assert.ok(column >= 1 && column <= (lines[line - 1]?.length ?? 0) + 1);
    }),
  );
});
