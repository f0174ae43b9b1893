import { equal } from "node:assert/strict";
import { crc32 as byTheLibrary } from "node:zlib";
import fc from "fast-check";
import { crc32 } from "./crc32.ts";

Deno.test("crc32() gives the check value of the catalogues", () => {
  equal(crc32("123456789"), "cbf43926");
  equal(crc32(""), "00000000");
});

Deno.test("crc32() agrees with zlib for any text", () => {
  fc.assert(
    fc.property(fc.string({ unit: "binary", maxLength: 5_000 }), (text) => {
      const sum = byTheLibrary(text).toString(16).padStart(8, "0");
      equal(crc32(text), sum);
    }),
  );
});
