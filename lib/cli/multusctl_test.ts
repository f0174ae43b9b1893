import { deepEqual, equal, match } from "node:assert/strict";
import { PROGRAM_VERSION } from "../wire/program_version.ts";
import { runMultusctl } from "./multusctl.ts";

/** All commands; each has help with examples. */
const COMMANDS = [
  "status",
  "attachments",
  "explain",
  "validate",
  "doctor",
  "delete-pending",
  "bundle",
  "grants",
  "install",
  "uninstall",
];

interface Ran {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

async function run(...args: string[]): Promise<Ran> {
  let [stdout, stderr] = ["", ""];
  const code = await runMultusctl(args, {
    env: () => undefined,
    stdout: (text) => void (stdout += text),
    stdoutBytes: () => {},
    stderr: (text) => void (stderr += text),
    isTerminal: false,
    programDir: "/nonexistent",
  });
  return { code, stdout, stderr };
}

Deno.test("runMultusctl() exits 2 with usage on stderr for what it does not understand", async (t) => {
  const rows: readonly (readonly [args: string[], expected: RegExp])[] = [
    [[], /^Usage: multusctl \[options\] \[command\]/],
    [["frobnicate"], /^error: unknown command 'frobnicate'/],
    [["grnats"], /Did you mean grants\?/],
    [["--frobnicate"], /^error: unknown option '--frobnicate'/],
    [["grants", "a", "b"], /^error: too many arguments/],
    [
      ["grants", "--format", "xml"],
      /Allowed choices are table, json, markdown/,
    ],
    [["grants", "--profile"], /argument missing/],
  ];
  for (const [args, expected] of rows) {
    await t.step(args.join(" "), async () => {
      const { code, stdout, stderr } = await run(...args);
      equal(code, 2);
      equal(stdout, "");
      match(stderr, expected);
      match(stderr, /Usage: multusctl/);
    });
  }
});

Deno.test("runMultusctl() shows help with exit codes, for itself and for each command", async (t) => {
  const rows: readonly string[][] = [
    ["--help"],
    ["help"],
    ["help", "grants"],
    ...COMMANDS.map((name) => [name, "--help"]),
  ];
  for (const args of rows) {
    await t.step(args.join(" "), async () => {
      const { code, stdout, stderr } = await run(...args);
      deepEqual([code, stderr], [0, ""]);
      match(stdout, /^Usage: multusctl/);
      match(stdout, /Exit codes:\n {2}0 .*\n {2}1 .*\n {2}2 /);
      const isOfCommand = COMMANDS.some((name) => args.includes(name));
      if (isOfCommand) match(stdout, /Examples:\n {2}multusctl /);
      else {for (const name of COMMANDS) {
          match(stdout, new RegExp(`^  ${name} `, "m"));
        }}
    });
  }
});

Deno.test("runMultusctl() says its version", async () => {
  deepEqual(await run("--version"), {
    code: 0,
    stdout: `${PROGRAM_VERSION}\n`,
    stderr: "",
  });
});

Deno.test("runMultusctl() tells a failure in one line, with 1, and a missing choice with 2", async () => {
  const file = await run("grants", "/nonexistent/multus-daemon");
  deepEqual([file.code, file.stdout], [1, ""]);
  match(file.stderr, /^multusctl: No such file.*\n$/);
  const profile = await run("grants");
  deepEqual([profile.code, profile.stdout], [2, ""]);
  match(profile.stderr, /^multusctl: No profile\.json beside multusctl.*\n$/);
});
