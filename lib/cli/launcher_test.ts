import { deepEqual, equal, match, ok, throws } from "node:assert/strict";
import { join } from "node:path";
import fc from "fast-check";
import type { Grant } from "../grants.ts";
import { compareBaked } from "./baked.ts";
import {
  type LauncherParts,
  readLauncher,
  renderLauncher,
} from "./launcher.ts";

const encoder = new TextEncoder();

function grant(kind: Grant["kind"], value: string): Grant {
  return { kind, value, why: "A test" };
}

function bake(parts: LauncherParts): ReturnType<typeof readLauncher> {
  return readLauncher(encoder.encode(renderLauncher(parts)));
}

/** What a path may be, weighted to what means something to sh. */
const path = fc.string({
  unit: fc.oneof(
    fc.constantFrom(..." '\"$`\\;&|<>(){}[]*?~#!=%@:\t".replace("\t", "")),
    fc.constantFrom("a", "B", "7", "/", "é", "☃", "𝒳", "--", "$(id)", "':'"),
  ),
  minLength: 1,
  maxLength: 20,
}).map((text) => `/${text}`);

const grants = fc.array(
  fc.record({
    kind: fc.constantFrom<Grant["kind"]>(
      "read",
      "write",
      "net",
      "env",
      "run",
      "sys",
    ),
    value: path,
    why: fc.constant("A test"),
  }),
  { maxLength: 12 },
);

Deno.test("readLauncher() gives back whatever renderLauncher() was given", () => {
  const v8Flags = fc.subarray(["--max-semi-space-size=1", "--jitless"]);
  const allocator = fc.subarray(["MALLOC_TOP_PAD_=4096", "MALLOC_PERTURB_=0"]);
  const source = fc.string({ unit: "grapheme" });
  fc.assert(
    fc.property(path, grants, fc.tuple(v8Flags, allocator), source, (
      deno,
      granted,
      [flags, variables],
      text,
    ) => {
      const parts = {
        deno,
        grants: granted,
        v8Flags: flags,
        allocator: variables,
        source: text,
      };
      const baked = bake(parts);
      ok(baked !== undefined);
      deepEqual(baked.allocator, variables);
      deepEqual(compareBaked(parts, baked), []);
      equal(baked.deno, deno);
      equal(baked.allowed.size, new Set(granted.map(({ kind }) => kind)).size);
    }),
  );
});

Deno.test("compareBaked() finds every grant that is taken away or added", () => {
  const value = fc.tuple(
    fc.constantFrom<Grant["kind"]>("read", "run", "net"),
    path,
  );
  fc.assert(
    fc.property(grants, value, (granted, [kind, extra]) => {
      fc.pre(!granted.some((one) => one.kind === kind && one.value === extra));
      const less = { deno: "/deno", grants: granted, v8Flags: [], source: "" };
      const more = { ...less, grants: [...granted, grant(kind, extra)] };
      const flag = `--allow-${kind}=${extra}`;
      const [ofLess, ofMore] = [bake(less), bake(more)];
      ok(ofLess !== undefined && ofMore !== undefined);
      deepEqual(compareBaked(less, ofMore), [{ change: "extra", flag }]);
      deepEqual(compareBaked(more, ofLess), [{ change: "missing", flag }]);
    }),
  );
});

Deno.test("readLauncher() throws nothing, whatever was done to a launcher", () => {
  const granted = [grant("read", "/a b"), grant("run", "/it's")];
  const parts = { deno: "/deno", grants: granted, v8Flags: [], source: "0;" };
  const whole = encoder.encode(renderLauncher(parts));
  const change = fc.tuple(
    fc.nat({ max: whole.length }),
    fc.nat({ max: 20 }),
    fc.uint8Array({ maxLength: 9 }),
  );
  fc.assert(
    fc.property(change, ([at, length, bytes]) => {
      const rest = whole.subarray(at + length);
      readLauncher(
        Uint8Array.from([...whole.subarray(0, at), ...bytes, ...rest]),
      );
    }),
    { numRuns: 500 },
  );
});

