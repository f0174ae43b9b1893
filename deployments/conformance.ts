/**
 * `deployments/CONFORMANCE.md`: one row for each thing that users of Multus
 * know, with the tests that prove it and whether they passed. Written from
 * `conformance_items.ts` and the report of a whole test run (JUnit, as
 * `tests/run.ts` keeps it where MULTUS_TEST_REPORT says).
 *
 * `--report FILE` writes the table with what passed in that run. `--check`
 * writes nothing and fails when a row has no test, names one that does not
 * exist, leaves out a key or flag that the daemon knows, or is not what the
 * table says; with `--report`, also when a test did not pass in that run.
 *
 * Needs read of the repository, run of deno and git, and write of the table.
 */
import { join } from "node:path";
import { parseArgs } from "node:util";
import { daemonSchema } from "../lib/daemon/configuration_schema.ts";
import { parseDaemonFlags } from "../lib/daemon/daemon_flags.ts";
import {
  CONFORMANCE,
  type ConformanceItem,
  type ConformanceSection,
} from "./conformance_items.ts";

const ROOT = new URL("../", import.meta.url).pathname;
const TABLE = join(ROOT, "deployments", "CONFORMANCE.md");

/** How a test came out. */
export type Outcome = "passed" | "failed" | "skipped" | "not run";

/** Names of tests by what they came to. */
export type Outcomes = ReadonlyMap<string, Outcome>;

/** Where each test is declared. */
export type TestFiles = ReadonlyMap<string, readonly string[]>;

const HEAD = `# Conformance

One row for each key, flag, field, endpoint, file, event and metric that users of Multus know, and for each rule of
its user's guide; the tests that prove that it is so here; and whether they passed in the run that this table was
written from. Written by \`deployments/conformance.ts\` from \`deployments/conformance_items.ts\`; a row whose test does
not exist fails \`deno task ok\`.
`;

/** Reads the outcomes of a JUnit report as \`deno test\` writes it; steps apart. */
export function readReport(xml: string): Outcomes {
  const outcomes = new Map<string, Outcome>();
  const cases = xml.matchAll(
    /<testcase name="([^"]*)"[^>]*?(?:\/>|>([\s\S]*?)<\/testcase>)/g,
  );
  for (const [, name = "", body = ""] of cases) {
    const outcome = /<(?:failure|error)\b/.test(body)
      ? "failed"
      : /<skipped\b/.test(body)
      ? "skipped"
      : "passed";
    outcomes.set(unescapeXml(name), outcome);
  }
  return outcomes;
}

const ENTITIES: Readonly<Record<string, string>> = {
  "&lt;": "<",
  "&gt;": ">",
  "&quot;": '"',
  "&apos;": "'",
  "&amp;": "&",
};

function unescapeXml(text: string): string {
  return text.replace(
    /&(?:lt|gt|quot|apos|amp);/g,
    (entity) => ENTITIES[entity] ?? entity,
  );
}

/** What is wrong with the items themselves: rows without a test, tests that are not there. */
export function findFaults(
  sections: readonly ConformanceSection[],
  files: TestFiles,
): string[] {
  return sections.flatMap(({ title, items }) =>
    items.flatMap(({ item, tests }) => {
      const place = `${title}: ${item}`;
      if (tests.length === 0) return [`${place}: no test`];
      return tests.flatMap((name) => {
        const found = files.get(name) ?? [];
        if (found.length === 1) return [];
        return found.length === 0
          ? [`${place}: there is no such test: ${name}`]
          : [`${place}: the name is not one test's: ${name}`];
      });
    })
  );
}

/** Keys and flags of the daemon that no row is about. */
export function findForgotten(
  sections: readonly ConformanceSection[],
): string[] {
  const text = sections.flatMap(({ items }) => items.map(({ item }) => item))
    .join("\n");
  const outcome = parseDaemonFlags(["--help"], { version: "0.0.0" });
  const help = outcome.kind === "print" ? outcome.text : "";
  const flags = [...help.matchAll(/^\s+(?:-h, )?--([\w-]+)/gm)].map((
    [, flag = ""],
  ) => flag);
  return [...Object.keys(daemonSchema.shape), ...flags]
    .filter((name) => !text.includes(`\`${name}\``))
    .map((name) => `No row is about ${name}`);
}

function outcomeOf({ tests }: ConformanceItem, outcomes: Outcomes): Outcome {
  const all = tests.map((name) => outcomes.get(name) ?? "not run");
  return all.find((one) => one !== "passed") ?? "passed";
}

function renderRow(
  item: ConformanceItem,
  { files, outcomes }: { files: TestFiles; outcomes: Outcomes },
): string {
  const tests = item.tests.map((name) =>
    `${name} (\`${files.get(name)?.[0] ?? "nowhere"}\`)`.replaceAll("|", "\\|")
  );
  const cells = [item.item, tests.join("<br>"), outcomeOf(item, outcomes)];
  return `| ${cells.join(" | ")} |`;
}

