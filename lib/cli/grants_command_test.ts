import { deepEqual, equal, match, ok } from "node:assert/strict";
import { join } from "node:path";
import daemonset from "../../deployments/profiles/daemonset.json" with {
  type: "json",
};
import { EXECUTABLES, grantsOf, type Profile } from "../grants.ts";
import { expectedOf } from "./baked.ts";
import { parseGrantsReport } from "./grants_report.ts";
import { renderLauncher } from "./launcher.ts";
import { runMultusctl } from "./multusctl.ts";
import { formatProfile } from "./profile.ts";

const PROFILE: Profile = {
  ...daemonset,
  deno: "/usr/bin/deno",
  hostDeno: "/opt/deno",
  programDir: "/usr/libexec/multus",
};

interface Built extends Disposable {
  readonly dir: string;
  readonly daemon: string;
}

/** Launchers and their profile, as the build leaves them. */
function build(): Built {
  const dir = Deno.makeTempDirSync({ prefix: "grants" });
  for (const executable of EXECUTABLES) {
    const text = renderLauncher({
      ...expectedOf(executable, PROFILE),
      source: "0;\n",
    });
    Deno.writeTextFileSync(join(dir, executable), text);
  }
  Deno.writeTextFileSync(join(dir, "profile.json"), formatProfile(PROFILE));
  return {
    dir,
    daemon: join(dir, "multus-daemon"),
    [Symbol.dispose]: () => Deno.removeSync(dir, { recursive: true }),
  };
}

