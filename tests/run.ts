/**
 * `deno task test`: brings what the machine lacks, runs every test, and ends
 * with one line that counts them. A skipped test is a failure where CI=true:
 * what cannot be tested on a machine says so by its own assertion instead.
 *
 * Arguments: paths of test files; without any, all of them. What follows
 * `--` goes to `deno test`.
 */
import { bundleAll } from "../deployments/build.ts";
import { canIsolate, INSIDE, isolated } from "./isolation.ts";
import { BUNDLES } from "./node.ts";
import { ensurePrerequisites, TESTING } from "./prerequisites.ts";

const encoder = new TextEncoder();
const say = (line: string): void =>
  void Deno.stdout.writeSync(encoder.encode(`${line}\n`));

/** What the tests themselves may do: everything that a test of a node's daemon does, named kind by kind. */
const TEST_FLAGS = [
  "--allow-read",
  "--allow-write",
  "--allow-run",
  "--allow-env",
  "--allow-net",
  "--allow-sys",
];

/** How long the whole run may take: CI's limit is 90 minutes, the aim is 25. */
const RUN_MS_MAX = 45 * 60_000;

interface Counts {
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
}

function readAttribute(xml: string, name: string): number {
  return Number(
    new RegExp(`<testsuites[^>]*\\b${name}="(\\d+)"`).exec(xml)?.[1] ?? 0,
  );
}

/** Counts from a JUnit report as `deno test` writes it; the steps of a test count as tests. */
function readCounts(xml: string): Counts {
  const tests = readAttribute(xml, "tests");
  const failed = readAttribute(xml, "failures") + readAttribute(xml, "errors");
  const skipped = [...xml.matchAll(/<skipped\b/g)].length;
  return { passed: tests - failed - skipped, failed, skipped };
}

/** Loads all modules while the network is there: inside the node of our own there is none. */
async function loadModules(args: readonly string[]): Promise<boolean> {
  const { success } = await new Deno.Command(Deno.execPath(), {
    args: ["test", "--quiet", "--no-run", ...args],
    stdin: "null",
    stdout: "inherit",
    stderr: "inherit",
  }).output();
  return success;
}

async function runTests(
  args: readonly string[],
  options: { report: string; bundles: string },
): Promise<boolean> {
  const command = [
    Deno.execPath(),
    "test",
    "--quiet",
    "--no-prompt",
    "--no-check",
    "--parallel",
    "--shuffle",
    ...TEST_FLAGS,
    `--junit-path=${options.report}`,
    ...args,
  ];
  const isIsolated = await canIsolate();
  if (!isIsolated) {
    say(
      "Not root, and no user namespaces: tests of real interfaces are skipped",
    );
  }
  const [program, ...rest] = isIsolated
    ? isolated(command)
    : command as [string, ...string[]];
  const child = new Deno.Command(program, {
    args: rest,
    env: {
      [BUNDLES]: options.bundles,
      ...(isIsolated ? { [INSIDE]: "tests" } : {}),
    },
    stdin: "null",
    stdout: "inherit",
    stderr: "inherit",
    signal: AbortSignal.timeout(RUN_MS_MAX),
  }).spawn();
  return (await child.status).success;
}

async function main(args: readonly string[]): Promise<number> {
  const missing = await ensurePrerequisites(TESTING, say);
  if (missing.length > 0) {
    say(
      `Please install: ${
        missing.map((one) => `${one.debianPackage} (${one.purpose})`).join(", ")
      }`,
    );
    return 2;
  }
  const bundles = await Deno.makeTempDir({ prefix: "multus-tests-" });
  const report = `${bundles}/report.xml`;
  try {
    await bundleAll(bundles, () => {});
    if (!await loadModules(args)) {
      say("0 passed, 1 failed");
      return 1;
    }
    const success = await runTests(args, { report, bundles });
    const counts = readCounts(await Deno.readTextFile(report));
    const strict = Deno.env.get("CI") === "true";
    if (strict && counts.skipped > 0) {
      say(`${counts.skipped} skipped: where CI=true a skip is a failure`);
    }
    const skipped = counts.skipped > 0 && !strict
      ? `, ${counts.skipped} skipped`
      : "";
    const failed = counts.failed + (strict ? counts.skipped : 0) +
      (success || counts.failed > 0 ? 0 : 1);
    say(`${counts.passed} passed, ${failed} failed${skipped}`);
    return failed === 0 && counts.passed > 0 ? 0 : 1;
  } finally {
    await Deno.remove(bundles, { recursive: true });
  }
}

if (import.meta.main) Deno.exitCode = await main(Deno.args);
