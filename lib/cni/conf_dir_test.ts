import assert from "node:assert/strict";
import { join } from "node:path";
import {
  listConfFiles,
  loadConfAt,
  loadConfByName,
  loadConfFile,
} from "./conf_dir.ts";
import { CniError } from "./error.ts";
import { getMember } from "./json_text.ts";

/** A directory with the files given, gone at the end of the scope. */
async function makeDir(
  files: Readonly<Record<string, string>>,
): Promise<AsyncDisposable & { path: string }> {
  const path = await Deno.makeTempDir();
  for (const [name, text] of Object.entries(files)) {
    await Deno.mkdir(join(path, name, ".."), { recursive: true });
    await Deno.writeTextFile(join(path, name), text);
  }
  return {
    path,
    [Symbol.asyncDispose]: () => Deno.remove(path, { recursive: true }),
  };
}

async function errorOf(loading: Promise<unknown>): Promise<CniError> {
  try {
    await loading;
  } catch (error) {
    assert.ok(error instanceof CniError, String(error));
    return error;
  }
  assert.fail("Nothing was thrown");
}

function listOf(name: string, ...types: string[]): string {
  return JSON.stringify({ name, plugins: types.map((type) => ({ type })) });
}

function singleOf(name: string, type: string): string {
  return JSON.stringify({ name, type });
}

Deno.test("listConfFiles() gives the files that count, by their whole names", async () => {
  await using dir = await makeDir({
    "10-b.conflist": "",
    "10-b.conf": "",
    "2-a.json": "",
    "Z.conf": "",
    "a.conf": "",
    "a.conf.bak": "",
    "a.conf~": "",
    "README": "",
    "sub.conf/x.conf": "",
  });
  await Deno.symlink(join(dir.path, "a.conf"), join(dir.path, "link.conf"));
  const names = ["10-b.conf", "10-b.conflist", "2-a.json", "Z.conf", "a.conf"];
  assert.deepEqual(
    await listConfFiles(dir.path),
    [...names, "link.conf"].map((name) => join(dir.path, name)),
  );
});

Deno.test("listConfFiles() finds nothing in a directory that does not exist", async () => {
  await using dir = await makeDir({});
  assert.deepEqual(await listConfFiles(join(dir.path, "none")), []);
});

Deno.test("listConfFiles() says when the directory is none", async () => {
  await using dir = await makeDir({ "file": "" });
  const path = join(dir.path, "file");
  const error = await errorOf(listConfFiles(path));
  assert.equal(error.code, 5);
  assert.equal(
    error.message,
    `Cannot read configuration directory ${path}: Not a directory`,
  );
});

Deno.test("loadConfFile() reads a file by its extension", async () => {
  await using dir = await makeDir({
    "a.conf": singleOf("a", "bridge"),
    "a.json": singleOf("a", "bridge"),
    "a.conflist": listOf("a", "bridge"),
    "single.any": singleOf("a", "bridge"),
    "list.any": listOf("a", "bridge"),
  });
  for (
    const name of ["a.conf", "a.json", "a.conflist", "single.any", "list.any"]
  ) {
    const path = join(dir.path, name);
    const list = await loadConfFile(path);
    assert.equal(list.text, await Deno.readTextFile(path));
    assert.equal(list.plugins[0]?.type, "bridge");
    assert.equal(list.single, /conf$|json$|single/.test(name), name);
  }
});

Deno.test("loadConfFile() puts the plugins of the sub-directory behind the list's own", async () => {
  const text = '{"name":"net", "n":1.0,\n "plugins":[ {"type":"a"} ]}\n';
  await using dir = await makeDir({
    "x.conflist": text,
    "net/20.conf": ' {"type":"c", "n":9007199254740993}\n',
    "net/10.conf": singleOf("other", "b"),
    "net/30.conflist": listOf("net", "not"),
    "net/30.json": singleOf("net", "not"),
    "x/40.conf": singleOf("net", "not"),
  });
  const list = await loadConfFile(join(dir.path, "x.conflist"));
  assert.deepEqual(list.plugins.map(({ type }) => type), ["a", "b", "c"]);
  assert.equal(
    list.text,
    '{"name":"net", "n":1.0,\n "plugins":[ {"type":"a"},' +
      '{"name":"other","type":"b"},{"type":"c", "n":9007199254740993} ]}\n',
  );
});