/** The document. */
export function renderConformance(
  sections: readonly ConformanceSection[],
  options: { files: TestFiles; outcomes: Outcomes },
): string {
  const tables = sections.map(({ title, items }) =>
    [
      `\n## ${title}\n`,
      "| item | proved by | outcome |",
      "| --- | --- | --- |",
      ...items.map((item) => renderRow(item, options)),
    ].join("\n")
  );
  return `${HEAD}${tables.join("\n")}\n`;
}

async function runDeno(args: readonly string[], stdin = ""): Promise<string> {
  const child = new Deno.Command(Deno.execPath(), {
    args: [...args],
    cwd: ROOT,
    stdin: "piped",
    stdout: "piped",
    stderr: "inherit",
  }).spawn();
  const writer = child.stdin.getWriter();
  await writer.write(new TextEncoder().encode(stdin));
  await writer.close();
  const { success, stdout } = await child.output();
  if (!success) throw new TypeError(`deno ${args[0]} failed`);
  return new TextDecoder().decode(stdout);
}

async function listTestFiles(dir = ""): Promise<string[]> {
  const files: string[] = [];
  for await (const entry of Deno.readDir(join(ROOT, dir))) {
    const path = join(dir, entry.name);
    if (entry.name.startsWith(".") || entry.name === "dist") continue;
    if (entry.isDirectory) files.push(...await listTestFiles(path));
    else if (entry.name.endsWith("_test.ts")) files.push(path);
  }
  return files.sort();
}

/** The tests of the repository, by name; loaded in a process of its own, and not run. */
async function readTestFiles(): Promise<TestFiles> {
  const kinds = ["read", "write", "env", "sys", "run", "net"];
  const text = await runDeno([
    ...["run", "--quiet", "--no-check", "--no-prompt"],
    ...kinds.map((kind) => `--allow-${kind}`),
    join("tests", "test_names.ts"),
    ...await listTestFiles(),
  ]);
  const byName = new Map<string, string[]>();
  const byFile = JSON.parse(text) as Record<string, string[]>;
  for (const [file, names] of Object.entries(byFile)) {
    for (const name of names) {
      byName.set(name, [...byName.get(name) ?? [], file]);
    }
  }
  return byName;
}

/** What a table says of its rows, to be compared with what a new one would say. */
function readOutcomes(table: string): Outcomes {
  const outcomes = new Map<string, Outcome>();
  for (const { items } of CONFORMANCE) {
    for (const item of items) {
      const row = table.split("\n").find((line) =>
        line.startsWith(`| ${item.item} `)
      );
      const outcome = /\| (passed|failed|skipped|not run)\s*\|$/.exec(
        row ?? "",
      );
      const said = (outcome?.[1] ?? "not run") as Outcome;
      for (const name of item.tests) {
        if (outcomes.get(name) !== "passed") outcomes.set(name, said);
      }
    }
  }
  return outcomes;
}

function notPassed(outcomes: Outcomes): string[] {
  return CONFORMANCE.flatMap(({ title, items }) =>
    items.flatMap((item) => {
      const outcome = outcomeOf(item, outcomes);
      return outcome === "passed" ? [] : [`${title}: ${item.item}: ${outcome}`];
    })
  );
}

async function readIfThere(path: string): Promise<string> {
  try {
    return await Deno.readTextFile(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return "";
    throw error;
  }
}

/** What is to be said, line by line; nothing when all is well. */
async function conform(
  options: { check: boolean; report: string | undefined },
): Promise<string[]> {
  const files = await readTestFiles();
  const faults = [
    ...findFaults(CONFORMANCE, files),
    ...findForgotten(CONFORMANCE),
  ];
  if (faults.length > 0) return faults;
  const present = await readIfThere(TABLE);
  const outcomes = options.report === undefined
    ? readOutcomes(present)
    : readReport(await Deno.readTextFile(options.report));
  const table = await runDeno(
    ["fmt", "--ext", "md", "-"],
    renderConformance(CONFORMANCE, { files, outcomes }),
  );
  const failed = notPassed(outcomes);
  if (!options.check) await Deno.writeTextFile(TABLE, table);
  else if (table !== present) {
    failed.push(
      "deployments/CONFORMANCE.md is not what its items and the tests say: write it with deployments/conformance.ts --report FILE",
    );
  }
  return failed;
}

/** Exit code 0 when every row is proved, 1 when not, 2 for wrong usage. */
export async function main(args: readonly string[]): Promise<number> {
  const say = (line: string): void =>
    void Deno.stdout.writeSync(new TextEncoder().encode(`${line}\n`));
  let values: { check?: boolean; report?: string };
  try {
    ({ values } = parseArgs({
      args: [...args],
      options: { check: { type: "boolean" }, report: { type: "string" } },
    }));
  } catch (error) {
    say(error instanceof Error ? error.message : String(error));
    return 2;
  }
  const { check = false, report } = values;
  const said = await conform({ check, report });
  for (const line of said) say(line);
  return said.length === 0 ? 0 : 1;
}

if (import.meta.main) Deno.exitCode = await main(Deno.args);
