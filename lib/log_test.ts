import { deepEqual, equal, match, ok } from "node:assert/strict";
import fc from "fast-check";
import { createLog, type Log, LOG_LEVELS, noLog } from "./log.ts";

interface Dir extends Disposable {
  readonly path: string;
}

function makeDir(): Dir {
  const path = Deno.makeTempDirSync({ prefix: "log" });
  return {
    path,
    [Symbol.dispose]: () => Deno.removeSync(path, { recursive: true }),
  };
}

async function readLines(path: string): Promise<string[]> {
  return (await Deno.readTextFile(path)).split("\n").slice(0, -1);
}

const TIME = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z /;

/** What a text log makes of calls, without the time. */
async function textOf(say: (log: Log) => void): Promise<string[]> {
  using dir = makeDir();
  const file = `${dir.path}/multus.log`;
  {
    const options = { level: "debug", toStderr: false, file } as const;
    await using setup = await createLog(options);
    say(setup.log);
  }
  const lines = await readLines(file);
  for (const line of lines) match(line, TIME);
  return lines.map((line) => line.replace(TIME, ""));
}

const LINES: readonly [string, (log: Log) => void, string][] = [
  [
    "a message",
    (log) => log.verbose("Serving"),
    "[verbose] Serving",
  ],
  [
    "fields",
    (log) => log.error("No", { pod: "ns/p", ms: 12, ok: false, gone: null }),
    "[error] No pod=ns/p ms=12 ok=false gone=null",
  ],
  [
    "what a child carries, and what wins over it",
    (log) =>
      log.with({ pod: "a", net: "x" }).with({ net: "y" }).debug("Hi", {
        pod: "b",
      }),
    "[debug] Hi pod=b net=y",
  ],
  [
    "no field for undefined",
    (log) => log.panic("Bad", { a: undefined, b: 1 }),
    "[panic] Bad b=1",
  ],
  [
    "quotes where they are needed",
    (log) => log.debug("Hi", { a: "b c", d: "", e: 'x"y', f: "p=q" }),
    '[debug] Hi a="b c" d="" e="x\\"y" f="p=q"',
  ],
  [
    "one line of many",
    (log) => log.debug("one\ntwo\x1b[31m", { a: "x\ny" }),
    '[debug] one two [31m a="x\\ny"',
  ],
  [
    "braces as they are",
    (log) => log.debug("Not {pod} {{x}}", { pod: "p" }),
    "[debug] Not {pod} {{x}} pod=p",
  ],
  [
    "objects, and errors by what they say",
    (log) => log.debug("Hi", { a: { b: [1] }, cause: new RangeError("Far") }),
    '[debug] Hi a={"b":[1]} cause="RangeError: Far"',
  ],
  [
    "no secret in a field",
    (log) =>
      log.debug("Hi", {
        token: "t",
        Authorization: "u",
        db_password: "v",
        a: { clientKey: "w" },
      }),
    '[debug] Hi token=(hidden) Authorization=(hidden) db_password=(hidden) a={"clientKey":"(hidden)"}',
  ],
  [
    "no secret in a configuration that is text, and its numbers as they are",
    (log) =>
      log.debug("Hi", {
        config: '{"type":"x","ipam":{"apiToken":"t","a":{"b":{"c":[[1]]}}}}',
        plain: '{"big":12345678901234567890}',
        half: '{"type":',
      }),
    '[debug] Hi config="{\\"type\\":\\"x\\",\\"ipam\\":{\\"apiToken\\":\\"(hidden)\\",\\"a\\":{\\"b\\":{\\"c\\":[[1]]}}}}" plain="{\\"big\\":12345678901234567890}" half="{\\"type\\":"',
  ],
  [
    "no token in a text",
    (log) =>
      log.debug("Sent Bearer abcdef123456.x", {
        a: "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJrOHMifQ.c2ln",
      }),
    "[debug] Sent (hidden) a=(hidden)",
  ],
];

