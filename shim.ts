/**
 * multus-shim: what the container runtime executes. It reads the CNI environment and stdin, asks the daemon on
 * this node once, and prints the answer in the configuration's version. It decides nothing about networks. When
 * no daemon is there, an ADD waits for one, and a DEL is left in a directory where the daemon will find it.
 *
 * Started as `passthru` (by that name, with `--as-passthru`, or with a configuration of that type) it is the
 * plugin that hands on `prevResult` and does nothing else.
 *
 * CNI specification, section 2 (execution protocol) and 5 (result types).
 *
 * @module
 */

import { type CmdArgs, readCmdArgs } from "./lib/cni/args.ts";
import {
  CniError,
  ErrorCode,
  readErrorDocument,
  toErrorDocument,
} from "./lib/cni/error.ts";
import { formatResult, readResult } from "./lib/cni/result.ts";
import {
  assertCommandVersion,
  type Command,
  DEFAULT_VERSION,
  formatVersionDocument,
  isSupportedVersion,
  LATEST_VERSION,
} from "./lib/cni/version.ts";
import { createTracer, type Span } from "./lib/wire/tracing.ts";
import { type Answer, decodeResult } from "./lib/wire/answer.ts";
import {
  ConnectionCutError,
  DaemonAbsentError,
  type LateSignal,
  lateSignal,
  type Question,
} from "./lib/wire/ask.ts";
import { PROGRAM_VERSION } from "./lib/wire/program_version.ts";
import {
  CNI_ROUTE,
  type CniRequest,
  encodeConfig,
  encodeRequest,
  TRACE_NAMES,
} from "./lib/wire/request.ts";
import { readShimConf, type ShimConf } from "./lib/wire/shim_conf.ts";
import { leaveRequest, withdrawRequest } from "./lib/wire/spool_file.ts";
import { askPatiently } from "./lib/wire/wait.ts";

/** What the shim needs of its process. */
export interface World {
  /** The command line; empty when a runtime executes it. */
  readonly args: readonly string[];
  /** The name that the program was started by, without its directory. */
  readonly programName: string;
  /** Reads one variable of the environment. */
  readonly env: (name: string) => string | undefined;
  /** Where the configuration comes from. */
  readonly stdin: {
    readSync(buffer: Uint8Array): number | null;
    isTerminal(): boolean;
  };
  /** Where the result goes, or the error. */
  readonly stdout: { writeSync(bytes: Uint8Array): number };
  /** For a person at a terminal. */
  readonly stderr: { writeSync(bytes: Uint8Array): number };
}

/** What it is called as the plugin that does nothing; the endings are those of a program that is not built. */
const PASSTHRU_NAMES = ["passthru", "passthru.js", "passthru.ts"];

/** Largest configuration: some hundred delegates in place; etcd takes no larger object either. */
const STDIN_BYTES_MAX = 1024 * 1024;

/** The variables that are the daemon's to know; everything else in the environment stays here. */
const ENV_NAMES = [
  "CNI_COMMAND",
  "CNI_CONTAINERID",
  "CNI_NETNS",
  "CNI_IFNAME",
  "CNI_ARGS",
  "CNI_PATH",
  ...TRACE_NAMES,
] as const;

interface Patience {
  /** How long a daemon that is not there may take to appear. */
  readonly waitMs: number;
  /** How long the call may take in all. */
  readonly totalMs: number;
}

/**
 * The kubelet gives a sandbox 4 minutes to start (ADD) and 2 to stop (DEL); the shim ends before, so that the
 * reason reaches the pod's events. STATUS is asked often and must take less than a second, start-up included.
 * CHECK and GC come again by themselves: they outlast a restart of the daemon, not more. How long ADD waits
 * stands in the configuration.
 */
const PATIENCE: Readonly<Record<Exclude<Command, "VERSION">, Patience>> = {
  ADD: { waitMs: Infinity, totalMs: 220_000 },
  DEL: { waitMs: 0, totalMs: 110_000 },
  CHECK: { waitMs: 2_000, totalMs: 110_000 },
  GC: { waitMs: 2_000, totalMs: 110_000 },
  STATUS: { waitMs: 0, totalMs: 800 },
};

