/**
 * Which directories `install` and `uninstall` work in, and why: what the
 * command line says, else what the node's container runtime is configured
 * for, else the profile that the build left beside `multusctl`.
 *
 * Needs read of the paths in `detection_paths.ts` and of the programs.
 *
 * @module
 */
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Profile } from "../grants.ts";
import type { CliWorld } from "./command.ts";
import {
  defaultLayout,
  detectLayout,
  type Distribution,
  type NodeLayout,
} from "./distributions.ts";
import { parseProfile, PROFILE_NAME } from "./profile.ts";

/** What the command line may say of directories. */
export interface DirOptions {
  /** The host's root as this process sees it. */
  readonly hostRoot?: string;
  /** A distribution whose directories to take. */
  readonly distribution?: Distribution;
  /** A profile whose directories to take. */
  readonly profileFile?: string;
  /** The CNI directory as this process sees it. */
  readonly binDir?: string;
  /** The directory of configurations as this process sees it. */
  readonly confDir?: string;
}

/** Where things are. */
export interface NodeDirs {
  /** The host's root as this process sees it; `/` outside a pod. */
  readonly hostRoot: string;
  /** The CNI directory as this process sees it. */
  readonly binDir: string;
  /** The CNI directory as the host names it. */
  readonly hostBinDir: string;
  /** The directory of configurations as this process sees it. */
  readonly confDir: string;
  /** The profile that the build left beside `multusctl`. */
  readonly profile?: Profile;
  /** Where our executables are. */
  readonly programDir: string;
  /** What was found and why it was taken, a line each. */
  readonly reasons: readonly string[];
  /** What is probably not meant, a line each. */
  readonly warnings: readonly string[];
}

/** The user's guide mounts the host's directories below this one in the installer's container. */
const HOST_MOUNT = "/host";

/**
 * Finds the directories.
 *
 * @throws {SyntaxError} when a profile is not JSON.
 * @throws {TypeError} when a profile has a wrong member.
 */
export async function findNodeDirs(
  options: DirOptions,
  world: Pick<CliWorld, "programDir">,
): Promise<NodeDirs> {
  const programDir = world.programDir ?? ownDir();
  const profile = await readProfile(join(programDir, PROFILE_NAME));
  const hostRoot = options.hostRoot ?? profile?.hostRoot ?? "/";
  const detected = await detect(hostRoot);
  const layout = await chooseLayout(options, detected, profile);
  const [layoutBinDir = ""] = layout.binDirs;
  const binDir = options.binDir ?? join(hostRoot, layoutBinDir);
  const confDir = options.confDir ??
    seenConfDir(layout.confDir, hostRoot, profile);
  return {
    hostRoot,
    binDir,
    hostBinDir: hostName(binDir, hostRoot),
    confDir,
    programDir,
    reasons: layout.reasons,
    warnings: [
      ...layout.warnings,
      ...findMismatch(detected, {
        binDir: hostName(binDir, hostRoot),
        confDir: hostName(confDir, hostRoot),
      }),
    ],
    ...(profile !== undefined && { profile }),
  };
}

/** The path as the host names it, of one as this process sees it. */
export function hostName(path: string, hostRoot: string): string {
  const mount = [hostRoot, HOST_MOUNT].find((dir) =>
    dir !== "/" && path.startsWith(`${dir}/`)
  );
  return mount === undefined ? path : path.slice(mount.length);
}

/** Where this process sees the directory: the profile's pod may have it mounted apart from the host's root. */
function seenConfDir(
  confDir: string,
  hostRoot: string,
  profile: Profile | undefined,
): string {
  const mounted = profile?.cniConfDir;
  return mounted !== undefined && hostName(mounted, hostRoot) === confDir
    ? mounted
    : join(hostRoot, confDir);
}

/** A launcher is its own main module; a compiled program's modules lie inside it. */
function ownDir(): string {
  return dirname(
    Deno.build.standalone ? Deno.execPath() : fileURLToPath(Deno.mainModule),
  );
}

async function readProfile(path: string): Promise<Profile | undefined> {
  try {
    return parseProfile(await Deno.readTextFile(path), {});
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
}

/** Undefined when this program may not look. */
async function detect(hostRoot: string): Promise<NodeLayout | undefined> {
  try {
    return await detectLayout(hostRoot);
  } catch (error) {
    if (error instanceof Deno.errors.NotCapable) return undefined;
    throw error;
  }
}

async function chooseLayout(
  options: DirOptions,
  detected: NodeLayout | undefined,
  own: Profile | undefined,
): Promise<NodeLayout> {
  const { distribution, profileFile } = options;
  if (distribution !== undefined) return defaultLayout(distribution);
  if (profileFile !== undefined) {
    const profile = parseProfile(await Deno.readTextFile(profileFile), {});
    return layoutOf(profile, profileFile);
  }
  if (detected !== undefined) return detected;
  return own === undefined
    ? defaultLayout("kubeadm")
    : layoutOf(own, `${PROFILE_NAME} beside multusctl`);
}

function layoutOf(profile: Profile, name: string): NodeLayout {
  const { cniBinDirs, cniConfDir, hostRoot = "/" } = profile;
  return {
    distribution: "kubeadm",
    binDirs: cniBinDirs,
    confDir: hostName(cniConfDir, hostRoot),
    reasons: [`The directories are those of ${name}`],
    warnings: [],
  };
}

/** What is asked for against what the runtime says; a node without configuration says nothing. */
function findMismatch(
  detected: NodeLayout | undefined,
  dirs: { readonly binDir: string; readonly confDir: string },
): string[] {
  if (detected === undefined) return [];
  const { binDirs, confDir, reasons } = detected;
  const warnings: string[] = [];
  if (!binDirs.includes(dirs.binDir)) {
    warnings.push(
      `The runtime does not look for plugins in ${dirs.binDir}, but in ${
        binDirs.join(", ")
      }: ${reasons.join("; ")}`,
    );
  }
  if (confDir !== dirs.confDir) {
    warnings.push(
      `The runtime does not look for configurations in ${dirs.confDir}, but in ${confDir}: ${
        reasons.join("; ")
      }`,
    );
  }
  return warnings;
}
