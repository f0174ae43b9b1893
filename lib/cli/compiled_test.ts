import { deepEqual, ok, throws } from "node:assert/strict";
import { join } from "node:path";
import fc from "fast-check";
import daemonset from "../../deployments/profiles/daemonset.json" with {
  type: "json",
};
import { compareBaked, type Difference, expectedOf } from "./baked.ts";
import { compileFlags, readCompiled } from "./compiled.ts";

const EXPECTED = expectedOf("multus-daemon", {
  ...daemonset,
  deno: "/usr/bin/deno",
  hostDeno: "/usr/bin/deno",
  programDir: "/usr/libexec/multus",
});

/** Where deno is put in the place of denort, what is compiled can be looked at. */
async function compile(
  dir: string,
  flags: readonly string[],
): Promise<Uint8Array> {
  const source = join(dir, "program.js");
  // The source stands behind what was baked in, and says the same about itself, but for the grants.
  const decoy = '{"argv":[],"permissions":{"allow_all":true},"v8_flags":[]}';
  await Deno.writeTextFile(source, `d3n0l4ndd3n0l4nd(\`${decoy}\`);\n`);
  const output = join(dir, "program");
  const { success, stderr } = await new Deno.Command(Deno.execPath(), {
    args: [
      "compile",
      "--quiet",
      "--no-check",
      ...flags,
      "--output",
      output,
      source,
    ],
    env: { DENORT_BIN: Deno.execPath() },
  }).output();
  ok(success, new TextDecoder().decode(stderr));
  return await Deno.readFile(output);
}

function differences(bytes: Uint8Array): readonly Difference[] {
  const baked = readCompiled(bytes);
  ok(baked !== undefined);
  return compareBaked(EXPECTED, baked);
}

