import assert from "node:assert/strict";
import {
  createFileAtomic,
  syncDir,
  TEMPORARY_PREFIX,
  writeFileAtomic,
} from "./atomic_file.ts";

async function makeDir(): Promise<AsyncDisposable & { path: string }> {
  const path = await Deno.makeTempDir({ prefix: "atomic" });
  return {
    path,
    [Symbol.asyncDispose]: () => Deno.remove(path, { recursive: true }),
  };
}

async function namesIn(dir: string): Promise<string[]> {
  return (await Array.fromAsync(Deno.readDir(dir))).map(({ name }) => name)
    .sort();
}

Deno.test("writeFileAtomic() writes text and bytes, and leaves nothing beside them", async () => {
  await using dir = await makeDir();
  await writeFileAtomic(`${dir.path}/a`, "ä");
  await writeFileAtomic(`${dir.path}/b`, new Uint8Array(300_000).fill(7));
  await writeFileAtomic(`${dir.path}/a`, "new", { sync: false });
  assert.equal(await Deno.readTextFile(`${dir.path}/a`), "new");
  assert.deepEqual(
    await Deno.readFile(`${dir.path}/b`),
    new Uint8Array(300_000).fill(7),
  );
  assert.deepEqual(await namesIn(dir.path), ["a", "b"]);
});

Deno.test("writeFileAtomic() gives the mode exactly, whatever the umask", async (t) => {
  await using dir = await makeDir();
  for (const mode of [undefined, 0o600, 0o644, 0o666, 0o755, 0o400]) {
    await t.step(String(mode?.toString(8)), async () => {
      await writeFileAtomic(
        `${dir.path}/a`,
        "x",
        mode === undefined ? {} : { mode },
      );
      assert.equal(
        ((await Deno.stat(`${dir.path}/a`)).mode ?? 0) & 0o7777,
        mode ?? 0o600,
      );
    });
  }
});

Deno.test("writeFileAtomic() replaces a link, not what it leads to", async () => {
  await using dir = await makeDir();
  await Deno.writeTextFile(`${dir.path}/target`, "old");
  await Deno.symlink(`${dir.path}/target`, `${dir.path}/link`);
  await writeFileAtomic(`${dir.path}/link`, "new");
  assert.equal(await Deno.readTextFile(`${dir.path}/target`), "old");
  assert.equal(await Deno.readTextFile(`${dir.path}/link`), "new");
});

Deno.test("writeFileAtomic() keeps the old file and cleans up when it fails", async () => {
  await using dir = await makeDir();
  await Deno.mkdir(`${dir.path}/taken`);
  await Deno.writeTextFile(`${dir.path}/taken/inside`, "");
  await assert.rejects(writeFileAtomic(`${dir.path}/taken`, "x"));
  await assert.rejects(
    writeFileAtomic(`${dir.path}/none/a`, "x"),
    Deno.errors.NotFound,
  );
  assert.deepEqual(await namesIn(dir.path), ["taken"]);
});

Deno.test("writeFileAtomic() keeps the old file when the disk is full", async () => {
  // A file size limit stands in for the disk: the write itself fails in the middle.
  await using dir = await makeDir();
  await Deno.writeTextFile(`${dir.path}/a`, "old");
  const module = new URL("./atomic_file.ts", import.meta.url).href;
  const code =
    `const { writeFileAtomic } = await import("${module}"); await writeFileAtomic("${dir.path}/a", new Uint8Array(1e6));`;
  await Deno.writeTextFile(`${dir.path}/full.ts`, code);
  const { success } = await new Deno.Command("/bin/sh", {
    args: [
      "-c",
      `trap '' XFSZ; ulimit -f 100; exec "$0" run --no-config --no-lock --no-code-cache -A "$1"`,
      Deno.execPath(),
      `${dir.path}/full.ts`,
    ],
    stderr: "null",
  }).output();
  assert.ok(!success);
  assert.equal(await Deno.readTextFile(`${dir.path}/a`), "old");
  assert.deepEqual(await namesIn(dir.path), ["a", "full.ts"]);
});

Deno.test("writeFileAtomic() gives readers the old or the new file", async () => {
  await using dir = await makeDir();
  const path = `${dir.path}/a`;
  const sizes = [10, 200_000];
  await writeFileAtomic(path, "x".repeat(10));
  const writing = (async (): Promise<void> => {
    for (let round = 0; round < 60; round++) {
      for (const size of sizes) {
        await writeFileAtomic(path, "x".repeat(size), { sync: false });
      }
    }
  })();
  for (let round = 0; round < 120; round++) {
    assert.ok(sizes.includes((await Deno.readTextFile(path)).length));
  }
  await writing;
});

Deno.test("createFileAtomic() makes a file at once, and leaves nothing beside it", async () => {
  await using dir = await makeDir();
  const { file, saved } = createFileAtomic(`${dir.path}/a`, "text");
  using _open = file;
  assert.equal(await Deno.readTextFile(`${dir.path}/a`), "text");
  await saved;
  await file.seek(0, Deno.SeekMode.Start);
  await file.write(new TextEncoder().encode("n"));
  assert.equal(await Deno.readTextFile(`${dir.path}/a`), "next");
  const { mode } = await Deno.stat(`${dir.path}/a`);
  assert.equal((mode ?? 0) & 0o7777, 0o600);
  assert.deepEqual(await namesIn(dir.path), ["a"]);
});

Deno.test("createFileAtomic() leaves what has the name already, and nothing beside it", async (t) => {
  await using dir = await makeDir();
  await t.step("a file", async () => {
    await Deno.writeTextFile(`${dir.path}/a`, "old");
    assert.throws(
      () => createFileAtomic(`${dir.path}/a`, "new"),
      Deno.errors.AlreadyExists,
    );
    assert.equal(await Deno.readTextFile(`${dir.path}/a`), "old");
  });
  await t.step("a link that leads nowhere", async () => {
    await Deno.symlink(`${dir.path}/nowhere`, `${dir.path}/link`);
    assert.throws(
      () => createFileAtomic(`${dir.path}/link`, "new"),
      Deno.errors.AlreadyExists,
    );
  });
  assert.throws(
    () => createFileAtomic(`${dir.path}/none/a`, "x"),
    Deno.errors.NotFound,
  );
  assert.deepEqual(await namesIn(dir.path), ["a", "link"]);
});

Deno.test("syncDir() serves all who come at once, also after one that failed", async () => {
  await using dir = await makeDir();
  const lost = `${dir.path}/lost`;
  const refused = await Promise.allSettled([syncDir(lost), syncDir(lost)]);
  assert.deepEqual(refused.map(({ status }) => status), [
    "rejected",
    "rejected",
  ]);
  await Deno.mkdir(lost);
  for (let round = 0; round < 3; round++) {
    await Promise.all(Array.from({ length: 50 }, () => syncDir(lost)));
  }
});

Deno.test("syncDir() takes a directory and refuses what is not there", async () => {
  await using dir = await makeDir();
  await syncDir(dir.path);
  await assert.rejects(syncDir(`${dir.path}/none`), Deno.errors.NotFound);
});

Deno.test("TEMPORARY_PREFIX keeps unfinished files out of a CNI directory's listing", () => {
  assert.ok(TEMPORARY_PREFIX.startsWith("."));
});
