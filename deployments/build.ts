/**
 * `deno task build`: writes the executables into `dist/`, with the grants of
 * one profile baked in. `deno compile` where a denort is to be had, launchers
 * otherwise; which of the two it made is said at the end.
 *
 * Both forms start from the same bundles, so what is tested in one form is
 * the code of the other. Two builds of a commit with one profile are
 * byte-identical: bundles carry no time, and compiled files embed the
 * modification time of their source, which is set to a fixed one.
 *
 * Needs: read of the sources, write of the target, run of deno itself.
 */
import { join, resolve } from "node:path";
import { Command } from "commander";
import { compileFlags, renderLauncher } from "../lib/cli/executable.ts";
import { parseProfile } from "../lib/cli/profile.ts";
import {
  type Executable,
  EXECUTABLES,
  grantsOf,
  type Profile,
  V8_FLAGS,
} from "../lib/grants.ts";
import { renderDefaultRoute, renderDelegateExec } from "../lib/host/libexec.ts";

/** Which of the two forms to make. */
export type BuildKind = "compile" | "launcher";

/** What to build. */
export interface BuildOptions {
  readonly profile: Profile;
  /** The directory that gets the executables. */
  readonly target: string;
  /** One form only; without it compile is tried first. */
  readonly kind?: BuildKind;
  /** Says one line of progress. */
  readonly say: (line: string) => void;
}

/** Where this project's sources are. */
const ROOT = resolve(import.meta.dirname ?? ".", "..");

const SOURCES: Readonly<Record<Executable, string>> = {
  "multus-shim": "shim.ts",
  "multus-daemon": "main.ts",
  "multusctl": "main.ts",
};

/** A time to give to files whose time ends up in a compiled file: any fixed one does. */
const FIXED_TIME = new Date("2026-01-01T00:00:00Z");

/** A build step did not work: what the tool that was started said. */
export class BuildError extends Error {
  override readonly name = "BuildError";
}

async function runDeno(args: readonly string[]): Promise<void> {
  const outcome = await new Deno.Command(Deno.execPath(), {
    args: [...args],
    cwd: ROOT,
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  }).output();
  if (outcome.success) return;
  const said = new TextDecoder().decode(outcome.stderr).trim();
  throw new BuildError(
    `deno ${args[0]} failed: ${said.split("\n").slice(-8).join("\n")}`,
  );
}

async function bundle(
  executable: Executable,
  outputDir: string,
): Promise<string> {
  const output = join(outputDir, `${executable}.js`);
  const flags = [
    "--quiet",
    "--platform",
    "deno",
    "--minify",
    "--output",
    output,
  ];
  await runDeno(["bundle", ...flags, join(ROOT, SOURCES[executable])]);
  await Deno.utime(output, FIXED_TIME, FIXED_TIME);
  return output;
}

async function writeLauncher(
  executable: Executable,
  bundled: string,
  options: BuildOptions,
): Promise<void> {
  const { profile, target } = options;
  const text = renderLauncher({
    deno: executable === "multus-shim" ? profile.hostDeno : profile.deno,
    grants: grantsOf(executable, profile),
    v8Flags: V8_FLAGS[executable],
    source: await Deno.readTextFile(bundled),
  });
  const path = join(target, executable);
  // A new inode: a launcher that is being executed keeps the old one.
  await Deno.writeTextFile(`${path}.new`, text, { mode: 0o755 });
  await Deno.chmod(`${path}.new`, 0o755);
  await Deno.rename(`${path}.new`, path);
}

async function compile(
  executable: Executable,
  bundled: string,
  options: BuildOptions,
): Promise<void> {
  const flags = compileFlags(
    grantsOf(executable, options.profile),
    V8_FLAGS[executable],
  );
  const output = join(options.target, executable);
  await runDeno(["compile", "--quiet", ...flags, "--output", output, bundled]);
}