Deno.test("readCompiled() gives back what deno compile was given", async (t) => {
  const dir = await Deno.makeTempDir({ prefix: "compiled" });
  try {
    const flags = compileFlags(EXPECTED.grants, EXPECTED.v8Flags);
    await t.step("the same", async () => {
      deepEqual(differences(await compile(dir, flags)), []);
    });
    const changed: Record<string, [string[], string[]]> = {
      "all permissions": [[`--allow-${"all"}`, "--no-code-cache"], [
        "missing --ignore-env",
        "missing --deny-import",
        "missing --no-prompt",
        "extra --allow-read (without any limit)",
        "extra --allow-ffi (without any limit)",
        "missing --v8-flags=--max-semi-space-size=2",
      ]],
      "one more, arguments, a certificate check less": [[
        ...flags.filter((flag) => flag !== "--no-code-cache"),
        "--allow-ffi=/lib/x.so",
        "--deny-read=/etc",
        "--unsafely-ignore-certificate-errors",
      ], [
        "extra --allow-ffi=/lib/x.so",
        "extra --deny-read",
        "extra setting code_cache_key",
        "extra setting unsafely_ignore_certificate_errors",
      ]],
    };
    for (const [name, [given, expected]] of Object.entries(changed)) {
      await t.step(name, async () => {
        const found = differences(await compile(dir, given))
          .map(({ change, flag }) => `${change} ${flag.split(": ")[0]}`);
        for (const line of expected) {
          ok(found.includes(line), `${line} in ${found}`);
        }
      });
    }
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
});

function number(value: number, length: number): number[] {
  return Array.from({ length }, (_, at) => Math.floor(value / 256 ** at) % 256);
}

function note(data: readonly number[]): number[] {
  const padding = Array<number>(-data.length & 3).fill(0);
  const head = [...number(4, 4), ...number(data.length, 4)];
  return [
    ...head,
    ...number(0x53554901, 4),
    0x53,
    0x55,
    0x49,
    0,
    ...data,
    ...padding,
  ];
}

function metadataNote(metadata: string): number[] {
  const magic = [...new TextEncoder().encode("d3n0l4nd")];
  const json = [...new TextEncoder().encode(metadata)];
  return note([8, 0, ...magic, ...magic, ...number(json.length, 8), ...json]);
}

/** The least of an ELF file: a header, one program header, notes. */
function elf(notes: readonly number[]): Uint8Array {
  const ident = [0x7f, 0x45, 0x4c, 0x46, 2, 1, ...Array<number>(26).fill(0)];
  const header = [...ident, ...number(64, 8), ...Array<number>(14).fill(0)];
  const counts = [
    ...number(56, 2),
    ...number(1, 2),
    ...Array<number>(6).fill(0),
  ];
  const program = [
    ...number(4, 8),
    ...number(120, 8),
    ...Array<number>(16).fill(0),
    ...number(notes.length, 8),
    ...Array<number>(16).fill(0),
  ];
  return Uint8Array.from([...header, ...counts, ...program, ...notes]);
}

const PERMISSIONS = { "ignore_env": [], "deny_import": [], "prompt": false };

function bake(changes: object): readonly string[] {
  const metadata = { permissions: PERMISSIONS, "v8_flags": [], ...changes };
  const baked = readCompiled(elf(metadataNote(JSON.stringify(metadata))));
  ok(baked !== undefined);
  const expected = { deno: "/deno", grants: [], v8Flags: [] };
  return compareBaked(expected, baked).map(({ change, flag }) =>
    `${change} ${flag}`
  );
}

Deno.test("readCompiled() finds every setting that is not as it is without being set", async (t) => {
  const rows: readonly (readonly [changes: object, found: string[]])[] = [
    [{}, []],
    [{
      "app_name": "x",
      "log_level": "ERROR",
      "otel_config": { console: "Ignore" },
    }, []],
    [{ "unsafely_ignore_certificate_errors": [] }, [
      "extra setting unsafely_ignore_certificate_errors: []",
    ]],
    [{ argv: ["--evil"] }, ['extra setting argv: ["--evil"]']],
    [{ "preload_modules": ["x.js"] }, [
      'extra setting preload_modules: ["x.js"]',
    ]],
    [{ "env_vars_from_env_file": { "A": "b" } }, [
      'extra setting env_vars_from_env_file.A: "b"',
    ]],
    [{ "unstable_config": { features: ["ffi"] } }, [
      'extra setting unstable_config.features: ["ffi"]',
    ]],
    [{ "otel_config": { console: "Capture" } }, [
      'extra setting otel_config.console: "Capture"',
    ]],
    [{ "of_a_later_deno": 1 }, ["extra setting of_a_later_deno: 1"]],
    [{ "v8_flags": ["--jitless"] }, ["extra --v8-flags=--jitless"]],
    [{ permissions: { ...PERMISSIONS, prompt: true } }, [
      "missing --no-prompt",
    ]],
    [{ permissions: { ...PERMISSIONS, "deny_import": ["x"] } }, [
      "missing --deny-import",
    ]],
    [{ permissions: { ...PERMISSIONS, "ignore_env": ["HOME"] } }, [
      "missing --ignore-env",
    ]],
    [{ permissions: { ...PERMISSIONS, "ignore_read": ["/x"] } }, [
      "extra --ignore-read",
    ]],
    [{ permissions: { ...PERMISSIONS, "allow_all": true } }, [
      "extra --allow-all=true",
    ]],
    [{ permissions: { ...PERMISSIONS, "allow_run": [] } }, [
      "extra --allow-run (without any limit)",
    ]],
    [{ permissions: { ...PERMISSIONS, "allow_run": ["/bin/sh"] } }, [
      "extra --allow-run=/bin/sh",
    ]],
  ];
  for (const [changes, found] of rows) {
    await t.step(JSON.stringify(changes), () => {
      deepEqual(bake(changes), found);
    });
  }
});

Deno.test("readCompiled() refuses what has the note twice, and sees none where there is none", () => {
  const json = JSON.stringify({ permissions: PERMISSIONS, "v8_flags": [] });
  const one = metadataNote(json);
  ok(readCompiled(elf(one)) !== undefined);
  throws(() => readCompiled(elf([...one, ...one])), SyntaxError);
  deepEqual(readCompiled(elf(note([1, 0, 0x78]))), undefined);
  deepEqual(readCompiled(elf([])), undefined);
});

Deno.test("readCompiled() throws nothing but SyntaxError for a damaged file", () => {
  const json = JSON.stringify({ permissions: PERMISSIONS, "v8_flags": [] });
  const whole = elf(metadataNote(json));
  const damage = fc.record({
    cut: fc.nat({ max: whole.length }),
    at: fc.nat({ max: whole.length - 1 }),
    byte: fc.nat({ max: 255 }),
  });
  fc.assert(
    fc.property(damage, ({ cut, at, byte }) => {
      const bytes = whole.slice(0, cut).fill(byte, at, at + 1);
      try {
        readCompiled(bytes);
      } catch (error) {
        ok(error instanceof SyntaxError, String(error));
      }
    }),
    { numRuns: 1000 },
  );
});
