/**
 * multus-daemon as a program: flags, signals, exit code. Putting the daemon
 * together is in `daemon.ts`.
 */
import { CniError } from "../cni/error.ts";
import { CredentialsError } from "../kube/error.ts";
import { PROGRAM_VERSION } from "../wire/program_version.ts";
import { loadDaemonConf } from "./configuration.ts";
import {
  type DaemonFlags,
  parseDaemonFlags,
  UsageError,
} from "./daemon_flags.ts";
import { startDaemon } from "./daemon.ts";
import { SocketInUseError } from "./socket.ts";

/** What the daemon needs of its process. */
export interface DaemonWorld {
  /** Reads one variable of the environment. */
  readonly env: (name: string) => string | undefined;
  /** Writes to standard output. */
  readonly stdout: (text: string) => void;
  /** Writes to standard error. */
  readonly stderr: (text: string) => void;
}

/** Runs until SIGTERM or SIGINT; 0 then, 1 when the daemon cannot start, 2 when the command line is wrong. */
export async function runDaemon(
  args: readonly string[],
  world: DaemonWorld,
): Promise<number> {
  try {
    const outcome = parseDaemonFlags(args, { version: PROGRAM_VERSION });
    if (outcome.kind === "run") return await serve(outcome.flags, world);
    world.stdout(`${outcome.text}\n`);
    return 0;
  } catch (error) {
    if (error instanceof UsageError) {
      world.stderr(
        `multus-daemon: ${error.message}\nTry multus-daemon --help\n`,
      );
      return 2;
    }
    if (!isExpected(error)) throw error;
    world.stderr(`multus-daemon: ${error.message}\n`);
    return 1;
  }
}

/** What the operator can put right: told in one line, without a stack. */
function isExpected(error: unknown): error is Error {
  return error instanceof CniError || error instanceof SocketInUseError ||
    error instanceof CredentialsError ||
    error instanceof Deno.errors.NotCapable ||
    error instanceof Deno.errors.PermissionDenied;
}

async function serve(flags: DaemonFlags, world: DaemonWorld): Promise<number> {
  const { promise: stopped, resolve: stop } = Promise.withResolvers<void>();
  const onSignal = (): void => stop();
  // Registered before anything starts: a signal during start-up ends it properly, too.
  Deno.addSignalListener("SIGTERM", onSignal);
  Deno.addSignalListener("SIGINT", onSignal);
  try {
    const conf = await loadDaemonConf(flags.configPath, flags);
    await using daemon = await startDaemon(conf, world);
    const reload = (): void => void daemon.reload(flags);
    Deno.addSignalListener("SIGHUP", reload);
    await stopped;
    Deno.removeSignalListener("SIGHUP", reload);
    return 0;
  } finally {
    Deno.removeSignalListener("SIGTERM", onSignal);
    Deno.removeSignalListener("SIGINT", onSignal);
  }
}
