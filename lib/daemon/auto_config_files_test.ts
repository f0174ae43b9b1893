import assert from "node:assert/strict";
import { join } from "node:path";
import { CniError, ErrorCode } from "../cni/error.ts";
import {
  findRenamed,
  readCandidates,
  readOwnFile,
  readSource,
  reasonOf,
  removeOwnFile,
  writeOwnFile,
} from "./auto_config_files.ts";

const LARGE = " ".repeat(1024 * 1024 + 1);

async function inDir(
  files: Record<string, string>,
  use: (dir: string) => Promise<void>,
): Promise<void> {
  const dir = await Deno.makeTempDir();
  try {
    for (const [name, text] of Object.entries(files)) {
      await Deno.writeTextFile(join(dir, name), text);
    }
    await use(dir);
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
}

Deno.test("readCandidates() reads what is there, and says what is wrong with it", async () => {
  const files = {
    "10-a.conf": '{"name":"a","type":"bridge"}',
    "05-b.conflist": "",
    "own.conf": '{"name":"a","type":"multus"}',
    "pinned": '{"name":"p","type":"bridge"}',
    "README": "",
  };
  await inDir(files, async (dir) => {
    await Deno.mkdir(join(dir, "x.conf"));
    await Deno.symlink("/nowhere", join(dir, "20-link.conf"));
    const found = await readCandidates(dir, "pinned");
    assert.deepEqual(found.map(({ name, list }) => [name, list?.name]), [
      ["05-b.conflist", undefined],
      ["10-a.conf", "a"],
      ["20-link.conf", undefined],
      ["own.conf", "a"],
      ["pinned", "p"],
    ]);
    const faults = found.map(({ fault = "" }) => fault);
    assert.match(faults[0] ?? "", /^Configuration is not JSON: [^/]*$/);
    assert.match(faults[2] ?? "", /No such file or directory$/);
    for (const pinned of ["x.conf", "../README", "nothing"]) {
      assert.equal((await readCandidates(dir, pinned)).length, 4, pinned);
    }
  });
  assert.deepEqual(await readCandidates("/nowhere", "pinned"), []);
});

Deno.test("readOwnFile() reads a regular file and nothing else", async () => {
  await inDir({ "a": "text", "large": LARGE }, async (dir) => {
    await Deno.symlink(join(dir, "a"), join(dir, "link"));
    const table: [name: string, text: string | undefined][] = [
      ["a", "text"],
      ["large", ""],
      ["link", ""],
      [".", ""],
      ["nothing", undefined],
    ];
    for (const [name, text] of table) {
      assert.equal((await readOwnFile(join(dir, name)))?.text, text, name);
    }
    await assert.rejects(readOwnFile(join(dir, "a", "b")));
  });
});

Deno.test("readSource() follows links, as config maps are mounted, and refuses what is no file", async () => {
  await inDir({ "a": "text", "large": LARGE }, async (dir) => {
    await Deno.symlink(join(dir, "a"), join(dir, "link"));
    assert.equal(await readSource(join(dir, "link")), "text");
    const table: [name: string, message: RegExp][] = [
      ["nothing", /^Cannot read .*nothing: No such file or directory$/],
      [".", /: Not a regular file$/],
      ["large", /: Larger than 1048576 bytes: 1048577$/],
    ];
    for (const [name, message] of table) {
      await assert.rejects(readSource(join(dir, name)), (error) => {
        assert.ok(error instanceof CniError);
        assert.equal(error.code, ErrorCode.ioFailure);
        assert.match(error.message, message);
        return true;
      });
    }
  });
});

Deno.test("findRenamed() knows a file again under another name", async () => {
  await inDir({ "other": "" }, async (dir) => {
    const path = join(dir, "own");
    const own = await writeOwnFile(path, "text");
    const inode = own?.inode ?? null;
    assert.equal(await findRenamed(path, inode), undefined);
    await Deno.rename(path, join(dir, "own.bak"));
    assert.equal(await findRenamed(path, inode), "own.bak");
    assert.equal(await findRenamed(path, null), undefined);
    await Deno.remove(join(dir, "own.bak"));
    assert.equal(await findRenamed(path, inode), undefined);
  });
});

Deno.test("removeOwnFile() removes, and takes one that is gone for removed", async () => {
  await inDir({ "own": "" }, async (dir) => {
    const path = join(dir, "own");
    await removeOwnFile(path);
    await removeOwnFile(path);
    assert.equal(await readOwnFile(path), undefined);
    await Deno.mkdir(join(path, "full"), { recursive: true });
    await assert.rejects(removeOwnFile(path));
  });
});

Deno.test("reasonOf() says the same each time", () => {
  const name = `.tmp-${crypto.randomUUID()}`;
  const table: [unknown, string][] = [
    [
      new TypeError("No space left (os error 28): open 'x'"),
      "No space left",
    ],
    [
      new TypeError(`Requires write access to "/x/${name}", run again`),
      'Requires write access to "/x/.tmp-…", run again',
    ],
    ["a text", "a text"],
  ];
  for (const [error, expected] of table) {
    assert.equal(reasonOf(error), expected);
  }
});
