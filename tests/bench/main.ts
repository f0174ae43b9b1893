/**
 * `deno task bench`: how fast and how small this is, each figure beside the
 * floor that Deno sets, measured in the same run on a node of its own
 * (`tests/isolation.ts`), from what `deno task build` makes.
 *
 *     deno task bench [--only NAME]... [--check] [--json] [--write]
 *
 * NAME is a group of figures (shim, daemon, whole, real, load, silence, delay,
 * memory, start, growth). `--check` exits 1 when a limit is missed, `--write`
 * puts the table into `deployments/PERFORMANCE.md`.
 *
 * As root. Needs gcc, ip and the CNI reference plugins. It takes the processors
 * for itself, as far as `nice` lets it.
 */
import { join } from "node:path";
import { parseArgs } from "node:util";
import { bundleAll } from "../../deployments/build.ts";
import { canIsolate, INSIDE, isolated } from "../isolation.ts";
import { BUNDLES } from "../node.ts";
import { ensurePrerequisites, TESTING } from "../prerequisites.ts";
import { startApi } from "./api.ts";
import { holds } from "./figure.ts";
import { growthCurves } from "./growth_curves.ts";
import { loadFigures } from "./load_figures.ts";
import { describeMachine } from "./machine.ts";
import { memoryFigures } from "./memory_figures.ts";
import { BenchNode, run } from "./node.ts";
import {
  daemonFigures,
  delayFigures,
  silenceFigures,
  wholeFigures,
} from "./operation_figures.ts";
import { writePerformanceFile } from "./performance_file.ts";
import { realFigures } from "./real_figures.ts";
import {
  formatJson,
  formatMarkdown,
  formatTable,
  type Report,
} from "./report.ts";
import { shimFigures } from "./shim_figures.ts";
import { startFigures } from "./start_figures.ts";
import { createStopwatch } from "./stopwatch.ts";
import type { Group, Surroundings } from "./surroundings.ts";

/** In this order: the big cluster of the memory figures stays until the end. */
const GROUPS: readonly Group[] = [
  shimFigures,
  daemonFigures,
  wholeFigures,
  realFigures,
  delayFigures,
  silenceFigures,
  loadFigures,
  startFigures,
  growthCurves,
  memoryFigures,
];

const FLAGS = {
  only: { type: "string", multiple: true },
  check: { type: "boolean" },
  json: { type: "boolean" },
  write: { type: "boolean" },
} as const;

const encoder = new TextEncoder();
const print = (text: string): void =>
  void Deno.stdout.writeSync(encoder.encode(`${text}\n`));
const say = (line: string): void =>
  void Deno.stderr.writeSync(encoder.encode(`${line}\n`));

async function compileC(name: string, dir: string): Promise<string> {
  const source = join(import.meta.dirname ?? ".", `${name}.c`);
  const program = join(dir, name);
  await run("gcc", "-static", "-O2", "-o", program, source);
  return program;
}

async function measureAll(
  surroundings: Surroundings,
  groups: readonly Group[],
): Promise<Report> {
  const figures = [];
  const curves = [];
  for (const { name, measure } of groups) {
    say(`${name} …`);
    const measured = await measure(surroundings);
    await surroundings.node.stopDaemon();
    figures.push(...measured.figures);
    curves.push(...measured.curves ?? []);
  }
  return { machine: await describeMachine(), figures, curves };
}

