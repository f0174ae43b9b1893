/**
 * `deno task build`: writes the executables into `dist/`, with the grants of
 * one profile baked in, the scripts that the daemon may run, and the profile
 * itself, for `multusctl grants`. `deno compile` where a denort is to be had,
 * launchers otherwise; which of the two it made is said at the end. What was
 * written is read back and compared with the table before it is called done.
 *
 * Both forms start from the same bundles, so what is tested in one form is
 * the code of the other. Two builds of a commit with one profile, one deno
 * and one denort are byte-identical: bundles carry no time and no path,
 * compiled files embed the modification time of their source, which is set to
 * a fixed one, and no variable of the environment that deno would bake in
 * reaches it. A compiled file also embeds its own name: built under another,
 * it differs. There is no other part that cannot be reproduced.
 *
 * Needs: read of the sources, write of the target, run of deno itself.
 */
import { join, resolve } from "node:path";
import { Command, CommanderError, Option } from "commander";
import { compareBaked, expectedOf } from "../lib/cli/baked.ts";
import { compileFlags } from "../lib/cli/compiled.ts";
import { readBaked } from "../lib/cli/executable.ts";
import { renderLauncher } from "../lib/cli/launcher.ts";
import {
  formatProfile,
  parseProfile,
  PROFILE_NAME,
} from "../lib/cli/profile.ts";
import { type Executable, EXECUTABLES, type Profile } from "../lib/grants.ts";
import { renderDefaultRoute, renderDelegateExec } from "../lib/host/libexec.ts";
import { DAEMON_PARTS, embedParts, type Packing, SHIM_PARTS } from "./parts.ts";

/** Which of the two forms to make. */
export type BuildKind = "compile" | "launcher";

/** What to build. */
export interface BuildOptions {
  /** The paths and addresses of the node. */
  readonly profile: Profile;
  /** The directory that gets the executables. */
  readonly target: string;
  /** One form only; without it compile is tried first. */
  readonly kind?: BuildKind;
  /** Says one line of progress. */
  readonly say: (line: string) => void;
  /** The environment for deno: `DENORT_BIN`, caches, proxies; this process' own unless given. */
  readonly env?: Readonly<Record<string, string>>;
}

/** Bundled, minified JavaScript of each executable, by path. */
export type Bundles = Readonly<Record<Executable, string>>;

/** What a build came to. */
export interface BuildOutcome {
  /** The form that was made. */
  readonly kind: BuildKind;
  /** False for files that were compiled with something that is no denort: they can be looked at, not run. */
  readonly canRun: boolean;
}

/** A build step did not work: what the tool that was started said. */
export class BuildError extends Error {
  /** The name of the class. */
  override readonly name = "BuildError";
}

/** Where this project's sources are. */
const ROOT = resolve(import.meta.dirname ?? ".", "..");

/** What an executable is bundled from. */
interface Source {
  readonly path: string;
  /** Imported dynamically, and loaded only when needed: bundled apart. */
  readonly parts?: ReadonlyMap<string, string>;
  /** How they stand in the bundle. */
  readonly packing?: Packing;
  /** Imported dynamically by the other program of the same source: left out, and never imported. */
  readonly leftOut?: readonly string[];
}

const SOURCES: Readonly<Record<Executable, Source>> = {
  "multus-shim": { path: "shim.ts", parts: SHIM_PARTS, packing: "plain" },
  "multus-daemon": {
    path: "main.ts",
    parts: DAEMON_PARTS,
    leftOut: ["./lib/cli/multusctl.ts"],
  },
  "multusctl": { path: "main.ts", leftOut: ["./lib/daemon/program.ts"] },
};

/** A time to give to files whose time ends up in a compiled file: any fixed one does. */
const FIXED_TIME = new Date("2026-01-01T00:00:00Z");

/** A step of the build; with a slow line and an empty cache most of it is one download of 40 MB. */
const STEP_MS_MAX = 10 * 60_000;
/** How long to look for a denort when launchers will do as well: enough for a download over a good line. */
const DENORT_MS_MAX = 20_000;
/** A program that writes one line has long ended by then. */
const PROBE_MS_MAX = 5_000;

/** Variables that change what deno bakes into a compiled file, or how it runs. */
const BAKED_ENV =
  /^(?:OTEL_|DENO_UNSTABLE_|DENO_V8_FLAGS$|NODE_OPTIONS$|DENO_CERT$|DENO_PERMISSION_)/;

