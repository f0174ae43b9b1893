import { deepEqual, equal, match, ok, throws } from "node:assert/strict";
import { openLogFile, type Rotation } from "./log_file.ts";

interface Dir extends Disposable {
  readonly path: string;
  readonly file: string;
}

function makeDir(): Dir {
  const path = Deno.makeTempDirSync({ prefix: "log" });
  return {
    path,
    file: `${path}/multus.log`,
    [Symbol.dispose]: () => Deno.removeSync(path, { recursive: true }),
  };
}

async function namesIn(dir: string): Promise<string[]> {
  const entries = await Array.fromAsync(Deno.readDir(dir));
  return entries.map((entry) => entry.name).sort();
}

const ROTATION: Rotation = {
  maxAgeDays: 5,
  maxSizeMegabytes: 0.001,
  maxBackups: 3,
  compress: false,
};

/** Three of these do not fit into the thousandth of a megabyte above. */
const LINE = `${"x".repeat(399)}\n`;

const DAY_SECONDS = 24 * 60 * 60;

Deno.test("openLogFile() makes the file, and its directory, and appends to it", async () => {
  using dir = makeDir();
  const file = `${dir.path}/a/b/multus.log`;
  for (const line of ["one\n", "two\n"]) {
    await using log = openLogFile(file, ROTATION);
    log.write(line);
  }
  equal(await Deno.readTextFile(file), "one\ntwo\n");
  equal(((await Deno.stat(file)).mode ?? 0) & 0o777, 0o600);
});

Deno.test("openLogFile() throws when the file cannot be opened", () => {
  using dir = makeDir();
  throws(() => openLogFile(dir.path, ROTATION));
});

Deno.test("write() puts the file aside before it becomes too large", async () => {
  using dir = makeDir();
  {
    await using log = openLogFile(dir.file, ROTATION);
    for (let index = 0; index < 3; index++) log.write(LINE);
  }
  const [old = "", ...others] = await namesIn(dir.path);
  deepEqual(others, ["multus.log"]);
  match(old, /^multus-\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d\.\d{3}\.log$/);
  equal(await Deno.readTextFile(`${dir.path}/${old}`), LINE + LINE);
  equal(await Deno.readTextFile(dir.file), LINE);
});

Deno.test("write() counts what was in the file before", async () => {
  using dir = makeDir();
  await Deno.writeTextFile(dir.file, LINE + LINE);
  await using log = openLogFile(dir.file, ROTATION);
  log.write(LINE);
  await log.tidied();
  equal((await namesIn(dir.path)).length, 2);
});

Deno.test("write() never puts a file aside when there is no limit", async () => {
  using dir = makeDir();
  const rotation = { ...ROTATION, maxSizeMegabytes: 0 };
  await using log = openLogFile(dir.file, rotation);
  for (let index = 0; index < 100; index++) log.write(LINE);
  deepEqual(await namesIn(dir.path), ["multus.log"]);
});

Deno.test("openLogFile() keeps the newest old files, those of the Go daemon among them", async () => {
  using dir = makeDir();
  const old = [
    "multus-2026-11-20T00-00-00.000.log.gz",
    "multus-2026-11-21T00-00-00.000.log",
    "multus-2026-11-22T00-00-00.000.log.gz",
    "multus-2026-11-23T00-00-00.000.log",
  ];
  const others = ["multus-notes.log", "other-2026-11-20T00-00-00.000.log"];
  for (const name of [...old, ...others]) {
    await Deno.writeTextFile(`${dir.path}/${name}`, name);
  }
  await using log = openLogFile(dir.file, ROTATION);
  await log.tidied();
  const expected = ["multus.log", ...others, ...old.slice(1)];
  deepEqual(await namesIn(dir.path), expected.sort());
});

Deno.test("openLogFile() removes old files of many days", async () => {
  using dir = makeDir();
  const days = [1, 4, 6, 30];
  for (const day of days) {
    const name = `${dir.path}/multus-2026-11-0${
      days.indexOf(day)
    }T00-00-00.000.log`;
    await Deno.writeTextFile(name, `${day}`);
    const time = Date.now() / 1000 - day * DAY_SECONDS;
    await Deno.utime(name, time, time);
  }
  await using log = openLogFile(dir.file, { ...ROTATION, maxBackups: 0 });
  await log.tidied();
  deepEqual(await namesIn(dir.path), [
    "multus-2026-11-00T00-00-00.000.log",
    "multus-2026-11-01T00-00-00.000.log",
    "multus.log",
  ]);
});

Deno.test("write() has old files compressed when asked to", async () => {
  using dir = makeDir();
  {
    await using log = openLogFile(dir.file, { ...ROTATION, compress: true });
    for (let index = 0; index < 3; index++) log.write(LINE);
  }
  const [old = "", ...others] = await namesIn(dir.path);
  deepEqual(others, ["multus.log"]);
  match(old, /\.log\.gz$/);
  const packed = await Deno.readFile(`${dir.path}/${old}`);
  const unpacked = new Blob([packed]).stream()
    .pipeThrough(new DecompressionStream("gzip"));
  equal(await new Response(unpacked).text(), LINE + LINE);
});

/** A program in a process of its own that writes six lines, and says that it did. */
async function writeProgram(dir: Dir, rotation: Rotation): Promise<string> {
  const program = `${dir.path}/program.ts`;
  const module = new URL("./log_file.ts", import.meta.url).href;
  await Deno.writeTextFile(
    program,
    `
    import { openLogFile } from ${JSON.stringify(module)};
    await using log = openLogFile(${JSON.stringify(dir.file)}, ${
      JSON.stringify(rotation)
    });
    for (let index = 0; index < 6; index++) log.write("${"x".repeat(399)}\\n");
    Deno.stdout.writeSync(new TextEncoder().encode("said"));
  `,
  );
  return program;
}

interface Started {
  readonly args: readonly string[];
  readonly setUp?: string;
}

/** Runs deno by way of a shell that sets something up first. */
async function runDeno({ args, setUp = ":" }: Started): Promise<string> {
  const output = await new Deno.Command("/bin/sh", {
    args: ["-c", `${setUp}; exec "$@"`, "sh", Deno.execPath(), ...args],
    cwd: new URL("..", import.meta.url),
    env: { DENO_DIR: "/dev/null" },
  }).output();
  const decoder = new TextDecoder();
  equal(output.code, 0, decoder.decode(output.stderr));
  return decoder.decode(output.stdout);
}

Deno.test("write() goes on when the disk takes no more", async () => {
  using dir = makeDir();
  const program = await writeProgram(dir, { ...ROTATION, maxSizeMegabytes: 1 });
  const args = ["run", "--quiet", "--allow-read", "--allow-write", program];
  const setUp = "trap '' XFSZ; ulimit -f 1";
  equal(await runDeno({ args, setUp }), "said");
  const { size } = await Deno.stat(dir.file);
  ok(size > 0 && size <= 1024, `${size}`);
});

Deno.test("write() empties the file when it cannot be put aside", async () => {
  using dir = makeDir();
  const program = await writeProgram(dir, ROTATION);
  const grants = [`--allow-read=${dir.file}`, `--allow-write=${dir.file}`];
  const args = ["run", "--quiet", "--no-prompt", ...grants, program];
  equal(await runDeno({ args }), "said");
  deepEqual(await namesIn(dir.path), ["multus.log", "program.ts"]);
  equal(await Deno.readTextFile(dir.file), LINE + LINE);
});
