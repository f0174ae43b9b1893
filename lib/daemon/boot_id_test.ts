import assert from "node:assert/strict";
import { readBootId } from "./boot_id.ts";

Deno.test("readBootId() gives the same name as long as the directory lives, and another for another", async () => {
  const [first, second] = [await Deno.makeTempDir(), await Deno.makeTempDir()];
  try {
    const bootId = await readBootId(first);
    assert.match(bootId, /^[0-9a-f-]{36}$/);
    assert.equal(await readBootId(first), bootId);
    assert.notEqual(await readBootId(second), bootId);
    await Deno.writeTextFile(`${first}/boot-id`, "");
    assert.notEqual(await readBootId(first), bootId);
  } finally {
    await Deno.remove(first, { recursive: true });
    await Deno.remove(second, { recursive: true });
  }
});

Deno.test("readBootId() throws when the directory is not there", async () => {
  await assert.rejects(
    readBootId("/nonexistent/run"),
    Deno.errors.NotFound,
  );
});
