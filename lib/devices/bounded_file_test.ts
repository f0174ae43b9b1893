import { rejects, strictEqual } from "node:assert/strict";
import { readTextWithin } from "./bounded_file.ts";

Deno.test("readTextWithin() reads a file of just the size that is allowed and none larger", async () => {
  const file = await Deno.makeTempFile();
  try {
    await Deno.writeTextFile(file, "abcd");
    strictEqual(await readTextWithin(file, 4), "abcd");
    await rejects(readTextWithin(file, 3), RangeError);
  } finally {
    await Deno.remove(file);
  }
});

Deno.test("readTextWithin() refuses what is not a file", async () => {
  await rejects(readTextWithin("/dev/null", 10), TypeError);
  const dir = await Deno.makeTempDir();
  try {
    await rejects(readTextWithin(dir, 10_000), TypeError);
    await rejects(readTextWithin(`${dir}/missing`, 10), Deno.errors.NotFound);
  } finally {
    await Deno.remove(dir);
  }
});