Deno.test("loadConfFile() lets a list take all its plugins from the sub-directory", async () => {
  await using dir = await makeDir({
    "none.conflist": '{"name":"net"}',
    "empty.conflist": '{"name":"net","plugins":[]}',
    "net/1.conf": '{"type":"a"}',
  });
  for (const name of ["none", "empty"]) {
    const list = await loadConfFile(join(dir.path, `${name}.conflist`));
    assert.equal(getMember(list.text, "plugins"), '[{"type":"a"}]');
  }
});

Deno.test("loadConfFile() leaves the sub-directory alone where it is told or no list", async () => {
  const inlined =
    '{"name":"net","loadOnlyInlinedPlugins":true,"plugins":[{"type":"a"}]}';
  await using dir = await makeDir({
    "a.conflist": inlined,
    "a.conf": singleOf("net", "a"),
    "a.any": listOf("net", "a"),
    "net/1.conf": "broken",
  });
  for (const path of await listConfFiles(dir.path)) {
    assert.equal((await loadConfFile(path)).plugins.length, 1, path);
  }
  assert.equal((await loadConfFile(join(dir.path, "a.any"))).plugins.length, 1);
});

Deno.test("loadConfFile() names the file that is wrong", async () => {
  await using dir = await makeDir({
    "list.conf": listOf("a", "b"),
    "single.conflist": singleOf("a", "b"),
    "empty.conflist": '{"name":"a"}',
    "only.conflist": '{"name":"a","loadOnlyInlinedPlugins":true,"plugins":[]}',
    "broken.conf": "{",
    "version.conf": '{"name":"a","type":"b","cniVersion":"7.0.0"}',
    "chain.conflist": listOf("chain", "b"),
    "chain/1.conf": '{"name":"x"}',
    "big.conf": " ".repeat(1024 * 1024 + 1),
    "dir.conf/x": "",
  });
  const table: [name: string, code: number, message: string | RegExp][] = [
    ["list.conf", 7, "This is a list: name it .conflist"],
    [
      "single.conflist",
      7,
      "This is a single plugin, not a list: name it .conf",
    ],
    ["empty.conflist", 7, 'No plugin in network "a"'],
    ["only.conflist", 7, 'No plugin in network "a"'],
    ["broken.conf", 6, /^Configuration is not JSON: /],
    ["version.conf", 1, /^Unsupported CNI version .*"7\.0\.0"/],
  ];
  for (const [name, code, message] of table) {
    const path = join(dir.path, name);
    const error = await errorOf(loadConfFile(path));
    assert.equal(error.code, code, name);
    assert.ok(error.message.endsWith(` (in ${path})`), error.message);
    if (typeof message === "string") {
      assert.equal(error.message, `${message} (in ${path})`);
    } else assert.match(error.message, message);
  }
  const chain = await errorOf(loadConfFile(join(dir.path, "chain.conflist")));
  assert.equal(
    chain.message,
    `"type" is missing (in ${join(dir.path, "chain", "1.conf")})`,
  );
  for (
    const [name, reason] of [
      ["none.conf", "No such file or directory"],
      ["dir.conf", "Not a regular file"],
      ["big.conf", "Larger than 1048576 bytes: 1048577"],
    ] as const
  ) {
    const path = join(dir.path, name);
    const error = await errorOf(loadConfFile(path));
    assert.equal(error.code, 5, name);
    assert.equal(
      error.message,
      `Cannot read configuration file ${path}: ${reason}`,
    );
  }
});

Deno.test("loadConfByName() gives the lexically first file of the name", async () => {
  await using dir = await makeDir({
    "00-broken.conf": "{",
    "10-other.conf": singleOf("other", "a"),
    "20-first.conflist": listOf("net", "b"),
    "30-second.conf": singleOf("net", "c"),
    "net/1.conf": '{"type":"d"}',
  });
  const list = await loadConfByName(dir.path, "net");
  assert.deepEqual(list.plugins.map(({ type }) => type), ["b", "d"]);
});

Deno.test("loadConfByName() does not fail for what a neighbour's sub-directory holds", async () => {
  await using dir = await makeDir({
    "10-other.conflist": listOf("other", "a"),
    "other/1.conf": "broken",
    "20-net.conf": singleOf("net", "b"),
  });
  assert.equal((await loadConfByName(dir.path, "net")).plugins[0]?.type, "b");
});

Deno.test("loadConfByName() names directory, name and the files it could not read", async () => {
  await using dir = await makeDir({
    "a.conf": singleOf("other", "x"),
    "b.conf": "{",
    "c.conf": listOf("net", "x"),
  });
  const error = await errorOf(loadConfByName(dir.path, "net"));
  assert.equal(error.code, 7);
  assert.equal(
    error.message,
    `No valid configuration in ${dir.path} has the name (skipped b.conf, c.conf): "net"`,
  );
  assert.match(
    error.details,
    /is not JSON.*; This is a list: name it .conflist/,
  );
});

