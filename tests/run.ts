/**
 * `deno task test`: brings what the machine lacks, runs every test, and ends
 * with one line that counts them. A skipped test is a failure where CI=true:
 * what cannot be tested on a machine says so by its own assertion instead.
 *
 * Arguments: paths of test files; without any, all of them. What follows
 * `--` goes to `deno test`.
 */
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

async function runTests(
  args: readonly string[],
  report: string,
): Promise<boolean> {
  const child = new Deno.Command(Deno.execPath(), {
    args: [
      "test",
      "--quiet",
      "--no-prompt",
      "--parallel",
      ...TEST_FLAGS,
      `--junit-path=${report}`,
      ...args,
    ],
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
  const report = await Deno.makeTempFile({
    prefix: "multus-tests-",
    suffix: ".xml",
  });
  try {
    const success = await runTests(args, report);
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
    await Deno.remove(report);
  }
}

if (import.meta.main) Deno.exitCode = await main(Deno.args);
