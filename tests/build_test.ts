import { deepEqual, equal, match, ok, rejects } from "node:assert/strict";
import { join } from "node:path";
import daemonset from "../deployments/profiles/daemonset.json" with {
  type: "json",
};
import {
  build,
  type BuildOptions,
  buildProfile,
  findDenort,
} from "../deployments/build.ts";
import { compareBaked, expectedOf } from "../lib/cli/baked.ts";
import { readBaked } from "../lib/cli/executable.ts";
import { EXECUTABLES, type Profile } from "../lib/grants.ts";

const ROOT = new URL("..", import.meta.url).pathname;

const PROFILE: Profile = {
  ...daemonset,
  deno: Deno.execPath(),
  hostDeno: Deno.execPath(),
  programDir: "/usr/libexec/multus",
};

const FILES = [
  ...EXECUTABLES,
  "libexec/default-route",
  "libexec/delegate-exec",
  "profile.json",
];

interface Place extends AsyncDisposable {
  readonly dir: string;
}

async function place(): Promise<Place> {
  const dir = await Deno.makeTempDir({ prefix: "build-test" });
  return {
    dir,
    [Symbol.asyncDispose]: () => Deno.remove(dir, { recursive: true }),
  };
}

/** The environment of a machine, with a deno in the place of denort: what is compiled can be looked at, not run. */
function withDenort(): Record<string, string> {
  return { ...Deno.env.toObject(), DENORT_BIN: Deno.execPath() };
}

function options(target: string): BuildOptions {
  return { profile: PROFILE, target, say: () => {} };
}

async function digest(path: string): Promise<string> {
  const bytes = await Deno.readFile(path);
  return new Uint8Array(await crypto.subtle.digest("SHA-256", bytes)).toHex();
}

async function digests(target: string): Promise<Record<string, string>> {
  const found: Record<string, string> = {};
  for (const name of FILES) found[name] = await digest(join(target, name));
  return found;
}

