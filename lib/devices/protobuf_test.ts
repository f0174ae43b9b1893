import { deepStrictEqual, strictEqual, throws } from "node:assert/strict";
import fc from "fast-check";
import { readFields, readText, writeFields } from "./protobuf.ts";

const fieldNumber = fc.integer({ min: 1, max: 2 ** 29 - 1 });

Deno.test("readFields() reads what writeFields() wrote", () => {
  fc.assert(
    fc.property(
      fc.array(fc.tuple(fieldNumber, fc.string({ unit: "binary" }))),
      (fields) => {
        const read = [...readFields(writeFields(fields))].map((
          { number, bytes },
        ) => [number, readText(bytes)]);
        deepStrictEqual(read, fields);
      },
    ),
  );
});

Deno.test("readFields() throws nothing but SyntaxError on arbitrary bytes", () => {
  fc.assert(fc.property(fc.uint8Array({ maxLength: 64 }), (bytes) => {
    try {
      for (const field of readFields(bytes)) readText(field.bytes);
    } catch (error) {
      strictEqual((error as Error).constructor, SyntaxError);
    }
  }));
});

Deno.test("writeFields() writes the bytes that the format's documentation shows", () => {
  const testing = [0x12, 0x07, 0x74, 0x65, 0x73, 0x74, 0x69, 0x6e, 0x67];
  deepStrictEqual([...writeFields([[2, "testing"]])], testing);
  deepStrictEqual([...writeFields([[16, "x"]])], [0x82, 0x01, 0x01, 0x78]);
});

Deno.test("writeFields() writes lengths of more than one byte", () => {
  const [field] = [...readFields(writeFields([[1, "x".repeat(300)]]))];
  strictEqual(field?.bytes.length, 300);
});

Deno.test("readFields() steps over numbers of every width", async (t) => {
  const name = [0x0a, 0x01, 0x61];
  const rows: Record<string, number[]> = {
    "varint of one byte": [0x18, 0x07],
    "varint of ten bytes": [
      0x18,
      0xff,
      0xff,
      0xff,
      0xff,
      0xff,
      0xff,
      0xff,
      0xff,
      0xff,
      0x01,
    ],
    "64 bits": [0x19, 1, 2, 3, 4, 5, 6, 7, 8],
    "32 bits": [0x1d, 1, 2, 3, 4],
  };
  for (const [what, bytes] of Object.entries(rows)) {
    await t.step(what, () => {
      const read = [...readFields(Uint8Array.from([...bytes, ...name]))];
      deepStrictEqual(
        read.map(({ number, bytes }) => [number, readText(bytes)]),
        [[1, "a"]],
      );
    });
  }
});

Deno.test("readFields() refuses what is no message", async (t) => {
  const rows: Record<string, number[]> = {
    "cut inside a key": [0x80],
    "cut inside a length": [0x0a, 0x80],
    "cut inside a string": [0x0a, 0x05, 0x61],
    "cut inside 64 bits": [0x19, 1, 2, 3],
    "cut inside 32 bits": [0x1d, 1],
    "field number 0": [0x02, 0x01, 0x61],
    "group": [0x0b],
    "wire type 7": [0x0f],
    "length of 2^63": [
      0x0a,
      0xff,
      0xff,
      0xff,
      0xff,
      0xff,
      0xff,
      0xff,
      0xff,
      0x7f,
    ],
    "number of eleven bytes": [0x18, ...Array(10).fill(0xff), 0x01],
  };
  for (const [what, bytes] of Object.entries(rows)) {
    await t.step(
      what,
      () => throws(() => [...readFields(Uint8Array.from(bytes))], SyntaxError),
    );
  }
});

Deno.test("readText() refuses what is not UTF-8", () => {
  throws(() => readText(Uint8Array.of(0xff, 0xfe)), SyntaxError);
});