interface Ran {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

async function grants(
  args: readonly string[],
  options: { programDir?: string; stdin?: string } = {},
): Promise<Ran> {
  let [stdout, stderr] = ["", ""];
  const code = await runMultusctl(["grants", ...args], {
    env: () => undefined,
    stdout: (text) => void (stdout += text),
    stdoutBytes: () => {},
    stderr: (text) => void (stderr += text),
    isTerminal: false,
    programDir: options.programDir ?? "/nonexistent",
    readStdin: () => Promise.resolve(options.stdin ?? ""),
  });
  return { code, stdout, stderr };
}

Deno.test("grants prints the table of every program, or of one", async () => {
  using built = build();
  const all = await grants([], { programDir: built.dir });
  equal(all.code, 0, all.stderr);
  for (const executable of EXECUTABLES) {
    match(all.stdout, new RegExp(`^${executable}$`, "m"));
    for (const { value } of grantsOf(executable, PROFILE)) {
      ok(all.stdout.includes(value), value);
    }
  }
  const one = await grants(["--executable", "multus-shim"], {
    programDir: built.dir,
  });
  ok(!one.stdout.includes("/hostroot"));
});

Deno.test("grants takes the profile that is given, that beside the file, or that beside itself, in this order", async () => {
  using built = build();
  using other = build();
  const text = formatProfile({ ...PROFILE, socketDir: "/elsewhere" });
  await Deno.writeTextFile(join(other.dir, "profile.json"), text);
  equal((await grants([built.daemon], { programDir: other.dir })).code, 0);
  equal((await grants([other.daemon], { programDir: built.dir })).code, 1);
  const given = ["--profile", join(other.dir, "profile.json"), built.daemon];
  equal((await grants(given)).code, 1);
  equal(
    (await grants(["--profile", "-", built.daemon], { stdin: text })).code,
    1,
  );
  await Deno.remove(join(built.dir, "profile.json"));
  equal((await grants([built.daemon], { programDir: other.dir })).code, 1);
});

Deno.test("grants finds the same in what the build made, by every name", async (t) => {
  using built = build();
  for (const name of ["multus", "passthru"]) {
    await Deno.copyFile(join(built.dir, "multus-shim"), join(built.dir, name));
  }
  for (const name of [...EXECUTABLES, "multus", "passthru"]) {
    await t.step(name, async () => {
      const { code, stdout, stderr } = await grants([join(built.dir, name)]);
      deepEqual([code, stderr], [0, ""]);
      match(stdout, /has the \d+ grants of .*profile\.json and no others\n$/);
    });
  }
  await t.step("another name, when it is said what it is", async () => {
    const path = join(built.dir, "daemon.old");
    await Deno.copyFile(built.daemon, path);
    equal((await grants([path])).code, 2);
    equal((await grants([path, "--executable", "multus-daemon"])).code, 0);
    equal((await grants([path, "--executable", "multus-shim"])).code, 1);
  });
});

/** What somebody does to the launcher of the daemon, and what must be named. */
const TAMPERING:
  readonly (readonly [from: string | RegExp, to: string, named: string])[] = [
    [
      "--allow-run=",
      `--allow-${"all"} --allow-run=`,
      `not in the table: --allow-${"all"}\n`,
    ],
    ["--allow-run=", `-${"A"} --allow-run=`, `not in the table: -${"A"}\n`],
    ["--allow-run=", "-R --allow-run=", "not in the table: -R\n"],
    ["--allow-run=", "-P=all --allow-run=", "not in the table: -P=all\n"],
    [
      /--allow-read=\S+/,
      "--allow-read",
      "not in the table: --allow-read (without any limit)",
    ],
    [/--allow-read=\S+/, "--allow-read=", "not in the table: --allow-read="],
    [
      /--allow-read=\S+/,
      "",
      "missing, but in the table: --allow-read=/etc/cni/multus/net.d",
    ],
    [
      "--allow-read=",
      "--allow-read=/ --allow-read=",
      "not in the table: --allow-read=/\n",
    ],
    [
      "--allow-read=",
      "--allow-read=/etc/shadow,",
      "not in the table: --allow-read=/etc/shadow\n",
    ],
    ["--allow-env=", "--allow-env=*,", "not in the table: --allow-env=*"],
    ["--allow-run=", "--allow-run=sh,", "not in the table: --allow-run=sh\n"],
    [
      "--allow-net=",
      "--allow-net=0.0.0.0/0,",
      "not in the table: --allow-net=0.0.0.0/0",
    ],
    [
      "/usr/libexec/multus/delegate-exec",
      "/tmp/delegate-exec",
      "missing, but in the table: --allow-run=/usr/libexec/multus/delegate-exec",
    ],
    ["--no-prompt", "", "missing, but in the table: --no-prompt"],
    [
      "--deny-import",
      "--deny-import=deno.land",
      "missing, but in the table: --deny-import",
    ],
    [
      "--ignore-env",
      "--ignore-env=HOME",
      "missing, but in the table: --ignore-env",
    ],
    [
      "--no-config",
      "--config=/tmp/deno.json",
      "not in the table: --config=/tmp/deno.json",
    ],
    [
      "--no-remote",
      "--import-map=/tmp/x.json",
      "not in the table: --import-map=/tmp/x.json",
    ],
    [
      "--cached-only",
      "--preload=/tmp/x.js",
      "not in the table: --preload=/tmp/x.js",
    ],
    ["--ext=js", "--inspect", "not in the table: --inspect"],
    [
      "--no-prompt",
      "--no-prompt --allow-ffi",
      "not in the table: --allow-ffi (without any limit)",
    ],
    ["--no-prompt", "--no-prompt --env-file", "not in the table: --env-file"],
    [
      "--no-prompt",
      "--no-prompt /tmp/evil.js",
      "not in the table: /tmp/evil.js",
    ],
    [
      "--no-prompt",
      "--no-prompt; /bin/sh",
      "characters in the start line that mean more to sh",
    ],
    [
      "--no-prompt",
      "--no-prompt $(id)",
      "characters in the start line that mean more to sh",
    ],
    [
      "--no-prompt",
      "--no-prompt `id`",
      "characters in the start line that mean more to sh",
    ],
    [
      "--no-prompt",
      "--no-prompt\\ ",
      "characters in the start line that mean more to sh",
    ],
    [
      "--max-semi-space-size=2",
      "--max-semi-space-size=2,--jitless",
      "not in the table: --v8-flags=--jitless",
    ],
    [
      "--max-semi-space-size=2",
      "--expose-gc",
      "missing, but in the table: --v8-flags=--max-semi-space-size=2",
    ],
    ["/usr/bin/deno", "/tmp/deno", "not in the table: starts /tmp/deno"],
    [" run ", " eval ", "not in the table: eval"],
  ];

Deno.test("grants exits 1 and names every flag that was changed by hand", async (t) => {
  using built = build();
  const whole = await Deno.readTextFile(built.daemon);
  for (const [from, to, named] of TAMPERING) {
    await t.step(`${from} → ${to}`, async () => {
      const changed = whole.replace(from, to);
      ok(changed !== whole);
      await Deno.writeTextFile(built.daemon, changed);
      const { code, stdout, stderr } = await grants([built.daemon]);
      deepEqual([code, stderr], [1, ""]);
      ok(stdout.includes(named), stdout);
    });
  }
});

Deno.test("grants exits 1 when the two lines for sh are not those of a launcher", async (t) => {
  using built = build();
  const whole = await Deno.readTextFile(built.daemon);
  const rows: Record<string, string> = {
    "another interpreter": whole.replace("#!/bin/sh", "#!/bin/bash"),
    "a line between": whole.replace("\n", "\n/bin/true\n"),
    "a variable kept": whole.replace(" NODE_OPTIONS", ""),
    "a cache": whole.replace("DENO_DIR=/dev/null/deno", "DENO_DIR=/tmp"),
    "a command before": whole.replace("unset", "/tmp/x; unset"),
    "a command behind": whole.replace('"$@"', '"$@"; x'),
    "a byte order mark": `\ufeff${whole}`,
    "nothing": "",
    "something else": "#!/bin/sh\necho\n",
  };
  for (const [name, text] of Object.entries(rows)) {
    await t.step(name, async () => {
      await Deno.writeTextFile(built.daemon, text);
      const { code, stdout, stderr } = await grants([built.daemon]);
      deepEqual([code, stdout], [1, ""]);
      match(stderr, /multus-daemon: Not an executable of this project/);
    });
  }
});

Deno.test("grants prints JSON that parseGrantsReport() reads, and Markdown", async (t) => {
  using built = build();
  const changed = (await Deno.readTextFile(built.daemon))
    .replace("--no-prompt", "");
  await Deno.writeTextFile(built.daemon, changed);
  await t.step("json", async () => {
    const table = await grants(["--format", "json"], { programDir: built.dir });
    const report = parseGrantsReport(table.stdout);
    deepEqual(report.executables.map(({ name }) => name), EXECUTABLES);
    deepEqual(report.executables[0]?.grants, grantsOf("multus-shim", PROFILE));
    const compared = await grants([built.daemon, "--format", "json"]);
    equal(compared.code, 1);
    deepEqual(parseGrantsReport(compared.stdout).file, {
      path: built.daemon,
      executable: "multus-daemon",
      form: "launcher",
      same: false,
      differences: [{ change: "missing", flag: "--no-prompt" }],
    });
  });
  await t.step("markdown", async () => {
    const { stdout } = await grants(["--format", "markdown"], {
      programDir: built.dir,
    });
    const path = join(built.dir, "table.md");
    await Deno.writeTextFile(path, stdout);
    const { code, stderr } = await new Deno.Command(Deno.execPath(), {
      args: ["fmt", "--check", "--quiet", "--no-config", path],
    }).output();
    equal(code, 0, new TextDecoder().decode(stderr));
  });
  await t.step("markdown of a difference", async () => {
    const { stdout } = await grants([built.daemon, "--format", "markdown"]);
    match(stdout, /\n- missing, but in the table: --no-prompt\n$/);
  });
});