interface StepOptions {
  readonly env?: Readonly<Record<string, string>> | undefined;
  readonly limitMs?: number;
}

async function runDeno(
  args: readonly string[],
  options: StepOptions = {},
): Promise<void> {
  const { limitMs = STEP_MS_MAX } = options;
  const env = Object.entries(options.env ?? Deno.env.toObject());
  const signal = AbortSignal.timeout(limitMs);
  const outcome = await new Deno.Command(Deno.execPath(), {
    args: [...args],
    cwd: ROOT,
    clearEnv: true,
    env: Object.fromEntries(env.filter(([name]) => !BAKED_ENV.test(name))),
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
    signal,
  }).output();
  if (outcome.success) return;
  const said = new TextDecoder().decode(outcome.stderr).trim().split("\n");
  const reason = signal.aborted
    ? `not done within ${limitMs} ms`
    : said.slice(-8).join("\n");
  throw new BuildError(`deno ${args[0]} failed: ${reason}`);
}

/** How deno's bundler, in the middle of a script, gets at the modules that are built into deno. */
const REQUIRE =
  /import\{createRequire as (\w+)\} ?from ?"node:module";var (\w+)=\1\(import\.meta\.url\);/;

interface BundleOptions {
  readonly format: "iife" | "cjs";
  /** Where deno writes it. */
  readonly output: string;
  /** Imports that stay as they are written. */
  readonly external?: Iterable<string>;
}

