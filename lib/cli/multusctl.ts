/**
 * `multusctl`: what an operator runs on a node. This module knows the names
 * of the commands and what their exit codes mean; each command is a module of
 * its own, loaded only when it is asked for.
 */
import { Argument, Command, CommanderError, Option } from "commander";
import { PROGRAM_VERSION } from "../wire/program_version.ts";
import {
  type CliWorld,
  type CtlCommand,
  ExitCode,
  type Parameter,
  UsageError,
} from "./command.ts";

interface CommandEntry {
  readonly name: string;
  /** One line for the list of commands. */
  readonly summary: string;
  readonly load: () => Promise<CtlCommand>;
}

/** One run: its surroundings, and what the process will exit with. */
interface Session {
  readonly world: CliWorld;
  exitCode: number;
}

/** All commands, in the order in which help lists them. */
const COMMANDS: readonly CommandEntry[] = [
  {
    name: "status",
    summary: "show what the daemon of this node says of itself",
    load: async () => (await import("./status_command.ts")).STATUS,
  },
  {
    name: "attachments",
    summary: "list what is attached to the pods of this node",
    load: async () => (await import("./attachments_command.ts")).ATTACHMENTS,
  },
  {
    name: "explain",
    summary: "show what a pod would get, and change nothing",
    load: async () => (await import("./explain_command.ts")).EXPLAIN,
  },
  {
    name: "validate",
    summary: "check manifests and configurations, with line and column",
    load: async () => (await import("./validate_command.ts")).VALIDATE,
  },
  {
    name: "doctor",
    summary: "look for what is wrong on this node, and say what to do",
    load: async () => (await import("./doctor_command.ts")).DOCTOR,
  },
  {
    name: "delete-pending",
    summary: "do the DELs now that could not be done",
    load: async () =>
      (await import("./delete_pending_command.ts")).DELETE_PENDING,
  },
  {
    name: "bundle",
    summary: "write everything that a bug report needs, without secrets",
    load: async () => (await import("./bundle_command.ts")).BUNDLE,
  },
  {
    name: "grants",
    summary: "show what each program may do, and compare a file with it",
    load: async () => (await import("./grants_command.ts")).GRANTS,
  },
  {
    name: "install",
    summary: "put the shim into the node's CNI directory",
    load: async () => (await import("./install.ts")).INSTALL,
  },
  {
    name: "uninstall",
    summary: "take Multus off the node, as if it had not been there",
    load: async () => (await import("./uninstall.ts")).UNINSTALL,
  },
];

const EXIT_CODES = `
Exit codes:
  0  done, and nothing to object to
  1  a finding, a difference, or it could not be done
  2  wrong usage`;

/** Where commander's own texts go; errors of usage come with the help of what was used wrongly. */
function connect(command: Command, { world }: Session): Command {
  return command
    .exitOverride()
    .showHelpAfterError()
    .configureOutput({
      writeOut: world.stdout,
      writeErr: world.stderr,
      getOutHasColors: () => world.isTerminal,
      getErrHasColors: () => false,
    });
}

function toOption({ syntax, summary, ...rest }: Parameter): Option {
  const option = new Option(syntax, summary);
  if (rest.choices !== undefined) option.choices(rest.choices);
  return rest.default === undefined ? option : option.default(rest.default);
}

function toArgument({ syntax, summary, choices }: Parameter): Argument {
  const argument = new Argument(syntax, summary);
  return choices === undefined ? argument : argument.choices(choices);
}

/** Gives `command` what `spec` says that it takes and does. */
function configure(
  command: Command,
  { spec, session }: { spec: CtlCommand; session: Session },
): void {
  for (const one of spec.arguments) command.addArgument(toArgument(one));
  for (const one of spec.options) command.addOption(toOption(one));
  command.addHelpText("after", `\n${spec.help}\n${EXIT_CODES}`);
  command.action(async () => {
    session.exitCode = await spec.run({
      args: command.processedArgs,
      options: command.opts(),
      world: session.world,
    });
  });
}

async function buildProgram(
  args: readonly string[],
  session: Session,
): Promise<Command> {
  const program = connect(new Command("multusctl"), session)
    .description("Shows what Multus does on this node, and puts it right.")
    .version(PROGRAM_VERSION, "-V, --version", "show the version")
    .addHelpText("after", EXIT_CODES);
  for (const { name, summary, load } of COMMANDS) {
    const command = connect(program.command(name), session).summary(summary)
      .description(`${summary.charAt(0).toUpperCase()}${summary.slice(1)}.`);
    // Wherever the name stands: `help NAME` shows the options of a command, too.
    if (!args.includes(name)) continue;
    configure(command, { spec: await load(), session });
  }
  return program;
}

function describeFailure(error: unknown): string {
  if (error instanceof Deno.errors.NotCapable) {
    const asked = error.message.split(", run again")[0] ?? "";
    return `${asked}, which multusctl is not granted: multusctl grants --executable multusctl shows what is`;
  }
  return error instanceof Error ? error.message : String(error);
}

/** Turns what a command threw into a line for a person and an exit code. */
function settle(error: unknown, world: CliWorld): number {
  if (error instanceof CommanderError) {
    return error.exitCode === 0 ? ExitCode.ok : ExitCode.usage;
  }
  world.stderr(`multusctl: ${describeFailure(error)}\n`);
  return error instanceof UsageError ? ExitCode.usage : ExitCode.finding;
}

/**
 * Runs one command line; the exit code is 0 when all is well, 1 for a
 * finding or a failure, 2 for wrong usage. Nothing is thrown.
 */
export async function runMultusctl(
  args: readonly string[],
  world: CliWorld,
): Promise<number> {
  const session: Session = { world, exitCode: ExitCode.ok };
  try {
    const program = await buildProgram(args, session);
    await program.parseAsync(args, { from: "user" });
    return session.exitCode;
  } catch (error) {
    return settle(error, world);
  }
}
