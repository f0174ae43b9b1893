import { equal } from "node:assert/strict";
import fc from "fast-check";
import { sha256 } from "./sha256.ts";

async function byTheLibrary(text: string): Promise<string> {
  const bytes = new TextEncoder().encode(text);
  return new Uint8Array(await crypto.subtle.digest("SHA-256", bytes)).toHex();
}

Deno.test("sha256() gives what the standard's examples give", () => {
  equal(
    sha256(""),
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
  );
  equal(
    sha256("abc"),
    "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
  );
});

Deno.test("sha256() agrees with crypto.subtle at every length around a block's end", async () => {
  for (let length = 0; length <= 200; length++) {
    const text = "x".repeat(length);
    equal(sha256(text), await byTheLibrary(text), `length ${length}`);
  }
});

Deno.test("sha256() agrees with crypto.subtle for any text", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.string({ unit: "binary", maxLength: 5_000 }),
      async (text) => equal(sha256(text), await byTheLibrary(text)),
    ),
  );
});
