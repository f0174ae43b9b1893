import assert from "node:assert/strict";
import { readBootId } from "./boot_id.ts";

Deno.test("readBootId() gives the same name as long as the directory lives, and another for another", async () => {
  const [first, second] = [await Deno.makeTempDir(), await Deno.makeTempDir()];
  try {
    const { bootId, isNew } = await readBootId(first);
    assert.ok(isNew);
    assert.match(bootId, /^[0-9a-f-]{36}$/);
    assert.deepEqual(await readBootId(first), { bootId, isNew: false });
    assert.notEqual((await readBootId(second)).bootId, bootId);
    await Deno.writeTextFile(`${first}/boot-id`, "");
    const another = await readBootId(first);
    assert.ok(another.isNew);
    assert.notEqual(another.bootId, bootId);
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
