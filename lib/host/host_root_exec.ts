/**
 * Runs plugins in the host's root although this process is in a pod's: by way of `delegate-exec`, the
 * one program it may run, which takes the plugin's path inside the host's root and nothing else. It
 * leaves alone what `delegate-exec` decides by itself: which directories are allowed, and which
 * variables a plugin gets.
 *
 * @module
 */

import {
  type Exec,
  findPlugin,
  isExecutableFile,
  PluginBusyError,
  type PluginCall,
  type PluginOutcome,
  runPlugin,
} from "../cni/exec.ts";
import { resolveInRoot } from "./host_path.ts";

/** Where the host is, and by what it is reached. */
export interface HostRootExecOptions {
  /** The host's root in this process' root, as in `/hostroot`. */
  readonly hostRoot: string;
  /** The installed script, which has the same root written into it. */
  readonly delegateExec: string;
  /** How much a plugin may print, in bytes. */
  readonly stdoutBytesMax?: number;
  /** How much of the end of a plugin's standard error is kept, in bytes. */
  readonly stderrBytesMax?: number;
}

/** What `chroot` and `env` exit with when they cannot run a program. */
const NOT_EXECUTABLE_STATUS = 126;

/**
 * Finds plugins in the host's directories and runs them there. Paths are the host's own.
 *
 * Needs `--allow-read` for the plugin directories under the host's root, and `--allow-run` for
 * `delegateExec` only. Where more may be read (what leads to the directories, where links in them
 * lead), more is looked at; a link whose target may not be looked at counts as a plugin.
 */
export function createHostRootExec(options: HostRootExecOptions): Exec {
  const { hostRoot, delegateExec } = options;
  return {
    findInPath: (type, dirs) =>
      findPlugin(type, {
        dirs,
        isExecutable: (path) => isExecutableInRoot(hostRoot, path),
      }),
    run: (call) => runInRoot(call, { ...options, endDelegate: delegateExec }),
  };
}

async function isExecutableInRoot(
  hostRoot: string,
  path: string,
): Promise<boolean> {
  try {
    return isExecutableFile(
      await Deno.lstat(await resolveInRoot(hostRoot, path)),
    );
  } catch (error) {
    if (!(error instanceof Deno.errors.NotCapable)) return false;
    return await isEntry(hostRoot + path);
  }
}

/** With no more than the directory granted: whether it holds an executable file of that name, or a link, which leads the chroot's own way. */
async function isEntry(path: string): Promise<boolean> {
  try {
    const info = await Deno.lstat(path);
    return info.isSymlink || isExecutableFile(info);
  } catch (error) {
    if (error instanceof Deno.errors.NotCapable) throw error;
    return false;
  }
}

async function runInRoot(
  call: PluginCall,
  options: HostRootExecOptions & { readonly endDelegate: string },
): Promise<PluginOutcome> {
  const { path } = call;
  const viaScript = { ...call, path: options.delegateExec, args: [path] };
  const outcome = await runPlugin(viaScript, { ...options, plugin: path });
  if (isBusy(outcome)) throw new PluginBusyError(path, { cause: outcome });
  return outcome;
}

/** The plugin's file is open for writing: then it is `chroot` or `env` that says so, in the C locale. */
function isBusy({ code, stdout, stderr }: PluginOutcome): boolean {
  return code === NOT_EXECUTABLE_STATUS && stdout === "" &&
    stderr.includes("Text file busy");
}