/** A denort must be to be had: a given one, or the one that deno downloads. Tried on a program of one line. */
async function canCompile(workDir: string): Promise<boolean> {
  const probe = join(workDir, "probe.js");
  await Deno.writeTextFile(probe, "0;\n");
  try {
    await runDeno([
      "compile",
      "--quiet",
      "--no-config",
      "--no-lock",
      "--output",
      join(workDir, "probe"),
      probe,
    ]);
    return true;
  } catch (error) {
    if (error instanceof BuildError) return false;
    throw error;
  }
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
    const path = join(target, "libexec", name);
    await Deno.writeTextFile(`${path}.new`, text, { mode: 0o755 });
    await Deno.chmod(`${path}.new`, 0o755);
    await Deno.rename(`${path}.new`, path);
  }
}

/** Bundled, minified JavaScript of each executable, by path. */
export type Bundles = Readonly<Record<Executable, string>>;

/**
 * Bundles the sources of all executables into `dir`.
 *
 * @throws {BuildError} when the bundler fails; the message ends with what it said.
 */
export async function bundleAll(
  dir: string,
  say: (line: string) => void,
): Promise<Bundles> {
  const bundles: Partial<Record<Executable, string>> = {};
  for (const executable of EXECUTABLES) {
    say(`${executable}: bundle`);
    bundles[executable] = await bundle(executable, dir);
  }
  return bundles as Bundles;
}

/** Launchers of all executables, and the scripts, for one profile; from bundles that are there. */
export async function writeLaunchers(
  bundles: Bundles,
  options: Omit<BuildOptions, "kind">,
): Promise<void> {
  await Deno.mkdir(options.target, { recursive: true });
  for (const executable of EXECUTABLES) {
    options.say(`${executable}: launcher`);
    await writeLauncher(executable, bundles[executable], options);
  }
  await writeScripts(options);
}

/**
 * Builds all executables and scripts into the target; returns which form it made.
 *
 * @throws {BuildError} when a step fails, or when compile was asked for and no denort is to be had.
 */
export async function build(options: BuildOptions): Promise<BuildKind> {
  await Deno.mkdir(options.target, { recursive: true });
  const workDir = await Deno.makeTempDir({ prefix: "multus-build-" });
  try {
    const bundles = await bundleAll(workDir, options.say);
    const kind = options.kind ??
      (await canCompile(workDir) ? "compile" : "launcher");
    if (kind === "launcher") {
      await writeLaunchers(bundles, options);
      return kind;
    }
    for (const executable of EXECUTABLES) {
      options.say(`${executable}: compile`);
      await compile(executable, bundles[executable], options);
    }
    await writeScripts(options);
    return kind;
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

function isBuildKind(kind: string | undefined): kind is BuildKind | undefined {
  return kind === undefined || kind === "compile" || kind === "launcher";
}

async function main(): Promise<number> {
  const command = new Command("deno task build")
    .description(
      "Builds multus-shim, multus-daemon and multusctl with their grants baked in.",
    )
    .option(
      "--profile <file>",
      "paths of the node",
      join(ROOT, "deployments/profiles/daemonset.json"),
    )
    .option(
      "--kind <kind>",
      "compile or launcher; without it compile where a denort is to be had",
    )
    .option("--target <dir>", "where the files go", join(ROOT, "dist"));
  const options = command.parse(["deno", "build", ...Deno.args]).opts<
    { profile: string; kind?: string; target: string }
  >();
  if (!isBuildKind(options.kind)) {
    Deno.stderr.writeSync(
      new TextEncoder().encode(
        `--kind is compile or launcher, not ${options.kind}\n`,
      ),
    );
    return 2;
  }
  const encoder = new TextEncoder();
  const say = (line: string): void =>
    void Deno.stderr.writeSync(encoder.encode(`${line}\n`));
  const target = resolve(options.target);
  try {
    const profile = await buildProfile(options.profile, target);
    const chosen = options.kind === undefined ? {} : { kind: options.kind };
    const kind = await build({ profile, target, say, ...chosen });
    say(
      kind === "compile"
        ? `Made compiled executables in ${target}: one file each, deno inside`
        : `Made launchers in ${target}: one file each, started with ${profile.deno}`,
    );
    return 0;
  } catch (error) {
    say(error instanceof Error ? error.message : String(error));
    return 1;
  }
}

if (import.meta.main) Deno.exitCode = await main();