Deno.test("createLog() writes one line of text for a call", async (t) => {
  for (const [name, say, expected] of LINES) {
    await t.step(name, async () => deepEqual(await textOf(say), [expected]));
  }
});

Deno.test("createLog() writes lines of JSON when asked to", async () => {
  using dir = makeDir();
  const file = `${dir.path}/multus.log`;
  await using setup = await createLog({
    level: "verbose",
    format: "json",
    toStderr: false,
    file,
  });
  setup.log.with({ pod: "ns/p" }).error("No\nway", {
    ms: 1,
    big: 2n,
    level: "x",
  });
  const [line = "", ...others] = await readLines(file);
  deepEqual(others, []);
  const { time, ...rest } = JSON.parse(line);
  match(`${time} `, TIME);
  deepEqual(rest, {
    pod: "ns/p",
    ms: 1,
    big: "2",
    level: "error",
    message: "No\nway",
  });
});

Deno.test("createLog() says what its level includes, and setLevel() changes it", async (t) => {
  for (const [index, level] of LOG_LEVELS.entries()) {
    await t.step(level, async () => {
      using dir = makeDir();
      const file = `${dir.path}/multus.log`;
      const start = index === 0 ? "debug" : "panic";
      const options = { level: start, toStderr: false, file } as const;
      await using setup = await createLog(options);
      setup.setLevel(level);
      for (const each of LOG_LEVELS) setup.log.with({ a: 1 })[each](each);
      const lines = await readLines(file);
      const said = lines.map((line) => /\[(\w+)\]/.exec(line)?.[1]);
      deepEqual(said, LOG_LEVELS.slice(0, index + 1));
    });
  }
});

Deno.test("createLog() keeps logs apart", async () => {
  using dir = makeDir();
  const options = { level: "debug", toStderr: false } as const;
  const [a, b] = [`${dir.path}/a.log`, `${dir.path}/b.log`];
  await using first = await createLog({ ...options, file: a });
  {
    await using second = await createLog({ ...options, file: b });
    second.log.debug("two");
    first.setLevel("error");
    second.log.debug("three");
  }
  first.log.error("one");
  equal((await readLines(a)).length, 1);
  equal((await readLines(b)).length, 2);
});

Deno.test("createLog() gives one line for whatever is said", async () => {
  using dir = makeDir();
  for (const format of ["text", "json"] as const) {
    const file = `${dir.path}/${format}.log`;
    const options = { level: "debug", format, toStderr: false, file } as const;
    await using setup = await createLog(options);
    let said = 0;
    fc.assert(fc.property(fc.string(), fc.object(), (message, fields) => {
      setup.log.debug(message, fields);
      said++;
    }));
    const circular: Record<string, unknown> = {};
    circular.self = circular;
    setup.log.debug("circular", circular);
    const lines = await readLines(file);
    equal(lines.length, said + 1);
    for (const line of lines) ok(format === "text" || JSON.parse(line));
  }
});

Deno.test("createLog() writes to stderr, and needs no permission for it", async () => {
  const script = `
    import { createLog } from ${
    JSON.stringify(new URL("./log.ts", import.meta.url).href)
  };
    await using setup = await createLog({ level: "error", toStderr: true });
    setup.log.error("Seen", { pod: "ns/p" });
    setup.log.verbose("Not seen");
  `;
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "--quiet", "--no-prompt", "-"],
    cwd: new URL("..", import.meta.url),
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const writer = child.stdin.getWriter();
  await writer.write(new TextEncoder().encode(script));
  await writer.close();
  const { code, stdout, stderr } = await child.output();
  const text = new TextDecoder().decode(stderr);
  equal(code, 0, text);
  match(text, /^\S+Z \[error\] Seen pod=ns\/p\n$/);
  equal(stdout.length, 0);
});

Deno.test("noLog says nothing", () => {
  for (const level of LOG_LEVELS) noLog.with({ a: 1 })[level]("x");
  equal(noLog.with({}), noLog);
});
