/**
 * Bodies read in pieces.
 *
 * @module
 */
import assert from "node:assert/strict";
import fc from "fast-check";
import { forEachLine, readText } from "./body.ts";

function responseOf(bytes: Uint8Array, pieceBytes: number): Response {
  const pieces: Uint8Array[] = [];
  for (let at = 0; at < bytes.length; at += pieceBytes) {
    pieces.push(bytes.slice(at, at + pieceBytes));
  }
  return new Response(ReadableStream.from(pieces));
}

Deno.test("forEachLine() gives every whole line, wherever the bytes are cut", async () => {
  const line = fc.string({ unit: "binary" }).map((text) =>
    text.replaceAll("\n", " ")
  );
  const property = fc.asyncProperty(
    fc.array(line),
    line,
    fc.integer({ min: 1, max: 9 }),
    async (lines, rest, size) => {
      const bytes = new TextEncoder().encode(
        lines.map((text) => `${text}\n`).join("") + rest,
      );
      const expected = new TextDecoder().decode(bytes).split("\n").slice(0, -1);
      const found: string[] = [];
      await forEachLine(responseOf(bytes, size), (text) => found.push(text));
      assert.deepEqual(found, expected);
    },
  );
  await fc.assert(property);
});

Deno.test("readText() refuses what is too long, and gives the body up", async () => {
  const response = responseOf(new Uint8Array(100), 10);
  await assert.rejects(readText(response, 50), RangeError);
  assert.equal(
    await readText(responseOf(new TextEncoder().encode("short"), 2), 5),
    "short",
  );
  assert.equal(await readText(new Response(null), 5), "");
});