/** Bundles a source, and gives the text. */
async function bundleText(
  source: string,
  { format, output, external = [] }: BundleOptions,
): Promise<string> {
  const flags = ["--quiet", "--platform", "deno", "--minify"];
  const args = [...flags, "--format", format, "--output", output];
  const apart = [...external].map((name) => `--external=${name}`);
  await runDeno(["bundle", ...args, ...apart, join(ROOT, source)]);
  const text = await Deno.readTextFile(output);
  const own = text.replace(
    REQUIRE,
    (_, _createRequire, name) => `var ${name}=n=>process.getBuiltinModule(n);`,
  );
  if (/import\.meta\b|["']node:module["']/.test(own)) {
    throw new BuildError(`deno bundle made no plain script of ${source}`);
  }
  return own;
}

/**
 * Bundles the sources of an executable as a script.
 *
 * @throws {BuildError} when the bundler fails; the message ends with what it said.
 */
export async function bundle(
  executable: Executable,
  output: string,
): Promise<void> {
  const { path, parts = new Map<string, string>(), ...source } =
    SOURCES[executable];
  const { leftOut = [], packing = "compressed" } = source;
  const external = [...parts.keys(), ...leftOut];
  const script = await bundleText(path, { format: "iife", output, external });
  const texts = new Map<string, string>();
  for (const [name, part] of parts) {
    texts.set(name, await bundleText(part, { format: "cjs", output }));
  }
  const whole = embedParts(script, { texts, leftOut, packing });
  await Deno.writeTextFile(output, whole);
}

/**
 * A script as a text that is executed. Deno parses every module with a parser
 * of its own and keeps the tree as long as the process lives, 43 bytes for each
 * of the source: 67 MB for the daemon. A text is no tree; V8 alone parses it.
 */
function asText(script: string): string {
  return `(0,eval)(${JSON.stringify(script)});\n`;
}

/** Puts a file in its place at once, under a new inode: one that is being executed keeps the old. */
async function place(path: string, text: string, mode: number): Promise<void> {
  await Deno.writeTextFile(`${path}.new`, text);
  await Deno.chmod(`${path}.new`, mode);
  await Deno.rename(`${path}.new`, path);
}

/** Reads back what has been built, as a reviewer would. */
async function verify(
  executable: Executable,
  options: Omit<BuildOptions, "kind">,
): Promise<void> {
  const path = join(options.target, executable);
  const baked = readBaked(await Deno.readFile(path));
  const expected = expectedOf(executable, options.profile);
  const [difference] = compareBaked(expected, baked);
  if (difference === undefined) return;
  throw new BuildError(
    `${executable} does not have the grants of the table: ${difference.change} ${difference.flag}`,
  );
}

/** Which denort there is: one that makes programs that run, something else in its place, or none. */
export type Denort = "runs" | "does not run" | "none";

/** Finds out which denort there is: compiles a program of one line in `workDir`, and runs it. */
export async function findDenort(
  workDir: string,
  options: {
    readonly limitMs: number;
    readonly env?: Readonly<Record<string, string>> | undefined;
  },
): Promise<Denort> {
  const source = join(workDir, "probe.js");
  const probe = join(workDir, "probe");
  await Deno.writeTextFile(source, 'console.log("compiled");\n');
  const flags = ["--quiet", ...compileFlags([], [])];
  try {
    await runDeno(["compile", ...flags, "--output", probe, source], options);
  } catch (error) {
    if (error instanceof BuildError) return "none";
    throw error;
  }
  // A whole deno in the place of denort starts as deno: with this argument it ends at once.
  const { stdout } = await new Deno.Command(probe, {
    args: ["--version"],
    stdin: "null",
    stdout: "piped",
    stderr: "null",
    signal: AbortSignal.timeout(PROBE_MS_MAX),
  }).output();
  const isOurs = new TextDecoder().decode(stdout).trim() === "compiled";
  return isOurs ? "runs" : "does not run";
}

async function writeScripts(
  options: Omit<BuildOptions, "kind">,
): Promise<void> {
  const { profile, target } = options;
  const templates = join(ROOT, "deployments", "libexec");
  const hostRoot = profile.hostRoot ?? "/";
  const scripts = {
    "delegate-exec": renderDelegateExec(
      await Deno.readTextFile(join(templates, "delegate-exec")),
      {
        hostRoot,
        pluginDirs: profile.cniBinDirs,
      },
    ),
    "default-route": renderDefaultRoute(
      await Deno.readTextFile(join(templates, "default-route")),
      {
        hostRoot,
      },
    ),
  };
  await Deno.mkdir(join(target, "libexec"), { recursive: true });
  for (const [name, text] of Object.entries(scripts)) {
    await place(join(target, "libexec", name), text, 0o755);
  }
  await place(join(target, PROFILE_NAME), formatProfile(profile), 0o644);
}

/**
 * Bundles the sources of all executables into `dir`; the name of a bundle is
 * what tells the two programs of one source apart, here and when it runs.
 *
 * @throws {BuildError} when the bundler fails; the message ends with what it said.
 */
export async function bundleAll(
  dir: string,
  say: (line: string) => void,
): Promise<Bundles> {
  const bundles: Partial<Record<Executable, string>> = {};
  for (const executable of EXECUTABLES) {
    const output = join(dir, `${executable}.js`);
    say(`${executable}: bundle`);
    await bundle(executable, output);
    await Deno.utime(output, FIXED_TIME, FIXED_TIME);
    bundles[executable] = output;
  }
  return bundles as Bundles;
}

/**
 * Launchers of all executables, the scripts and the profile; from bundles that are there.
 *
 * @throws {RangeError} when the profile has a path that cannot stand in a launcher.
 */
export async function writeLaunchers(
  bundles: Bundles,
  options: Omit<BuildOptions, "kind">,
): Promise<void> {
  const { profile, target, say } = options;
  await Deno.mkdir(target, { recursive: true });
  for (const executable of EXECUTABLES) {
    say(`${executable}: launcher`);
    const script = await Deno.readTextFile(bundles[executable]);
    // With parts, it is texts already.
    const isText = SOURCES[executable].parts !== undefined;
    const source = isText ? script : asText(script);
    const text = renderLauncher({ ...expectedOf(executable, profile), source });
    await place(join(target, executable), text, 0o755);
    await verify(executable, options);
  }
  await writeScripts(options);
}

/**
 * Compiled programs of all executables, the scripts and the profile; from bundles that are there.
 *
 * @throws {BuildError} when deno cannot compile: most often no denort is to be had.
 */
export async function writeCompiled(
  bundles: Bundles,
  options: Omit<BuildOptions, "kind">,
): Promise<void> {
  const { profile, target, say } = options;
  await Deno.mkdir(target, { recursive: true });
  for (const executable of EXECUTABLES) {
    say(`${executable}: compile`);
    const { grants, v8Flags } = expectedOf(executable, profile);
    const flags = ["--quiet", ...compileFlags(grants, v8Flags)];
    const output = join(target, executable);
    await runDeno([
      "compile",
      ...flags,
      "--output",
      output,
      bundles[executable],
    ], options);
    await verify(executable, options);
  }
  await writeScripts(options);
}

/** Decides on the form; says why where it is not the one that was hoped for. */
async function chooseKind(
  workDir: string,
  options: BuildOptions,
): Promise<BuildOutcome> {
  const { kind, say } = options;
  if (kind === "launcher") return { kind, canRun: true };
  const limitMs = kind === undefined ? DENORT_MS_MAX : STEP_MS_MAX;
  const denort = await findDenort(workDir, { limitMs, env: options.env });
  if (denort === "runs") return { kind: "compile", canRun: true };
  if (kind === "compile" && denort === "none") {
    throw new BuildError(
      "No denort is to be had, neither by download nor in DENORT_BIN: launchers can be built without",
    );
  }
  if (kind === "compile") return { kind, canRun: false };
  say(
    denort === "none"
      ? "No denort is to be had, neither by download nor in DENORT_BIN: making launchers"
      : "What DENORT_BIN names is no denort, programs compiled with it do not run: making launchers",
  );
  return { kind: "launcher", canRun: true };
}

/**
 * Builds all executables and scripts into the target; returns which form it made.
 *
 * @throws {BuildError} when a step fails, or when compile was asked for and no denort is to be had.
 */
export async function build(options: BuildOptions): Promise<BuildOutcome> {
  const workDir = await Deno.makeTempDir({ prefix: "multus-build-" });
  try {
    const outcome = await chooseKind(workDir, options);
    const bundles = await bundleAll(workDir, options.say);
    const write = outcome.kind === "compile" ? writeCompiled : writeLaunchers;
    await write(bundles, options);
    return outcome;
  } finally {
    await Deno.remove(workDir, { recursive: true });
  }
}

/** The profile of a build: `file` over the defaults, which end in this deno and the target. */
export async function buildProfile(
  file: string,
  target: string,
): Promise<Profile> {
  const text = await Deno.readTextFile(file);
  return parseProfile(text, {
    deno: Deno.execPath(),
    hostDeno: Deno.execPath(),
    programDir: target,
  });
}

interface BuildFlags {
  readonly profile: string;
  readonly kind?: BuildKind;
  readonly target: string;
}

/** The command line; an exit code when there is nothing to build. */
function parseFlags(args: readonly string[]): BuildFlags | number {
  const command = new Command("deno task build")
    .description(
      "Builds multus-shim, multus-daemon and multusctl with their grants baked in.",
    )
    .option(
      "--profile <file>",
      "paths of the node",
      join(ROOT, "deployments/profiles/daemonset.json"),
    )
    .addOption(
      new Option(
        "--kind <kind>",
        "without it, compile where a denort is to be had",
      )
        .choices(["compile", "launcher"]),
    )
    .option("--target <dir>", "where the files go", join(ROOT, "dist"))
    .exitOverride();
  try {
    return command.parse(args, { from: "user" }).opts<BuildFlags>();
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2;
    throw error;
  }
}

function describeOutcome(
  outcome: BuildOutcome,
  { profile, target }: Pick<BuildOptions, "profile" | "target">,
): string {
  if (outcome.kind === "launcher") {
    return `Made launchers in ${target}: one file each, started with ${profile.deno}, the shim with ${profile.hostDeno}`;
  }
  return outcome.canRun
    ? `Made compiled executables in ${target}: one file each, deno inside`
    : `Made compiled executables in ${target} that can be looked at, not run: what DENORT_BIN names is no denort`;
}

async function main(): Promise<number> {
  const flags = parseFlags(Deno.args);
  if (typeof flags === "number") return flags;
  const encoder = new TextEncoder();
  const say = (line: string): void =>
    void Deno.stderr.writeSync(encoder.encode(`${line}\n`));
  const target = resolve(flags.target);
  try {
    const profile = await buildProfile(resolve(flags.profile), target);
    const chosen = flags.kind === undefined ? {} : { kind: flags.kind };
    const outcome = await build({ profile, target, say, ...chosen });
    say(describeOutcome(outcome, { profile, target }));
    return 0;
  } catch (error) {
    say(error instanceof Error ? error.message : String(error));
    return 1;
  }
}

if (import.meta.main) Deno.exitCode = await main();