const HELP =
  `multus-shim ${PROGRAM_VERSION}: the CNI plugin that hands calls to the multus daemon of this node

It is executed by the container runtime with CNI_COMMAND and the other CNI variables in its environment and the
network configuration on stdin. By hand:

  echo '{"cniVersion":"1.0.0"}' | CNI_COMMAND=VERSION multus-shim

  --version      print the version
  --help         print this
  --as-passthru  be the passthru plugin
`;

/** Runs one call and returns the exit status: 0, or 1 with a CNI error on stdout. */
export async function run(world: World): Promise<number> {
  const text = optionText(world.args[0]);
  if (text !== undefined) return print(world.stdout, text);
  let cniVersion = LATEST_VERSION;
  const span = goOnWithTrace(world);
  try {
    if (world.env("CNI_COMMAND") === undefined) hintAtTerminal(world);
    const traced = span === undefined ? world : within(span, world);
    const call = readCall(traced, (version) => cniVersion = version);
    print(world.stdout, await answer(call));
    span?.end();
    return 0;
  } catch (error) {
    span?.end(error);
    print(
      world.stdout,
      `${JSON.stringify(toErrorDocument(error, cniVersion))}\n`,
    );
    return 1;
  }
}

/** The shim's part of a trace that the runtime began. Asking whether to trace takes 2 ms, so without a trace nobody asks. */
function goOnWithTrace({ env }: World): Span | undefined {
  const traceparent = env("TRACEPARENT");
  if (traceparent === undefined) return undefined;
  const name = `multus-shim ${env("CNI_COMMAND") ?? ""}`;
  return createTracer()?.start(name, { traceparent });
}

/** The world in which the daemon goes on with the shim's span. */
function within({ traceparent }: Span, world: World): World {
  const env: World["env"] = (name) =>
    name === "TRACEPARENT" ? traceparent : world.env(name);
  return { ...world, env };
}

function optionText(option: string | undefined): string | undefined {
  if (option === "--version" || option === "-version") {
    return `multus-shim ${PROGRAM_VERSION}\n`;
  }
  if (option === "--help" || option === "-help" || option === "-h") return HELP;
  return undefined;
}

function hintAtTerminal(world: World): void {
  if (world.stdin.isTerminal()) {
    print(
      world.stderr,
      "This program is executed by a container runtime; see --help\n",
    );
  }
}

function print(to: { writeSync(bytes: Uint8Array): number }, text: string): 0 {
  const bytes = new TextEncoder().encode(text);
  for (let at = 0; at < bytes.length;) at += to.writeSync(bytes.subarray(at));
  return 0;
}

/** One call of the runtime, read. */
interface Call {
  readonly args: CmdArgs;
  readonly conf: ShimConf;
  readonly request: CniRequest;
  readonly passthru: boolean;
}

/** Tells the version as soon as it is known: an error that comes later is printed in it. */
function readCall(world: World, tellVersion: (version: string) => void): Call {
  // Without a command nobody feeds stdin: it is not read, or a person at a terminal would wait for nothing.
  const bytes = world.env("CNI_COMMAND") === undefined
    ? new Uint8Array()
    : readAll(world.stdin);
  const args = readCmdArgs(world.env, decodeText(bytes));
  const conf = readConf(args);
  if (isSupportedVersion(conf.cniVersion)) tellVersion(conf.cniVersion);
  if (args.command !== "VERSION") {
    assertCommandVersion(args.command, conf.cniVersion);
  }
  const passthru = conf.type === "passthru" ||
    world.args[0] === "--as-passthru" ||
    PASSTHRU_NAMES.includes(world.programName);
  return {
    args,
    conf,
    passthru,
    request: { env: readEnv(world.env), config: encodeConfig(bytes) },
  };
}

function readAll(stdin: World["stdin"]): Uint8Array {
  let buffer = new Uint8Array(16 * 1024);
  for (let length = 0;;) {
    const count = stdin.readSync(buffer.subarray(length));
    if (count === null) return buffer.subarray(0, length);
    length += count;
    if (length > STDIN_BYTES_MAX) {
      throw new CniError(
        ErrorCode.invalidNetworkConfig,
        `Network configuration is larger than ${STDIN_BYTES_MAX} bytes`,
      );
    }
    if (length === buffer.length) buffer = enlarge(buffer);
  }
}

