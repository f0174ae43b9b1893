import assert from "node:assert/strict";
import { join } from "node:path";
import { CniError } from "../cni/error.ts";
import { createConfSources } from "./conf_sources.ts";

Deno.test("createConfSources() tells directories from files, and asks of both what they hold", async () => {
  const dir = await Deno.makeTempDir({ prefix: "selection-" });
  try {
    const file = join(dir, "10-a.conf");
    await Deno.writeTextFile(file, `{"name":"a","type":"x"}`);
    const sources = createConfSources(dir);
    assert.ok(sources.isDirectory(dir));
    assert.ok(!sources.isDirectory(file));
    assert.ok(!sources.isDirectory(join(dir, "none")));
    assert.ok(!sources.isDirectory(join(file, "below")));
    assert.equal((await sources.confAt(file)).name, "a");
    assert.equal((await sources.confAt(dir)).name, "a");
    assert.equal((await sources.confByName("a")).name, "a");
    await assert.rejects(sources.confByName("b"), CniError);
    await assert.rejects(sources.confAt(join(dir, "none")), CniError);
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
});
