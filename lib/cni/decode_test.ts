import assert from "node:assert/strict";
import fc from "fast-check";
import { decodeJson } from "./decode.ts";
import { CniError } from "./error.ts";

Deno.test("decodeJson() reads what JSON.parse reads", () => {
  fc.assert(fc.property(fc.json(), (text) => {
    assert.deepEqual(decodeJson(text, "Thing"), JSON.parse(text));
  }));
});

Deno.test("decodeJson() names the thing and the place, not the whole text", () => {
  const text = `{"a": ${"1".repeat(5000)},, "secret": "b"}`;
  assert.throws(() => decodeJson(text, "Thing"), (error) => {
    assert.ok(error instanceof CniError);
    assert.equal(error.code, 6);
    assert.ok(error.cause instanceof SyntaxError);
    assert.match(error.message, /^Thing is not JSON: .*position 5007/);
    return error.message.length < 200;
  });
});

Deno.test("decodeJson() throws nothing but a CniError of code 6", () => {
  fc.assert(fc.property(fc.string({ unit: "binary" }), (text) => {
    try {
      decodeJson(text, "Thing");
    } catch (error) {
      assert.ok(error instanceof CniError && error.code === 6);
    }
  }));
});