function enlarge(buffer: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  const larger = new Uint8Array(buffer.length * 4);
  larger.set(buffer);
  return larger;
}

function decodeText(bytes: Uint8Array): string {
  const text = new TextDecoder().decode(bytes);
  // The strict decoder is the slower one: it is asked only when there may be something to find.
  return text.includes("\uFFFD") ? decodeStrictly(bytes) : text;
}

function decodeStrictly(bytes: Uint8Array): string {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch (cause) {
    throw new CniError(
      ErrorCode.decodingFailure,
      "Network configuration on stdin is not UTF-8",
      { cause },
    );
  }
}

function readEnv(env: World["env"]): Record<string, string> {
  const read: Record<string, string> = {};
  for (const name of ENV_NAMES) {
    const value = env(name);
    if (value !== undefined) read[name] = value;
  }
  return read;
}

/** VERSION is answered whatever stands on stdin: it is asked to find out what can be understood. */
function readConf(args: CmdArgs): ShimConf {
  try {
    const conf = readShimConf(args.stdin);
    return { ...conf, cniVersion: conf.cniVersion || DEFAULT_VERSION };
  } catch (cause) {
    if (args.command === "VERSION") {
      return readShimConf(`{"cniVersion":"${LATEST_VERSION}"}`);
    }
    const code = cause instanceof SyntaxError
      ? ErrorCode.decodingFailure
      : ErrorCode.invalidNetworkConfig;
    throw new CniError(code, messageOf(cause), { cause });
  }
}

/** What goes to stdout when all is well. */
function answer(call: Call): string | Promise<string> {
  const { command } = call.args;
  if (command === "VERSION") {
    const { cniVersion } = call.conf;
    const isKnown = isSupportedVersion(cniVersion);
    return `${formatVersionDocument(isKnown ? cniVersion : LATEST_VERSION)}\n`;
  }
  if (call.passthru) {
    return command === "ADD" ? formatPrevResult(call.conf) : "";
  }
  return askDaemon(call, command);
}

function formatPrevResult(conf: ShimConf): string {
  const { cniVersion, prevResult } = conf;
  const result = prevResult === undefined
    ? { cniVersion }
    : formatResult(readResult(prevResult, cniVersion), cniVersion);
  return `${JSON.stringify(result)}\n`;
}

async function askDaemon(
  call: Call,
  command: Exclude<Command, "VERSION">,
): Promise<string> {
  const { totalMs, waitMs } = PATIENCE[command];
  const limits = {
    waitMs: Math.min(waitMs, call.conf.addWaitMs),
    signal: lateSignal(() =>
      // setTimeout would load half of Deno's Node layer: 7 ms, half of what the whole process takes.
      AbortSignal.timeout(totalMs)
    ),
  };
  try {
    const taken = command === "DEL"
      ? await askOrLeave(call, limits)
      : await askPatiently(questionOf(call), limits);
    return taken === undefined ? "" : readAnswer(taken, call);
  } catch (error) {
    throw explain(error, call);
  }
}

interface Limits {
  readonly waitMs: number;
  readonly signal: LateSignal;
}

function questionOf(call: Call): Question {
  return {
    socketPath: call.conf.socketPath,
    route: CNI_ROUTE,
    body: encodeRequest(call.request),
  };
}

/**
 * A DEL that nobody takes is left in the spool directory. The second try is what makes it safe against a daemon
 * that starts in this moment: it may have read the directory just before the file was there, but then it listens.
 *
 * @returns undefined when the request was left
 */
async function askOrLeave(
  call: Call,
  limits: Limits,
): Promise<Answer | undefined> {
  const first = await tryDaemon(call, limits);
  if (!(first instanceof Error)) return first;
  const path = await leave(call, first);
  const second = await tryDaemon(call, limits);
  if (second instanceof Error) return undefined;
  // A file that stays behind only makes the daemon do again what is done.
  await withdrawRequest(path).catch(() => {});
  return second;
}

/** An error means that nobody took the request, or that nobody knows: a DEL may be done twice. */
async function tryDaemon(call: Call, limits: Limits): Promise<Answer | Error> {
  try {
    const answer = await askPatiently(questionOf(call), limits);
    return answer.status === 503 ? notReady(answer, call) : answer;
  } catch (error) {
    return explain(error, call);
  }
}