Deno.test("renderLauncher() refuses what would end the line or a value", async (t) => {
  const parts = { deno: "/deno", grants: [], v8Flags: [], source: "" };
  for (const text of ["\n", "\r", "\u2028", "\u2029", "\0", "\ud800", ","]) {
    await t.step(JSON.stringify(text), () => {
      const grants = [grant("read", `/a${text}b`)];
      throws(() => renderLauncher({ ...parts, grants }), RangeError);
    });
  }
});

Deno.test("what is no number for the allocator stands in no launcher", async (t) => {
  const parts = { deno: "/deno", grants: [], v8Flags: [], source: "" };
  const good = renderLauncher({ ...parts, allocator: ["MALLOC_TOP_PAD_=1"] });
  ok(readLauncher(encoder.encode(good)) !== undefined);
  const others = [
    "LD_PRELOAD=/evil.so",
    "MALLOC_TOP_PAD_=1 LD_PRELOAD=/evil.so",
    "MALLOC_TOP_PAD_=$(id)",
    "MALLOC_TOP_PAD_=1; id",
    "NODE_OPTIONS=1",
    "MALLOC_TOP_PAD_=",
  ];
  for (const variable of others) {
    await t.step(variable, () => {
      const allocator = [variable];
      throws(() => renderLauncher({ ...parts, allocator }), RangeError);
      const bad = good.replace("MALLOC_TOP_PAD_=1", () => variable);
      equal(readLauncher(encoder.encode(bad)), undefined);
    });
  }
});

Deno.test("compareBaked() tells what another allocator is told", () => {
  const parts = { deno: "/deno", grants: [], v8Flags: [], source: "" };
  const baked = bake({ ...parts, allocator: ["MALLOC_TOP_PAD_=1"] });
  ok(baked !== undefined);
  const expected = { ...parts, allocator: ["MALLOC_TOP_PAD_=2"] };
  deepEqual(compareBaked(expected, baked), [
    { change: "missing", flag: "MALLOC_TOP_PAD_=2" },
    { change: "extra", flag: "MALLOC_TOP_PAD_=1" },
  ]);
});

/** What the program finds that it may do; each line is one try. */
const PROGRAM = `
const tries = {
  args: () => Deno.args,
  granted: () => Deno.readTextFileSync(Deno.args[0]),
  otherFile: () => Deno.readTextFileSync("/etc/hostname"),
  write: () => Deno.writeTextFileSync(Deno.args[0], ""),
  home: () => Deno.env.get("HOME") ?? null,
  variable: () => Deno.env.get("GRANTED") ?? null,
  run: () => new Deno.Command("/bin/true").outputSync().code,
  net: () => Deno.listen({ port: 0 }).close(),
  sys: () => Deno.hostname(),
  ffi: () => Deno.dlopen("/lib/libc.so", {}),
  import: async () => await import("http://127.0.0.1:9/x.js"),
};
const found = {};
for (const [name, attempt] of Object.entries(tries)) {
  try { found[name] = await attempt() ?? null } catch (error) { found[name] = error.name }
}
Deno.stdout.writeSync(new TextEncoder().encode(JSON.stringify(found)));
`;

interface Place extends Disposable {
  readonly dir: string;
  readonly home: string;
}

/** A directory whose name is hard on shells. */
function oddPlace(): Place {
  const base = Deno.makeTempDirSync({ prefix: "launcher" });
  const dir = join(base, `it's "odd" $(exit 3) \`x\` & ; é`);
  const home = join(dir, "home");
  Deno.mkdirSync(home, { recursive: true });
  return {
    dir,
    home,
    [Symbol.dispose]: () => Deno.removeSync(base, { recursive: true }),
  };
}

