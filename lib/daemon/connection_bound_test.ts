import assert from "node:assert/strict";
import { createConnectionBound } from "./connection_bound.ts";

Deno.test("createConnectionBound() lets in no more than it may, and the next one when one has left", () => {
  const bound = createConnectionBound(2);
  const first = bound.enter();
  const second = bound.enter();
  assert.equal(bound.enter(), undefined);
  assert.equal(bound.open, 2);
  first?.[Symbol.dispose]();
  first?.[Symbol.dispose]();
  assert.equal(bound.open, 1);
  const third = bound.enter();
  assert.notEqual(third, undefined);
  second?.[Symbol.dispose]();
  third?.[Symbol.dispose]();
  assert.equal(bound.open, 0);
});
