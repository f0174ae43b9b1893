/**
 * Lists taken apart while they arrive.
 *
 * @module
 */
import assert from "node:assert/strict";
import fc from "fast-check";
import { createItemScanner } from "./json_items.ts";

/** Cuts a text at the given places, in whatever order they come. */
function cut(text: string, places: readonly number[]): string[] {
  const ends = [
    ...places.map((place) => place % (text.length + 1)),
    text.length,
  ].sort((a, b) => a - b);
  return ends.map((end, index) => text.slice(ends[index - 1] ?? 0, end));
}

function scan(
  pieces: readonly string[],
): { items: unknown[]; envelope: unknown } {
  const items: unknown[] = [];
  const scanner = createItemScanner((item) => items.push(item));
  for (const piece of pieces) scanner.push(piece);
  return { items, envelope: scanner.finish() };
}

/** JSON cannot say minus zero, and gives back zero. */
const json = fc.jsonValue().map((value) => JSON.parse(JSON.stringify(value)));
const objects = fc.array(
  fc.dictionary(fc.string(), json).map((value) =>
    JSON.parse(JSON.stringify(value))
  ),
);

Deno.test("createItemScanner() gives what JSON.parse gives, wherever the text is cut", () => {
  const spaces = fc.constantFrom(undefined, 1, 2);
  fc.assert(
    fc.property(
      objects,
      json,
      spaces,
      fc.array(fc.nat()),
      (items, metadata, space, places) => {
        const text = JSON.stringify(
          { kind: "PodList", metadata, items, more: [{}] },
          null,
          space,
        );
        const found = scan(cut(text, places));
        assert.deepEqual(found.items, items);
        assert.deepEqual(found.envelope, {
          kind: "PodList",
          metadata,
          items: [],
          more: [{}],
        });
      },
    ),
  );
});

Deno.test("createItemScanner() throws nothing but SyntaxError, whatever arrives", () => {
  fc.assert(
    fc.property(fc.array(fc.oneof(fc.string(), fc.json())), (pieces) => {
      try {
        scan(pieces);
      } catch (error) {
        assert.ok(error instanceof SyntaxError, String(error));
      }
    }),
  );
});

Deno.test("createItemScanner() takes only the items of the top level", () => {
  const table: [text: string, items: unknown[]][] = [
    ['{"metadata":{"items":[{"a":1}]},"items":[{"b":2}]}', [{ b: 2 }]],
    ['{"items":null,"kind":"List"}', []],
    ['{"items":[]}', []],
    ['{"others":[{"a":1}],"items":[{"b":"}]\\""}]}', [{ b: '}]"' }]],
    ['{"items" : [ {"a":{"items":[{}]}} , {"b":[]} ] }', [{
      a: { items: [{}] },
    }, { b: [] }]],
  ];
  for (const [text, items] of table) {
    assert.deepEqual(scan([text]).items, items, text);
  }
});

Deno.test("createItemScanner() refuses a list that breaks off", () => {
  const text = '{"items":[{"a":1},{"b":{}}]}';
  for (let end = 0; end < text.length; end += 1) {
    assert.throws(
      () => scan([text.slice(0, end)]),
      SyntaxError,
      text.slice(0, end),
    );
  }
});