async function leave(call: Call, untaken: Error): Promise<string> {
  try {
    return await leaveRequest(call.conf.spoolDir, call.request);
  } catch (cause) {
    const failure = `The DEL cannot be kept in ${call.conf.spoolDir} (${
      messageOf(cause)
    })`;
    throw new CniError(
      ErrorCode.tryAgainLater,
      `${failure}, and nobody takes it: ${untaken.message}`,
      { cause },
    );
  }
}

function readAnswer(answer: Answer, call: Call): string {
  if (answer.status !== 200) throw readFailure(answer, call);
  if (call.args.command !== "ADD") return "";
  const { cniVersion } = call.conf;
  const added = decodeAdd(answer.body);
  // Our daemon answers in the configuration's version, others in one of their own.
  const result = added.cniVersion === cniVersion
    ? added
    : formatResult(readResult(added, LATEST_VERSION), cniVersion);
  return `${JSON.stringify(result)}\n`;
}

function decodeAdd(body: string): Record<string, unknown> {
  try {
    return decodeResult(body);
  } catch (cause) {
    throw new CniError(
      ErrorCode.decodingFailure,
      "The daemon's answer to ADD is not a result",
      { cause },
    );
  }
}

function readFailure(answer: Answer, call: Call): CniError {
  const document = readErrorDocument(answer.body);
  if (document !== undefined) {
    return new CniError(document.code, document.msg, {
      details: document.details ?? "",
    });
  }
  if (answer.status === 503) return notReady(answer, call);
  if (answer.status === 429) {
    return new CniError(
      ErrorCode.tryAgainLater,
      "The daemon has too much to do",
    );
  }
  const text = answer.body.trim();
  return new CniError(
    ErrorCode.internal,
    text === "" ? `The daemon answered with status ${answer.status}` : text,
  );
}

function notReady(answer: Answer, call: Call): CniError {
  const reason = answer.body.trim() || "it gives no reason";
  return new CniError(
    laterCode(call.args.command),
    `The daemon on ${call.conf.socketPath} is not ready: ${reason}`,
  );
}

/** STATUS has a code of its own for "not now". */
function laterCode(command: Command): number {
  return command === "STATUS"
    ? ErrorCode.pluginNotAvailable
    : ErrorCode.tryAgainLater;
}

/** Turns what went wrong on the way to the daemon into what the person reading the pod's events can act on. */
function explain(error: unknown, call: Call): CniError {
  const { socketPath } = call.conf;
  const code = laterCode(call.args.command);
  if (error instanceof CniError) return error;
  if (error instanceof DaemonAbsentError) {
    const question = "is the multus DaemonSet running on this node?";
    return new CniError(
      code,
      `The daemon does not answer on ${socketPath}: ${question}`,
      { cause: error },
    );
  }
  if (error instanceof ConnectionCutError) {
    return new CniError(
      code,
      `The daemon went away before it had answered on ${socketPath}: its log on this node says why`,
      { cause: error },
    );
  }
  if (error instanceof Error && error.name === "TimeoutError") {
    const message =
      `The daemon did not answer in time on ${socketPath}: its log on this node names what it waits for`;
    return new CniError(code, message, { cause: error });
  }
  if (error instanceof Deno.errors.NotCapable) {
    const message =
      `This shim was installed for another socket than ${socketPath}: set daemonSocketDir to its directory, or install it again`;
    return new CniError(ErrorCode.invalidNetworkConfig, message, {
      cause: error,
    });
  }
  const message = `Cannot talk to the daemon on ${socketPath}: ${
    messageOf(error)
  }`;
  return new CniError(ErrorCode.ioFailure, message, { cause: error });
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

// Not imported; in a script, as which the build bundles it, there is no such member, and no await out here.
if (import.meta.main !== false) {
  run({
    args: Deno.args,
    programName: Deno.mainModule.slice(Deno.mainModule.lastIndexOf("/") + 1),
    env: (name) => Deno.env.get(name),
    stdin: Deno.stdin,
    stdout: Deno.stdout,
    stderr: Deno.stderr,
  }).then((code) => Deno.exit(code));
}
