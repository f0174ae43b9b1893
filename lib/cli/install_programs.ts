/**
 * The programs that `multusctl install` puts into a node's CNI directory: the
 * shim under its three names, for launchers the deno that they start, and
 * reference plugins that the node lacks. How a file is put in place is in
 * `installation.ts`.
 *
 * Needs read of the sources, and what an installation needs.
 *
 * @module
 */
import { join } from "node:path";
import type { Grant, GrantKind } from "../grants.ts";
import type { Baked } from "./baked.ts";
import { findHostFile } from "./host_files.ts";
import { type Content, lookAt } from "./install_file.ts";
import { DENO_NAME, type Installation } from "./installation.ts";
import { readLauncher, renderLauncher } from "./launcher.ts";

/** Where the programs are, and where they go. */
export interface ProgramSources {
  /** The shim to install. */
  readonly shim: string;
  /** The deno program to bring along for a launcher. */
  readonly deno: string;
  /** The CNI directory as the host names it. */
  readonly hostBinDir: string;
  /** The CNI directory as this process sees it. */
  readonly binDir: string;
  /** The host's root as this process sees it. */
  readonly hostRoot: string;
  /** Reference plugins that are wanted. */
  readonly plugins: readonly string[];
  /** Where those are. */
  readonly pluginDir: string;
}

/** The names of the shim: its own, the one of older configurations, and the plugin that hands on a result. */
export const SHIM_NAMES = ["multus-shim", "multus", "passthru"] as const;

/** Of a launcher, the two lines that start it; they have some kB. */
const HEAD_BYTES = 64 * 1024;

/**
 * Installs them, and says for each what was done.
 *
 * @throws {Error} Deno's own errors, when a source is missing or the directory cannot be written.
 */
export async function installPrograms(
  installation: Installation,
  sources: ProgramSources,
  say: (line: string) => void,
): Promise<void> {
  const shim = await readShim(sources);
  if (shim.needsDeno) {
    // Before the shim, which is nothing without it.
    const outcome = await installation.put(DENO_NAME, { path: sources.deno });
    say(`${DENO_NAME}: ${outcome}`);
  }
  for (const name of SHIM_NAMES) {
    say(`${name}: ${await installation.put(name, shim.content)}`);
  }
  for (const name of sources.plugins) {
    if (SHIM_NAMES.some((own) => own === name)) continue;
    say(`${name}: ${await installPlugin(installation, sources, name)}`);
  }
}

interface Shim {
  readonly content: Content;
  readonly needsDeno: boolean;
}

/** A launcher starts the deno of this node's CNI directory, wherever the build thought that it would be. */
async function readShim(sources: ProgramSources): Promise<Shim> {
  const path = sources.shim;
  const baked = readLauncher(await readHead(path));
  if (baked === undefined) return { content: { path }, needsDeno: false };
  const deno = join(sources.hostBinDir, DENO_NAME);
  const text = await Deno.readTextFile(path);
  const bytes = new TextEncoder().encode(
    baked.deno === deno ? text : withDeno(text, baked, deno),
  );
  return { content: { bytes }, needsDeno: true };
}

async function readHead(path: string): Promise<Uint8Array> {
  using file = await Deno.open(path, { read: true });
  const head = new Uint8Array(HEAD_BYTES);
  let length = 0;
  while (length < head.length) {
    const count = await file.read(head.subarray(length));
    if (count === null) break;
    length += count;
  }
  return head.subarray(0, length);
}

/** The same launcher for another deno; its grants stay. */
function withDeno(text: string, baked: Baked, deno: string): string {
  const [, , ...source] = text.split("\n");
  return renderLauncher({
    deno,
    grants: grantsIn(baked),
    v8Flags: baked.v8Flags,
    allocator: baked.allocator,
    // Without the semicolon that rendering puts before it.
    source: source.join("\n").replace(/^;/, ""),
  });
}

function grantsIn(baked: Baked): Grant[] {
  return [...baked.allowed].flatMap(([kind, values = []]) =>
    values.map((value) => ({ kind: kind as GrantKind, value, why: "" }))
  );
}

async function installPlugin(
  installation: Installation,
  sources: ProgramSources,
  name: string,
): Promise<string> {
  const isOurs = installation.names.includes(name);
  if (!isOurs && await isRunnable(join(sources.hostBinDir, name), sources)) {
    return "left as it is: the node has its own";
  }
  return await installation.put(name, {
    path: join(sources.pluginDir, name),
  });
}

/** Whether a plugin can be executed by the host; a link that leads where nothing may be looked at is taken to be good. */
async function isRunnable(
  hostPath: string,
  { hostRoot, binDir, hostBinDir }: ProgramSources,
): Promise<boolean> {
  const path = join(binDir, hostPath.slice(hostBinDir.length));
  const entry = await lookAt(path);
  if (entry === undefined) return false;
  if (!entry.isSymlink) return isExecutable(entry);
  // A directory that is mounted without the host's root: links lead out of it.
  if (join(hostRoot, hostPath) !== path) return true;
  try {
    const found = await findHostFile(hostRoot, hostPath);
    return found !== undefined && isExecutable(found.info);
  } catch (error) {
    if (error instanceof Deno.errors.NotCapable) return true;
    throw error;
  }
}

function isExecutable({ isFile, mode }: Deno.FileInfo): boolean {
  return isFile && ((mode ?? 0) & 0o111) !== 0;
}