interface Ran {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

async function run(
  program: string,
  args: readonly string[],
  env: Record<string, string> = {},
): Promise<Ran> {
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

/** The tree without what is not built, at another place. */
async function copyTree(target: string): Promise<void> {
  const parts = ["deno.json", "deno.lock", "main.ts", "shim.ts", "lib"];
  await Deno.mkdir(target);
  const sources = [...parts, "deployments"].map((part) => join(ROOT, part));
  const { code, stderr } = await run("/bin/cp", ["-R", ...sources, target]);
  equal(code, 0, stderr);
}

/** `deno task build` without the task. */
async function runBuild(root: string, args: readonly string[]): Promise<Ran> {
  const flags = ["run", "--quiet", "--no-prompt"];
  const grants = ["read", "write", "run", "env"].map((kind) =>
    `--allow-${kind}`
  );
  const script = join(root, "deployments/build.ts");
  return await run(
    Deno.execPath(),
    [...flags, ...grants, script, ...args],
    Deno.env.toObject(),
  );
}

Deno.test("build makes launchers that are the same from wherever they are built, and say so of themselves", async (t) => {
  await using here = await place();
  await using there = await place();
  await t.step("two builds, one from a copy of the tree", async () => {
    const profile = join(here.dir, "given.json");
    await Deno.writeTextFile(profile, JSON.stringify(PROFILE));
    const copy = join(there.dir, "copy");
    await copyTree(copy);
    for (
      const [root, target] of [[ROOT, here.dir], [copy, there.dir]] as const
    ) {
      const args = ["--kind", "launcher", "--profile", profile];
      const { code, stderr } = await runBuild(root, [
        ...args,
        "--target",
        target,
      ]);
      equal(code, 0, stderr);
      match(
        stderr,
        new RegExp(
          `Made launchers in ${target}: .* started with ${Deno.execPath()}`,
        ),
      );
    }
    deepEqual(await digests(here.dir), await digests(there.dir));
    const { mode } = await Deno.stat(join(here.dir, "multus-shim"));
    equal(mode, 0o100755);
  });
  await t.step("nothing of this machine is in them", async () => {
    for (const executable of EXECUTABLES) {
      const text = await Deno.readTextFile(join(here.dir, executable));
      const [, , ...source] = text.split("\n");
      for (const path of [ROOT, "/.cache/", "/npm/registry"]) {
        ok(!source.join("\n").includes(path), path);
      }
    }
  });
});

Deno.test("dist/multusctl grants agrees with what was built beside it, and names what was changed by hand", async (t) => {
  await using here = await place();
  const profile = await buildProfile(
    join(ROOT, "deployments/profiles/daemonset.json"),
    here.dir,
  );
  await build({ ...options(here.dir), profile, kind: "launcher" });
  const ctl = join(here.dir, "multusctl");
  for (const executable of EXECUTABLES) {
    await t.step(executable, async () => {
      const { code, stdout, stderr } = await run(ctl, [
        "grants",
        join(here.dir, executable),
      ]);
      deepEqual([code, stderr], [0, ""]);
      match(stdout, /and no others\n$/);
    });
  }
  await t.step("changed", async () => {
    const daemon = join(here.dir, "multus-daemon");
    const text = await Deno.readTextFile(daemon);
    await Deno.writeTextFile(
      daemon,
      text.replace("--allow-run=", "--allow-run=/bin/sh,"),
    );
    const { code, stdout } = await run(ctl, ["grants", daemon]);
    equal(code, 1);
    match(stdout, /baked in, but not in the table: --allow-run=\/bin\/sh\n$/);
  });
  await t.step("not granted", async () => {
    const { code, stderr } = await run(ctl, ["grants", "/etc/multus"]);
    equal(code, 1);
    match(
      stderr,
      /^multusctl: Requires read access to "\/etc\/multus", which multusctl is not granted/,
    );
  });
});

Deno.test("build makes compiled files that have the grants of the table, and are the same whatever the environment", async (t) => {
  await using here = await place();
  await using there = await place();
  const said: string[] = [];
  const compile = {
    ...options(here.dir),
    kind: "compile" as const,
    say: (line: string) => void said.push(line),
  };
  const outcome = await build({ ...compile, env: withDenort() });
  deepEqual(outcome, { kind: "compile", canRun: false });
  for (const executable of EXECUTABLES) {
    await t.step(executable, async () => {
      const baked = readBaked(await Deno.readFile(join(here.dir, executable)));
      equal(baked.form, "compiled");
      deepEqual(compareBaked(expectedOf(executable, PROFILE), baked), []);
    });
  }
  await t.step("again, with variables that deno would bake in", async () => {
    const env = {
      ...withDenort(),
      OTEL_DENO: "true",
      DENO_UNSTABLE_RAW_IMPORTS: "1",
      DENO_V8_FLAGS: "--jitless",
    };
    await build({ ...compile, target: there.dir, env });
    deepEqual(await digests(here.dir), await digests(there.dir));
  });
});

Deno.test("build falls back to launchers where programs cannot be compiled, or would not run", async (t) => {
  const rows: readonly (readonly [denort: string, said: RegExp])[] = [
    ["/nonexistent/denort", /^No denort is to be had/],
    [Deno.execPath(), /^What DENORT_BIN names is no denort/],
  ];
  for (const [denort, expected] of rows) {
    await t.step(denort, async () => {
      await using here = await place();
      const said: string[] = [];
      const outcome = await build({
        ...options(here.dir),
        say: (line) => void said.push(line),
        env: { ...Deno.env.toObject(), DENORT_BIN: denort },
      });
      deepEqual(outcome, { kind: "launcher", canRun: true });
      ok(said.some((line) => expected.test(line)), said.join("\n"));
    });
  }
});

Deno.test("build refuses to compile where no denort is to be had", async () => {
  await using here = await place();
  const env = { ...Deno.env.toObject(), DENORT_BIN: "/nonexistent/denort" };
  await rejects(
    () => build({ ...options(here.dir), kind: "compile", env }),
    { name: "BuildError", message: /^No denort is to be had/ },
  );
});

Deno.test("findDenort() does not wait for a network that does not answer", async () => {
  await using here = await place();
  // A proxy that takes connections and says nothing.
  using silent = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const proxy = `http://127.0.0.1:${silent.addr.port}`;
  const env = { HTTPS_PROXY: proxy, DENO_DIR: join(here.dir, "cache") };
  const started = performance.now();
  equal(await findDenort(here.dir, { limitMs: 1_500, env }), "none");
  // The limit, and not the time-out of a connection, which is minutes.
  ok(performance.now() - started < 30_000);
});

Deno.test("build exits 2 for a command line and 1 for a profile that make no sense", async (t) => {
  await using here = await place();
  const profile = join(here.dir, "profile.json");
  await Deno.writeTextFile(profile, '{"socketDirectory": "/run"}');
  const rows:
    readonly (readonly [args: string[], code: number, said: RegExp])[] = [
      [["--kind", "both"], 2, /Allowed choices are compile, launcher/],
      [["--frobnicate"], 2, /unknown option/],
      [["dist"], 2, /too many arguments/],
      [["--profile", "/nonexistent"], 1, /No such file/],
      [
        ["--profile", profile],
        1,
        /Profile has an unknown member: socketDirectory|lacks a member/,
      ],
    ];
  for (const [args, code, said] of rows) {
    await t.step(args.join(" "), async () => {
      const ran = await runBuild(ROOT, [...args, "--target", here.dir]);
      equal(ran.code, code, ran.stderr);
      match(ran.stderr, said);
    });
  }
});
