import assert from "node:assert/strict";
import { join } from "node:path";
import { waitUntil } from "../../tests/api_server/wait.ts";
import { watchDirs } from "./dir_watch.ts";

Deno.test("watchDirs() hints at changes of each directory until it is disposed", async () => {
  const root = await Deno.makeTempDir();
  const dirs = [join(root, "a"), join(root, "b")];
  for (const dir of dirs) await Deno.mkdir(dir);
  let hints = 0;
  {
    await using _watch = watchDirs(dirs, () => hints++);
    for (const dir of dirs) {
      const before = hints;
      await Deno.writeTextFile(join(dir, "x"), "1");
      await waitUntil(() => hints > before, { what: `a hint for ${dir}` });
    }
  }
  const after = hints;
  await Deno.writeTextFile(join(root, "a", "x"), "2");
  await Deno.remove(root, { recursive: true });
  assert.equal(hints, after);
});

Deno.test("refresh() watches a directory that was not there, or was made anew", async () => {
  const root = await Deno.makeTempDir();
  const dir = join(root, "net.d");
  let hints = 0;
  {
    await using watch = watchDirs([dir], () => hints++);
    for (let times = 0; times < 3; times++) {
      await Deno.mkdir(dir);
      await waitUntil(async () => {
        watch.refresh();
        const before = hints;
        await Deno.writeTextFile(join(dir, "x"), String(hints));
        await waitUntil(() => hints > before, { what: "", timeoutMs: 50 })
          .catch(() => {});
        return hints > before;
      }, { what: "a hint of what was made anew" });
      const before = hints;
      await Deno.remove(dir, { recursive: true });
      await waitUntil(() => hints > before, { what: "a hint of its end" });
    }
  }
  await Deno.remove(root, { recursive: true });
});
