import assert from "node:assert/strict";
import { join } from "node:path";
import { checksumAt, lookAt } from "./install_file.ts";
import {
  isInstalled,
  JournalError,
  openInstallation,
  OWN_DIR,
} from "./installation.ts";

/** Everything below a directory: kind, mode, content or target, modification time. */
async function snapshot(dir: string): Promise<Record<string, string>> {
  const found: Record<string, string> = {};
  async function walk(at: string, prefix: string): Promise<void> {
    for await (const { name } of Deno.readDir(at)) {
      const path = join(at, name);
      const info = await Deno.lstat(path);
      const mode = ((info.mode ?? 0) & 0o7777).toString(8);
      const said = info.isSymlink
        ? `link ${await Deno.readLink(path)}`
        : info.isDirectory
        ? "dir"
        : `file ${await checksumAt(path)} ${info.mtime?.getTime()}`;
      found[prefix + name] = `${mode} ${said}`;
      if (info.isDirectory) await walk(path, `${prefix}${name}/`);
    }
  }
  await walk(dir, "");
  return found;
}

const bytes = (text: string): { bytes: Uint8Array } => ({
  bytes: new TextEncoder().encode(text),
});

async function inTempDir(
  work: (dir: string) => Promise<void>,
): Promise<void> {
  const dir = await Deno.makeTempDir({ prefix: "multus-bin-" });
  try {
    await work(dir);
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
}

async function uninstallAll(dir: string): Promise<Record<string, string>> {
  await using installation = await openInstallation(dir);
  const outcomes: Record<string, string> = {};
  for (const name of installation.names) {
    outcomes[name] = await installation.takeAway(name);
  }
  assert.deepEqual(await installation.removeOwnDir(), []);
  return outcomes;
}

Deno.test("put() installs a program that can be run, and says what it did", async () => {
  await inTempDir(async (dir) => {
    await using installation = await openInstallation(dir);
    const script = bytes("#!/bin/sh\necho one\n");
    assert.equal(await installation.put("x", script), "installed");
    assert.equal(await installation.put("x", script), "unchanged");
    assert.equal(
      await installation.put("x", bytes("#!/bin/sh\necho two\n")),
      "updated",
    );
    const { stdout } = await new Deno.Command(join(dir, "x")).output();
    assert.equal(new TextDecoder().decode(stdout), "two\n");
  });
});

Deno.test("put() of the same again changes no file and no time", async () => {
  await inTempDir(async (dir) => {
    const install = async (): Promise<void> => {
      await using installation = await openInstallation(dir);
      await installation.put("x", bytes("x"));
      await installation.put(`${OWN_DIR}/deno`, bytes("deno"));
    };
    await install();
    const before = await snapshot(dir);
    await install();
    assert.deepEqual(await snapshot(dir), before);
  });
});

Deno.test("put() makes a program runnable again that has the right bytes", async () => {
  await inTempDir(async (dir) => {
    await using installation = await openInstallation(dir);
    await installation.put("x", bytes("x"));
    await Deno.chmod(join(dir, "x"), 0o644);
    assert.equal(await installation.put("x", bytes("x")), "unchanged");
    assert.equal(((await Deno.stat(join(dir, "x"))).mode ?? 0) & 0o777, 0o755);
  });
});

/** What may stand where a program goes, and how it is made. */
const BEFORE: readonly {
  name: string;
  make: (path: string) => Promise<void>;
}[] = [
  { name: "nothing", make: async () => {} },
  {
    name: "another program",
    make: (path) => Deno.writeTextFile(path, "other", { mode: 0o711 }),
  },
  {
    name: "a link to a program",
    make: (path) => Deno.symlink("/usr/bin/env", path),
  },
  {
    name: "a link that leads nowhere",
    make: (path) => Deno.symlink("/nowhere/at/all", path),
  },
  {
    name: "the same program",
    make: (path) => Deno.writeTextFile(path, "new", { mode: 0o700 }),
  },
];

/** What may happen between installing and taking away. */
const BETWEEN: readonly { name: string; steps: readonly string[] }[] = [
  { name: "installed", steps: ["new"] },
  { name: "installed twice", steps: ["new", "new"] },
  { name: "updated", steps: ["new", "newer"] },
  { name: "updated twice", steps: ["new", "newer", "newest"] },
  { name: "downgraded", steps: ["new", "newer", "new"] },
];

Deno.test("takeAway() leaves the directory as it was before", async (t) => {
  for (const before of BEFORE) {
    for (const { name, steps } of BETWEEN) {
      await t.step(`${before.name}, ${name}`, async () => {
        await inTempDir(async (dir) => {
          await before.make(join(dir, "x"));
          const untouched = await snapshot(dir);
          for (const text of steps) {
            await using installation = await openInstallation(dir);
            await installation.put("x", bytes(text));
            assert.equal(await Deno.readTextFile(join(dir, "x")), text);
          }
          await uninstallAll(dir);
          assert.deepEqual(await snapshot(dir), untouched);
        });
      });
    }
  }
});

Deno.test("takeAway() leaves what somebody else put there since", async () => {
  await inTempDir(async (dir) => {
    await Deno.writeTextFile(join(dir, "x"), "before");
    {
      await using installation = await openInstallation(dir);
      await installation.put("x", bytes("ours"));
    }
    await Deno.remove(join(dir, "x"));
    await Deno.writeTextFile(join(dir, "x"), "theirs");
    assert.deepEqual(await uninstallAll(dir), { x: "changed" });
    assert.equal(await Deno.readTextFile(join(dir, "x")), "theirs");
    assert.deepEqual(Object.keys(await snapshot(dir)), ["x"]);
  });
});

Deno.test("takeAway() brings back the last program of somebody else", async () => {
  await inTempDir(async (dir) => {
    await Deno.writeTextFile(join(dir, "x"), "first");
    {
      await using installation = await openInstallation(dir);
      await installation.put("x", bytes("ours"));
    }
    await Deno.writeTextFile(join(dir, "x"), "second");
    {
      await using installation = await openInstallation(dir);
      assert.equal(await installation.put("x", bytes("ours")), "replaced");
    }
    assert.deepEqual(await uninstallAll(dir), { x: "restored" });
    assert.equal(await Deno.readTextFile(join(dir, "x")), "second");
  });
});

Deno.test("put() of a large file under two names stores it once", async () => {
  await inTempDir(async (dir) => {
    const large = { bytes: new Uint8Array(5 * 1024 * 1024).fill(7) };
    {
      await using installation = await openInstallation(dir);
      await installation.put("a", large);
      await installation.put("b", large);
      const [a, b] = await Promise.all([
        Deno.stat(join(dir, "a")),
        Deno.stat(join(dir, "b")),
      ]);
      assert.equal(a.ino, b.ino);
      await installation.put("b", bytes("small"));
      assert.equal((await Deno.stat(join(dir, "a"))).size, 5 * 1024 * 1024);
      await installation.put("b", large);
    }
    assert.deepEqual(await uninstallAll(dir), { a: "removed", b: "removed" });
    assert.deepEqual(await snapshot(dir), {});
  });
});

Deno.test("openInstallation() removes what a crash left half-written, and nothing else", async () => {
  await inTempDir(async (dir) => {
    const left = `.tmp-${crypto.randomUUID()}`;
    await Deno.writeTextFile(join(dir, left), "half");
    await Deno.writeTextFile(join(dir, ".tmp-of-others"), "theirs");
    await using _ = await openInstallation(dir);
    assert.equal(await lookAt(join(dir, left)), undefined);
    assert.ok(await lookAt(join(dir, ".tmp-of-others")));
  });
});

Deno.test("openInstallation() lets one installer after the other work", async () => {
  await inTempDir(async (dir) => {
    const outcomes = await Promise.all(
      Array.from({ length: 4 }, async (_, index) => {
        await using installation = await openInstallation(dir);
        return await installation.put("x", bytes(`${index % 2}`));
      }),
    );
    assert.equal(outcomes.filter((one) => one === "installed").length, 1);
    assert.deepEqual(await uninstallAll(dir), { x: "removed" });
    assert.deepEqual(await snapshot(dir), {});
  });
});

Deno.test("openInstallation() tells which journal cannot be read", async (t) => {
  for (const text of ["", "{", "[]", '{"formatVersion":2}']) {
    await t.step(JSON.stringify(text), async () => {
      await inTempDir(async (dir) => {
        await Deno.mkdir(join(dir, OWN_DIR));
        const path = join(dir, OWN_DIR, "installation.json");
        await Deno.writeTextFile(path, text);
        await assert.rejects(openInstallation(dir), (error: unknown) => {
          assert.ok(error instanceof JournalError);
          assert.ok(error.message.endsWith(path));
          return true;
        });
      });
    });
  }
});

Deno.test("isInstalled() is true between the first program and the last", async () => {
  await inTempDir(async (dir) => {
    assert.ok(!await isInstalled(dir));
    {
      await using installation = await openInstallation(dir);
      await installation.put("x", bytes("x"));
    }
    assert.ok(await isInstalled(dir));
    await uninstallAll(dir);
    assert.ok(!await isInstalled(dir));
  });
});

Deno.test("noteRenaming() is remembered until it is forgotten", async () => {
  await inTempDir(async (dir) => {
    const renaming = { from: "/etc/a.conf", to: "/etc/a.conf.old" };
    {
      await using installation = await openInstallation(dir);
      await installation.noteRenaming(renaming);
      await installation.noteRenaming(renaming);
    }
    await using installation = await openInstallation(dir);
    assert.deepEqual(installation.renamed, [renaming]);
    assert.notDeepEqual(await installation.removeOwnDir(), []);
    await installation.forgetRenaming(renaming);
    assert.deepEqual(await installation.removeOwnDir(), []);
    assert.deepEqual(await snapshot(dir), {});
  });
});
