/**
 * `deno task test`: brings what the machine lacks, runs every test on a node
 * of its own, then holds what the programs asked for against their grants,
 * and ends with one line that counts. A skipped test is a failure where
 * CI=true: what cannot be tested on a machine says so by its own assertion.
 *
 * Arguments: test files, and options of `deno test`; without any, everything.
 */
import { join } from "node:path";
import { BuildError, bundleAll } from "../deployments/build.ts";
import { AUDIT_DIR } from "./audit.ts";
import { createDotLines } from "./dot_lines.ts";
import { canIsolate, INSIDE, isolated } from "./isolation.ts";
import { BUNDLES } from "./node.ts";
import { ensurePrerequisites, TESTING } from "./prerequisites.ts";

const encoder = new TextEncoder();
const say = (line: string): void =>
  void Deno.stdout.writeSync(encoder.encode(`${line}\n`));

/** What the tests themselves may do: everything that testing a node's daemon takes, named kind by kind. */
const TEST_FLAGS = [
  "--allow-read",
  "--allow-write",
  "--allow-run",
  "--allow-env",
  "--allow-net",
  "--allow-sys",
];

/** How long one stage may take: CI's limit for all is 90 minutes, the aim is 25. */
const STAGE_MS_MAX = 45 * 60_000;

interface Counts {
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
}

const NOTHING: Counts = { passed: 0, failed: 0, skipped: 0 };

function readAttribute(xml: string, name: string): number {
  const found = new RegExp(`<testsuites[^>]*\\b${name}="(\\d+)"`).exec(xml);
  return Number(found?.[1] ?? 0);
}

/** Counts from a JUnit report as `deno test` writes it. */
function readCounts(xml: string): Counts {
  const tests = readAttribute(xml, "tests");
  const failed = readAttribute(xml, "failures") + readAttribute(xml, "errors");
  const skipped = [...xml.matchAll(/<skipped\b/g)].length;
  return { passed: tests - failed - skipped, failed, skipped };
}

function add(a: Counts, b: Counts): Counts {
  return {
    passed: a.passed + b.passed,
    failed: a.failed + b.failed,
    skipped: a.skipped + b.skipped,
  };
}

/** Loads and checks all modules while the network is there: on the node of our own there is none. */
async function loadModules(args: readonly string[]): Promise<boolean> {
  const { success } = await new Deno.Command(Deno.execPath(), {
    args: ["test", "--quiet", "--no-run", ...args],
    stdin: "null",
    stdout: "inherit",
    stderr: "inherit",
  }).output();
  return success;
}

interface Stage {
  /** Where reports and bundles of this run are. */
  readonly workDir: string;
  readonly isIsolated: boolean;
  readonly args: readonly string[];
  /** Where the report goes, if somebody wants it. */
  readonly report?: string;
}

/** Keeps the report of the tests, for whoever wants to write down what passed. */
const REPORT = "MULTUS_TEST_REPORT";

async function keepReport(report: string): Promise<void> {
  const kept = Deno.env.get(REPORT) ?? "";
  if (kept !== "") await Deno.copyFile(report, kept);
}

/** Holds the table of what users know against what passed. */
async function judgeConformance(report: string): Promise<Counts> {
  const { success } = await new Deno.Command(Deno.execPath(), {
    args: [
      ...["run", "--quiet", "--no-prompt", "--allow-read", "--allow-run"],
      join("deployments", "conformance.ts"),
      ...["--check", "--report", report],
    ],
    stdin: "null",
    stdout: "inherit",
    stderr: "inherit",
  }).output();
  return success ? { ...NOTHING, passed: 1 } : { ...NOTHING, failed: 1 };
}

/** Both outputs are one, or what is said last on the second would stand amid the first. */
const IN_ONE = ["sh", "-c", 'exec "$@" 2>&1', "sh"] as const;

