import assert from "node:assert/strict";
import { present } from "./present.ts";

Deno.test("present() leaves out what is undefined, and nothing else", () => {
  const members = { a: undefined, b: null, c: 0, d: "", e: false };
  assert.deepEqual(Object.entries(present(members)), [
    ["b", null],
    ["c", 0],
    ["d", ""],
    ["e", false],
  ]);
});