async function start(
  program: string,
  args: readonly string[],
  env: Record<string, string>,
): Promise<{ code: number; stdout: string; stderr: string }> {
  const { code, stdout, stderr } = await new Deno.Command(program, {
    args: [...args],
    env,
    clearEnv: true,
    stdin: "null",
  }).output();
  const decoder = new TextDecoder();
  return {
    code,
    stdout: decoder.decode(stdout),
    stderr: decoder.decode(stderr),
  };
}

async function writeLauncher(
  { dir }: Place,
  parts: Partial<LauncherParts>,
): Promise<string> {
  const deno = join(dir, "my deno");
  await Deno.symlink(Deno.execPath(), deno);
  const program = join(dir, "the program");
  const text = renderLauncher({
    deno,
    grants: [],
    v8Flags: [],
    source: PROGRAM,
    ...parts,
  });
  await Deno.writeTextFile(program, text, { mode: 0o755 });
  return program;
}

async function list(dir: string): Promise<string[]> {
  return (await Array.fromAsync(Deno.readDir(dir))).map(({ name }) => name);
}

Deno.test("a launcher does what is granted and nothing else, from odd paths, with and without a home", async (t) => {
  using place = oddPlace();
  const file = join(place.dir, "granted file");
  await Deno.writeTextFile(file, "content");
  const program = await writeLauncher(place, {
    grants: [grant("read", file), grant("env", "GRANTED")],
    v8Flags: ["--max-semi-space-size=1"],
  });
  const environments: Record<string, Record<string, string>> = {
    "no environment": {},
    "a home": { HOME: place.home, GRANTED: "yes" },
  };
  for (const [name, env] of Object.entries(environments)) {
    await t.step(name, async () => {
      const { code, stdout, stderr } = await start(
        program,
        [file, "a b", ""],
        env,
      );
      equal(stderr, "");
      equal(code, 0);
      const refused = "NotCapable";
      deepEqual(JSON.parse(stdout), {
        args: [file, "a b", ""],
        granted: "content",
        otherFile: refused,
        write: refused,
        home: null,
        variable: env["GRANTED"] ?? null,
        run: refused,
        net: refused,
        sys: refused,
        ffi: refused,
        import: "TypeError",
      });
      deepEqual(await list(place.home), []);
    });
  }
});

Deno.test("a launcher writes nothing below a home when it runs a program", async () => {
  using place = oddPlace();
  const program = await writeLauncher(place, {
    grants: [grant("run", "/bin/true")],
    source: 'Deno.exitCode = new Deno.Command("/bin/true").outputSync().code;',
  });
  const { code, stderr } = await start(program, [], { HOME: place.home });
  equal(stderr, "");
  equal(code, 0);
  deepEqual(await list(place.home), []);
});

Deno.test("a launcher takes away the variables that undo its grants", async (t) => {
  using place = oddPlace();
  const program = await writeLauncher(place, { source: "" });
  // Its own directory: deno splits the value at spaces.
  const code = await Deno.makeTempFile({ suffix: ".cjs" });
  await Deno.writeTextFile(code, 'console.log("LOADED");');
  const empty = join(place.dir, "empty.js");
  await Deno.writeTextFile(empty, "");
  const bare = ["run", "--quiet", "--no-prompt", empty];
  const variables: Record<string, string> = {
    DENO_PERMISSION_BROKER_PATH: join(place.dir, "no such socket"),
    DENO_V8_FLAGS: "--help",
    NODE_OPTIONS: `--require ${code}`,
  };
  try {
    for (const [name, value] of Object.entries(variables)) {
      await t.step(name, async () => {
        deepEqual(await start(program, [], { [name]: value }), {
          code: 0,
          stdout: "",
          stderr: "",
        });
        // So that the test cannot pass because deno has ceased to know the variable.
        const known = await start(Deno.execPath(), bare, { [name]: value });
        match(known.stdout + known.stderr, /broker|Options|LOADED/);
      });
    }
  } finally {
    await Deno.remove(code);
  }
});
