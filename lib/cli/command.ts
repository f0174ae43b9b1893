/**
 * What a command of `multusctl` is: a module of its own that exports one
 * {@link CtlCommand}. `multusctl.ts` lists them all and knows the library that
 * reads the command line; a command gets its surroundings as a value.
 */

/** What multusctl needs of its process. */
export interface CliWorld {
  /** Reads one variable of the environment. */
  readonly env: (name: string) => string | undefined;
  /** Where results go. */
  readonly stdout: (text: string) => void;
  /** Where results go that are no text. */
  readonly stdoutBytes: (bytes: Uint8Array) => void;
  /** Where errors go, and the help of what was used wrongly. */
  readonly stderr: (text: string) => void;
  /** Whether stdout is a terminal: colours only then. */
  readonly isTerminal: boolean;
  /** Whether stderr is a terminal: progress is shown only then. */
  readonly isErrorTerminal?: boolean;
  /** Where multusctl itself lies; found out when not given. */
  readonly programDir?: string;
  /** All of standard input, for `-` in the place of a file. */
  readonly readStdin?: () => Promise<string>;
}

/** The exit codes of every command. */
export const ExitCode = {
  /** Done, and nothing to object to. */
  ok: 0,
  /** A finding, a difference, or it could not be done. */
  finding: 1,
  /** Not a command line that is understood. */
  usage: 2,
} as const;

/** An argument or option, as the command line library writes it: `<file>` is needed, `[file]` is not, `<files...>` takes all. */
export interface Parameter {
  /** For an argument `<file>` or the like, for an option `--format <format>` or the like. */
  readonly syntax: string;
  /** What it is, for help. */
  readonly summary: string;
  /** The only values that it takes; without it any. */
  readonly choices?: readonly string[];
  /** What an option is when it is not given. */
  readonly default?: string;
}

/** One call of a command. */
export interface Call {
  /** The arguments, one for each that the command has. */
  readonly args: readonly (string | readonly string[] | undefined)[];
  /** The options by their names in camel case; those not given are not there. */
  readonly options: Readonly<Record<string, unknown>>;
  /** The surroundings. */
  readonly world: CliWorld;
}

/** One command of multusctl: what it takes, and what it does. */
export interface CtlCommand {
  /** What it takes, in order. */
  readonly arguments: readonly Parameter[];
  /** What it also takes, in any order. */
  readonly options: readonly Parameter[];
  /** What help says below the options: what is not obvious, and examples. */
  readonly help: string;
  /** Does it; returns one of {@link ExitCode}. */
  readonly run: (call: Call) => Promise<number>;
}

/** The command line is understood, but asks for something that makes no sense: exit code 2. */
export class UsageError extends Error {
  /** The name of the class. */
  override readonly name = "UsageError";
}
