/**
 * `deno task rootfs`: writes what the container image adds to Debian into a
 * directory. The Dockerfile does nothing else: its build stage runs this, and
 * its last stage copies the result. So where no container engine is at hand,
 * a test makes the same files and runs the daemon from them.
 *
 * Nothing in the image can be written, by whoever: the daemon runs as root.
 *
 * Needs: read of the sources, write of the target, run of deno itself.
 */
import { dirname, join } from "node:path";
import { Command, Option } from "commander";
import type { Profile } from "../lib/grants.ts";
import {
  build,
  BuildError,
  type BuildKind,
  type Bundles,
  writeLaunchers,
} from "./build.ts";
import { imageProfile } from "./manifests.ts";
import { IMAGE, NODE_KINDS, type NodeKind } from "./node_kinds.ts";

/** What to make. */
export interface RootfsOptions {
  /** The kind of nodes the image is for. */
  readonly kind: NodeKind;
  /** The directory that becomes the root. */
  readonly target: string;
  /** The form of the executables. */
  readonly form: BuildKind;
  /** The deno program that launchers start. */
  readonly deno: string;
  /** Where the reference plugins are. */
  readonly pluginDir: string;
  /** The API server's addresses, where they are not those of the profile. */
  readonly apiServers?: readonly string[];
  /** Bundles that are there already, for launchers. */
  readonly bundles?: Bundles;
  /** Says one line of progress. */
  readonly say: (line: string) => void;
}

/** Where Debian's package of the reference plugins has them. */
const DEBIAN_PLUGIN_DIR = "/usr/lib/cni";

/** Nobody may write, not even who owns it. */
const WRITE_BITS = 0o222;

/**
 * Writes the files; the target must be empty or missing.
 *
 * @throws {BuildError} when the executables cannot be built.
 */
export async function buildRootfs(options: RootfsOptions): Promise<void> {
  const { kind, target, apiServers } = options;
  const profile = {
    ...await imageProfile(kind),
    ...(apiServers !== undefined && { apiServers }),
  };
  const programs = join(target, IMAGE.programDir);
  await Deno.mkdir(programs, { recursive: true });
  await buildPrograms(options, profile, programs);
  await placeScripts(join(target, profile.libexecDir), programs);
  await bringPlugins(options, join(programs, "plugins"));
  await makeMountPoints(target, profile);
  for (const dir of [programs, join(target, profile.libexecDir)]) {
    await protect(dir);
  }
}

async function buildPrograms(
  options: RootfsOptions,
  profile: Profile,
  target: string,
): Promise<void> {
  const { form, bundles, deno, say } = options;
  if (form === "launcher") {
    await Deno.copyFile(deno, join(target, "deno"));
  }
  if (form === "launcher" && bundles !== undefined) {
    await writeLaunchers(bundles, { profile, target, say });
  } else await build({ profile, target, kind: form, say });
}

/** The build leaves the scripts beside the executables; the probe is the image's own. */
async function placeScripts(
  libexecDir: string,
  programs: string,
): Promise<void> {
  await Deno.mkdir(dirname(libexecDir), { recursive: true });
  await Deno.rename(join(programs, "libexec"), libexecDir);
  const probe = join(import.meta.dirname ?? "", "libexec", "probe");
  await Deno.copyFile(probe, join(programs, "probe"));
}

async function bringPlugins(
  { kind, pluginDir }: RootfsOptions,
  target: string,
): Promise<void> {
  await Deno.mkdir(target);
  for (const name of kind.plugins) {
    await Deno.copyFile(join(pluginDir, name), join(target, name));
  }
}

/** A runtime makes them by itself; where the root is read-only from the start they must be there. */
async function makeMountPoints(
  target: string,
  profile: Profile,
): Promise<void> {
  const dirs = [
    profile.hostRoot ?? "/",
    profile.cniConfDir,
    profile.socketDir,
    profile.multusConfDir,
    profile.cniStateDir,
    dirname(profile.daemonConfig),
    dirname(profile.podResourcesSocket),
    dirname(profile.deviceCheckpoint),
  ];
  for (const dir of dirs) {
    await Deno.mkdir(join(target, dir), { recursive: true });
  }
}

async function protect(path: string): Promise<void> {
  const { isDirectory, mode } = await Deno.lstat(path);
  if (isDirectory) {
    for await (const { name } of Deno.readDir(path)) {
      await protect(join(path, name));
    }
  }
  await Deno.chmod(path, (mode ?? 0) & 0o777 & ~WRITE_BITS);
}

interface CommandLine {
  readonly nodes: string;
  readonly target: string;
  readonly form: BuildKind;
  readonly pluginDir: string;
  readonly apiServers?: string;
}

function parseArgs(args: readonly string[]): CommandLine {
  return new Command("deno task rootfs")
    .description("Writes what the container image adds to Debian.")
    .addOption(
      new Option("--nodes <kind>", "which kind of nodes the image is for")
        .choices(NODE_KINDS.map(({ profile }) => profile))
        .default("daemonset"),
    )
    .addOption(
      new Option("--form <form>", "the form of the executables")
        .choices(["launcher", "compile"]).default("launcher"),
    )
    .requiredOption("--target <dir>", "an empty directory")
    .option("--plugin-dir <dir>", "reference plugins", DEBIAN_PLUGIN_DIR)
    .option(
      "--api-servers <ranges>",
      "where the daemon may find the API server, with commas; the usual range of services without",
    )
    .parse([...args], { from: "user" })
    .opts<CommandLine>();
}

async function main(args: readonly string[]): Promise<number> {
  const say = (line: string): void =>
    void Deno.stderr.writeSync(new TextEncoder().encode(`${line}\n`));
  const { nodes, apiServers = "", ...options } = parseArgs(args);
  const kind = NODE_KINDS.find(({ profile }) => profile === nodes);
  if (kind === undefined) return 2;
  try {
    await buildRootfs({
      ...options,
      ...(apiServers !== "" && { apiServers: apiServers.split(",") }),
      kind,
      deno: Deno.execPath(),
      say,
    });
    return 0;
  } catch (error) {
    if (!(error instanceof BuildError)) throw error;
    say(error.message);
    return 1;
  }
}

if (import.meta.main) Deno.exitCode = await main(Deno.args);
