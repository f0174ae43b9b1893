/**
 * `deno task test:faults`: everything that goes wrong, in full, on a node of
 * our own; shows how far it has come, and at the end the table. Exits with 0
 * when nothing is left over by any of them.
 *
 * Arguments: words of the names of those to be run; without any, all.
 */
import { join } from "node:path";
import { bundleAll } from "../../deployments/build.ts";
import { INSIDE, isolated } from "../isolation.ts";
import { BUNDLES, isOnTestNode } from "../node.ts";
import { ensurePrerequisites, TESTING } from "../prerequisites.ts";
import type { Outcome } from "./fault.ts";
import { FAULTS } from "./faults.ts";

const encoder = new TextEncoder();
const print = (text: string): void =>
  void Deno.stdout.writeSync(encoder.encode(text));

/** What is shown of what is left over; the rest is more of the same. */
const SHOWN_MAX = 20;

interface Row extends Outcome {
  readonly name: string;
  readonly seconds: number;
}

async function runFaults(words: readonly string[]): Promise<number> {
  const rows: Row[] = [];
  const isInTerminal = Deno.stdout.isTerminal();
  for (const fault of FAULTS) {
    if (!words.every((word) => fault.name.includes(word))) continue;
    print(`${fault.name}\n`);
    const start = performance.now();
    const outcome = await fault.run("full", (text) => {
      if (isInTerminal) print(`\r\x1b[K  ${text}`);
    }).catch((error: unknown): Outcome => ({
      tried: 1,
      survived: 0,
      leftOver: [String(error)],
    }));
    const seconds = Math.round((performance.now() - start) / 1_000);
    if (isInTerminal) print("\r\x1b[K");
    print(
      `  ${outcome.tried} tried, ${outcome.survived} survived, ${seconds} s\n`,
    );
    for (const what of outcome.leftOver.slice(0, SHOWN_MAX)) {
      print(`  left over: ${what}\n`);
    }
    rows.push({ name: fault.name, seconds, ...outcome });
  }
  print(`\n${formatTable(rows)}`);
  const isGood = rows.length > 0 &&
    rows.every((row) => row.tried > 0 && row.survived === row.tried);
  return isGood && rows.every((row) => row.leftOver.length === 0) ? 0 : 1;
}

function formatTable(rows: readonly Row[]): string {
  const cells = [
    ["fault", "tried", "survived", "left over"],
    ...rows.map(({ name, tried, survived, leftOver }) =>
      [name, tried, survived, leftOver.length].map(String)
    ),
  ];
  const widths = [0, 1, 2, 3].map((column) =>
    Math.max(...cells.map((row) => row[column]?.length ?? 0))
  );
  return cells.map((row) =>
    row.map((cell, column) =>
      column === 0
        ? cell.padEnd(widths[column] ?? 0)
        : cell.padStart(widths[column] ?? 0)
    ).join("  ") + "\n"
  ).join("");
}

/** Runs this program again, on a node of our own, with the programs built. */
async function isolate(args: readonly string[]): Promise<number> {
  const missing = await ensurePrerequisites(
    TESTING,
    (line) => print(`${line}\n`),
  );
  if (missing.length > 0) {
    const names = missing.map((one) => `${one.debianPackage} (${one.purpose})`);
    print(`Please install: ${names.join(", ")}\n`);
    return 2;
  }
  const workDir = await Deno.makeTempDir({ prefix: "multus-faults-" });
  try {
    await bundleAll(workDir, () => {});
    const [program, ...words] = isolated([
      Deno.execPath(),
      "run",
      "--quiet",
      "--no-prompt",
      "--allow-read",
      "--allow-write",
      "--allow-run",
      "--allow-env",
      "--allow-net",
      "--allow-sys",
      join(import.meta.dirname ?? ".", "main.ts"),
      ...args,
    ]);
    const { code } = await new Deno.Command(program, {
      args: words,
      env: { [BUNDLES]: workDir, [INSIDE]: "faults" },
      stdin: "null",
      stdout: "inherit",
      stderr: "inherit",
    }).spawn().status;
    return code;
  } finally {
    await Deno.remove(workDir, { recursive: true });
  }
}

if (import.meta.main) {
  // What a fault that failed has left open must not keep the process.
  Deno.exit(
    isOnTestNode() ? await runFaults(Deno.args) : await isolate(Deno.args),
  );
}