Deno.test("loadConfByName() shows three of many files that it could not read", async () => {
  const names = ["a.conf", "b.conf", "c.conf", "d.conf"];
  await using dir = await makeDir(
    Object.fromEntries(names.map((name) => [name, "{"])),
  );
  const error = await errorOf(loadConfByName(dir.path, "net"));
  assert.match(
    error.message,
    /\(skipped a\.conf, b\.conf, c\.conf, …\): "net"$/,
  );
});

Deno.test("loadConfByName() fails the same in a directory that does not exist", async () => {
  await using dir = await makeDir({});
  const path = join(dir.path, "none");
  const error = await errorOf(loadConfByName(path, "net"));
  assert.equal(error.code, 7);
  assert.equal(
    error.message,
    `No valid configuration in ${path} has the name: "net"`,
  );
});

Deno.test("listConfFiles() refuses a directory with more files than anybody has", async () => {
  const names = Array.from({ length: 1001 }, (_, index) => `${index}.conf`);
  await using dir = await makeDir(
    Object.fromEntries(names.map((n) => [n, ""])),
  );
  const error = await errorOf(listConfFiles(dir.path));
  assert.equal(error.code, 5);
  assert.match(error.message, /More than 1000 files$/);
});

Deno.test("loadConfFile() finds a sub-directory that was not there before", async () => {
  await using dir = await makeDir({ "a.conflist": listOf("net", "one") });
  const path = join(dir.path, "a.conflist");
  const target = join(dir.path, "a.target");
  const countNow = async (): Promise<number> =>
    (await loadConfFile(path)).plugins.length;
  const settle = (): Promise<void> =>
    new Promise((resolve) => setTimeout(resolve, 2_100));
  await settle();
  assert.equal(await countNow(), 1);
  assert.equal(await countNow(), 1);
  // A link that leads nowhere yet: what it leads to appears without a trace in this directory.
  await Deno.symlink(target, join(dir.path, "net"));
  await settle();
  assert.equal(await countNow(), 1);
  await Deno.mkdir(join(dir.path, "elsewhere"));
  await Deno.writeTextFile(
    join(dir.path, "elsewhere", "1.conf"),
    '{"type":"two"}',
  );
  await settle();
  assert.equal(await countNow(), 1);
  await Deno.rename(join(dir.path, "elsewhere"), target);
  assert.equal(await countNow(), 2);
  await Deno.remove(join(dir.path, "net"));
  assert.equal(await countNow(), 1);
  await Deno.mkdir(join(dir.path, "net"));
  await settle();
  assert.equal(await countNow(), 1);
  await Deno.writeTextFile(join(dir.path, "net", "1.conf"), '{"type":"six"}');
  assert.equal(await countNow(), 2);
});

Deno.test("loadConfAt() reads a file, or the first one of a directory", async () => {
  await using dir = await makeDir({
    "20-b.conf": singleOf("b", "x"),
    "10-a.conflist": listOf("a", "one"),
    "a/1.conf": '{"type":"two"}',
    "sub/none.txt": "",
  });
  const first = await loadConfAt(dir.path);
  assert.deepEqual(first.plugins.map(({ type }) => type), ["one", "two"]);
  assert.equal((await loadConfAt(join(dir.path, "20-b.conf"))).name, "b");
  const empty = await errorOf(loadConfAt(join(dir.path, "sub")));
  assert.equal(empty.code, 7);
  assert.match(empty.message, /^no CNI file in directory ".*sub"$/);
  assert.equal((await errorOf(loadConfAt(join(dir.path, "none")))).code, 5);
});

Deno.test("loadConfFile() reads a file anew that was changed since", async () => {
  await using dir = await makeDir({ "a.conflist": listOf("net", "one") });
  const path = join(dir.path, "a.conflist");
  const typeNow = async (): Promise<string | undefined> =>
    (await loadConfFile(path)).plugins[0]?.type;
  // So long, and what was read is kept.
  await new Promise((resolve) => setTimeout(resolve, 2_100));
  assert.equal(await typeNow(), "one");
  assert.equal(await typeNow(), "one");
  await Deno.writeTextFile(path, listOf("net", "two")); // in place, and as long
  assert.equal(await typeNow(), "two");
  await Deno.writeTextFile(`${path}.new`, listOf("net", "six"));
  await Deno.rename(`${path}.new`, path);
  assert.equal(await typeNow(), "six");
  await Deno.remove(path);
  assert.equal((await errorOf(loadConfFile(path))).code, 5);
});