/** Runs a command that tests; its output is the terminal's own, or made one for a log. */
async function show(
  command: readonly [string, ...string[]],
  env: Record<string, string>,
): Promise<boolean> {
  const isLog = !Deno.stdout.isTerminal();
  const [program, ...args] = isLog ? [...IN_ONE, ...command] as const : command;
  const child = new Deno.Command(program, {
    args,
    env,
    stdin: "null",
    stdout: isLog ? "piped" : "inherit",
    stderr: "inherit",
    signal: AbortSignal.timeout(STAGE_MS_MAX),
  }).spawn();
  if (isLog) {
    await child.stdout
      .pipeThrough(new TextDecoderStream())
      .pipeThrough(createDotLines())
      .pipeThrough(new TextEncoderStream())
      .pipeTo(Deno.stdout.writable, { preventClose: true });
  }
  return (await child.status).success;
}

/** One run of `deno test`. */
async function runStage(stage: Stage): Promise<Counts> {
  const report = stage.report ??
    join(stage.workDir, `report-${crypto.randomUUID()}.xml`);
  const command: [string, ...string[]] = [
    Deno.execPath(),
    "test",
    "--quiet",
    "--no-prompt",
    "--no-check",
    "--reporter=dot",
    ...TEST_FLAGS,
    `--junit-path=${report}`,
    ...stage.args,
  ];
  const success = await show(stage.isIsolated ? isolated(command) : command, {
    [BUNDLES]: stage.workDir,
    [AUDIT_DIR]: join(stage.workDir, "audit"),
    ...(stage.isIsolated ? { [INSIDE]: "tests" } : {}),
  });
  const counts = readCounts(await Deno.readTextFile(report).catch(() => ""));
  // A run that fails without a failed test has leaked, or ended before its report.
  return success || counts.failed > 0
    ? counts
    : add(counts, { ...NOTHING, failed: 1 });
}

async function runAll(
  args: readonly string[],
  workDir: string,
): Promise<Counts> {
  await Deno.mkdir(join(workDir, "audit"));
  await bundleAll(workDir, () => {});
  if (!await loadModules(args)) return { ...NOTHING, failed: 1 };
  const isIsolated = await canIsolate();
  say(
    isIsolated
      ? "All tests run on a node of their own: fresh network, mount and process namespaces"
      : "Not root, and no user namespaces here: tests of real interfaces are skipped",
  );
  const report = join(workDir, "report.xml");
  const counts = await runStage({
    workDir,
    isIsolated,
    report,
    args: ["--parallel", "--shuffle", ...args],
  });
  await keepReport(report);
  // A part of the tests uses a part of the grants: only all of them can be judged.
  if (args.length > 0 || !isIsolated) return counts;
  say("What the programs asked for, held against their grants");
  const judgement = join("tests", "grants_used.ts");
  const judged = await runStage({ workDir, isIsolated, args: [judgement] });
  say("What users know, held against what passed");
  return add(add(counts, judged), await judgeConformance(report));
}

/** The closing line, and the exit code. */
function conclude(counts: Counts): number {
  const strict = Deno.env.get("CI") === "true";
  if (strict && counts.skipped > 0) {
    say(`${counts.skipped} skipped: where CI=true a skip is a failure`);
  }
  const failed = counts.failed + (strict ? counts.skipped : 0);
  const skipped = counts.skipped > 0 && !strict
    ? `, ${counts.skipped} skipped`
    : "";
  say(`${counts.passed} passed, ${failed} failed${skipped}`);
  return failed === 0 && counts.passed > 0 ? 0 : 1;
}

/** For this program and all that it starts. */
function leaveOutColors(): void {
  Deno.env.delete("FORCE_COLOR");
  Deno.env.set("NO_COLOR", "1");
}

async function main(args: readonly string[]): Promise<number> {
  if (!Deno.stdout.isTerminal()) leaveOutColors();
  const missing = await ensurePrerequisites(TESTING, say);
  if (missing.length > 0) {
    const names = missing.map((one) => `${one.debianPackage} (${one.purpose})`);
    say(`Please install: ${names.join(", ")}`);
    return 2;
  }
  const workDir = await Deno.makeTempDir({ prefix: "multus-tests-" });
  try {
    return conclude(await runAll(args, workDir));
  } catch (error) {
    if (!(error instanceof BuildError)) throw error;
    say(error.message);
    return conclude({ ...NOTHING, failed: 1 });
  } finally {
    await Deno.remove(workDir, { recursive: true });
  }
}

if (import.meta.main) Deno.exitCode = await main(Deno.args);