async function measureOnNode(groups: readonly Group[]): Promise<Report> {
  const bundleDir = Deno.env.get(BUNDLES) ?? "";
  const dir = await Deno.makeTempDir({ prefix: "multus-bench-" });
  try {
    const noop = await compileC("noop", dir);
    const asker = await compileC("asker", dir);
    const stopwatchProgram = await compileC("stopwatch", dir);
    const bundles = {
      "multus-shim": join(bundleDir, "multus-shim.js"),
      "multus-daemon": join(bundleDir, "multus-daemon.js"),
      "multusctl": join(bundleDir, "multusctl.js"),
    };
    await using api = startApi();
    const parts = { bundles, api, noop, asker };
    await using node = await BenchNode.create(dir, parts);
    const stopwatch = createStopwatch(stopwatchProgram);
    const shimBundle = bundles["multus-shim"];
    return await measureAll({ node, stopwatch, noop, shimBundle, say }, groups);
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
}

type Flags = ReturnType<typeof parseFlags>;

function parseFlags(args: string[]): {
  groups: readonly Group[];
  check: boolean;
  json: boolean;
  write: boolean;
} {
  const { values } = parseArgs({ args, options: FLAGS });
  const { only = [], check = false, json = false, write = false } = values;
  const unknown = only.find((name) =>
    !GROUPS.some((group) => group.name === name)
  );
  if (unknown !== undefined) {
    const names = GROUPS.map(({ name }) => name).join(", ");
    throw new RangeError(`There is no such group: ${unknown}; one of ${names}`);
  }
  const groups = only.length === 0
    ? GROUPS
    : GROUPS.filter(({ name }) => only.includes(name));
  return { groups, check, json, write };
}

async function runInside(flags: Flags): Promise<number> {
  const report = await measureOnNode(flags.groups);
  print(flags.json ? formatJson(report) : formatTable(report));
  if (flags.write) await writePerformanceFile(formatMarkdown(report));
  const missed = report.figures.filter((figure) => !holds(figure));
  for (const { name } of missed) say(`Missed: ${name}`);
  return flags.check && missed.length > 0 ? 1 : 0;
}

const INSIDE_FLAGS = [
  "--allow-read",
  "--allow-write",
  "--allow-run",
  "--allow-env",
  "--allow-net",
  "--allow-sys",
];

/** Before whatever else the machine does, floors and figures alike: both would mostly show how long they wait for a processor. */
const FIRST = [
  "setsid",
  "-w",
  "sh",
  "-c",
  // Where sessions share the processors evenly, it is the session's own niceness that counts.
  'echo -15 2> /dev/null > /proc/self/autogroup; exec nice -n -15 "$@"',
  "sh",
];

/** Builds, and starts this program again on a node of its own. */
async function runOutside(args: readonly string[]): Promise<number> {
  const missing = await ensurePrerequisites(TESTING, say);
  if (missing.length > 0 || !await canIsolate()) {
    const names = missing.map(({ debianPackage }) => debianPackage);
    say(
      `The benchmark needs root, namespaces of its own, and: ${
        names.join(", ") || "nothing else"
      }`,
    );
    return 2;
  }
  const bundles = await Deno.makeTempDir({ prefix: "multus-bench-bundles-" });
  try {
    await bundleAll(bundles, () => {});
    const [program, ...words] = isolated([
      ...FIRST,
      Deno.execPath(),
      "run",
      "--quiet",
      "--no-prompt",
      "--cached-only",
      ...INSIDE_FLAGS,
      join(import.meta.dirname ?? ".", "main.ts"),
      ...args,
    ]);
    const child = new Deno.Command(program, {
      args: words,
      env: { [INSIDE]: "bench", [BUNDLES]: bundles },
      stdin: "null",
      stdout: "inherit",
      stderr: "inherit",
    }).spawn();
    return (await child.status).code;
  } finally {
    await Deno.remove(bundles, { recursive: true });
  }
}

/** Loads what the API server's process needs while the network is there. */
async function cacheModules(): Promise<void> {
  const modules = ["api_process.ts", "main.ts"].map((name) =>
    join(import.meta.dirname ?? ".", name)
  );
  await run(Deno.execPath(), "cache", "--quiet", ...modules);
}

async function main(): Promise<number> {
  const flags = parseFlags(Deno.args);
  if (Deno.env.get(INSIDE) !== undefined) return await runInside(flags);
  await cacheModules();
  return await runOutside(Deno.args);
}

if (import.meta.main) Deno.exitCode = await main();
