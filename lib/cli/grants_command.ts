/**
 * `multusctl grants`: prints what each program may do on a node of one
 * profile; given an executable of ours, reads back what is really baked into
 * it and says how it differs. It changes nothing and starts nothing.
 *
 * Needs: read of the directory of the executables.
 */
import { basename, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { type Executable, EXECUTABLES, type Profile } from "../grants.ts";
import type { Baked } from "./baked.ts";
import { executableNamed, readBaked } from "./executable.ts";
import {
  makeGrantsReport,
  type ReadFile,
  renderGrantsReport,
  REPORT_FORMATS,
} from "./grants_report.ts";
import { parseProfile, PROFILE_NAME } from "./profile.ts";
import {
  type Call,
  type CliWorld,
  type CtlCommand,
  ExitCode,
  UsageError,
} from "./command.ts";

interface GrantsOptions {
  readonly profile?: string;
  readonly executable?: Executable;
  readonly format: typeof REPORT_FORMATS[number];
}

const HELP =
  `The profile is the one given, or the one that the build left beside FILE, or
else beside multusctl. Who can change FILE can change that one, too: a check
that is to find this gives a profile that was kept elsewhere, on standard input.

Examples:
  multusctl grants                                    what each program may do
  multusctl grants --executable multus-daemon --format markdown
  multusctl grants /usr/libexec/multus/multus-daemon  is that what it was built with?
  multusctl grants --profile - FILE < profile.json    compare with a profile of your own`;

/** A profile takes one or two kB; standard input that goes on is no profile. */
const PROFILE_BYTES_MAX = 1024 * 1024;

/** Deno with all of a program inside takes 100 MB; what is much larger is not read into memory. */
const FILE_BYTES_MAX = 512 * 1024 * 1024;

async function readStdin(): Promise<string> {
  const decoder = new TextDecoder();
  let text = "";
  for await (const chunk of Deno.stdin.readable) {
    text += decoder.decode(chunk, { stream: true });
    if (text.length > PROFILE_BYTES_MAX) {
      throw new RangeError(
        `Profile on standard input is larger than it may be: ${PROFILE_BYTES_MAX} bytes`,
      );
    }
  }
  return text + decoder.decode();
}

/** A launcher is its own main module; a compiled program's modules lie inside it. */
function ownDir(): string {
  return dirname(
    Deno.build.standalone ? Deno.execPath() : fileURLToPath(Deno.mainModule),
  );
}

async function readTextIfThere(path: string): Promise<string | undefined> {
  try {
    return await Deno.readTextFile(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
}

/** The profile with the place it was found in. */
async function findProfile(
  world: CliWorld,
  { given, file }: { given: string | undefined; file: string | undefined },
): Promise<{ path: string; profile: Profile }> {
  const parse = (path: string, text: string): {
    path: string;
    profile: Profile;
  } => ({ path, profile: parseProfile(text, {}) });
  if (given === "-") return parse("-", await (world.readStdin ?? readStdin)());
  if (given !== undefined) return parse(given, await Deno.readTextFile(given));
  const dirs = file === undefined ? [] : [dirname(file)];
  for (const dir of [...dirs, world.programDir ?? ownDir()]) {
    const path = join(dir, PROFILE_NAME);
    const text = await readTextIfThere(path);
    if (text !== undefined) return parse(path, text);
  }
  throw new UsageError(
    `No ${PROFILE_NAME} beside ${
      file ?? "multusctl"
    }: say which profile is meant with --profile`,
  );
}

function readNamed(path: string, bytes: Uint8Array): Baked {
  try {
    return readBaked(bytes);
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    throw new SyntaxError(`${path}: ${error.message}`, { cause: error });
  }
}

async function readExecutable(
  path: string,
  named: Executable | undefined,
): Promise<ReadFile> {
  const executable = named ?? executableNamed(basename(path));
  if (executable === undefined) {
    throw new UsageError(
      `Not the name of a program of ours: say which it is with --executable: ${path}`,
    );
  }
  const { isFile, size } = await Deno.stat(path);
  if (!isFile || size > FILE_BYTES_MAX) {
    throw new SyntaxError(`Not an executable of this project: ${path}`);
  }
  return {
    path,
    executable,
    baked: readNamed(path, await Deno.readFile(path)),
  };
}

async function runGrants({ args, options, world }: Call): Promise<number> {
  const [path] = args as [string?];
  const { profile, executable, format } = options as unknown as GrantsOptions;
  const file = path === undefined
    ? undefined
    : await readExecutable(path, executable);
  const place = await findProfile(world, { given: profile, file: path });
  const chosen = file?.executable ?? executable;
  const report = makeGrantsReport(place, {
    executables: chosen === undefined ? EXECUTABLES : [chosen],
    ...file === undefined ? {} : { file },
  });
  world.stdout(renderGrantsReport(report, format));
  return report.file?.same === false ? ExitCode.finding : ExitCode.ok;
}

/** The command `grants`. */
export const GRANTS: CtlCommand = {
  arguments: [{
    syntax: "[file]",
    summary: "an executable or launcher of this project",
  }],
  options: [
    { syntax: "--profile <file>", summary: "a profile; - is standard input" },
    {
      syntax: "--executable <name>",
      summary: "only this one; or what FILE is",
      choices: EXECUTABLES,
    },
    {
      syntax: "--format <format>",
      summary: "how to print it",
      choices: REPORT_FORMATS,
      default: "table",
    },
  ],
  help: HELP,
  run: runGrants,
};
