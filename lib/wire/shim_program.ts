/**
 * The whole of what multus-shim can do. Most calls go the usual way and end in `usual_call.ts`; what is out of
 * the ordinary comes here with as much as was begun: bad input, a daemon that is not there yet or refuses, a DEL
 * that nobody takes, a result in another version, a trace, a person at a terminal. It decides nothing about
 * networks. When no daemon is there, an ADD waits for one, and a DEL is left in a directory where the daemon
 * will find it.
 *
 * CNI specification, section 2 (execution protocol) and 5 (result types).
 *
 * @module
 */

import { type CmdArgs, readCmdArgs } from "../cni/args.ts";
import {
  CniError,
  ErrorCode,
  readErrorDocument,
  toErrorDocument,
} from "../cni/error.ts";
import { formatResult, readResult } from "../cni/result.ts";
import {
  assertCommandVersion,
  type Command,
  DEFAULT_VERSION,
  formatVersionDocument,
  isSupportedVersion,
  LATEST_VERSION,
} from "../cni/version.ts";
import { createTracer, type Span } from "./tracing.ts";
import { type Answer, decodeResult } from "./answer.ts";
import { ConnectionCutError, DaemonAbsentError } from "./ask.ts";
import type { Exchange, Question } from "./exchange.ts";
import { PATIENCE } from "./patience.ts";
import { PROGRAM_VERSION } from "./program_version.ts";
import {
  CNI_ROUTE,
  type CniRequest,
  encodeConfig,
  encodeRequest,
} from "./request.ts";
import { readShimConf, type ShimConf } from "./shim_conf.ts";
import { leaveRequest, withdrawRequest } from "./spool_file.ts";
import type { Asked, Begun, Input } from "./usual_call.ts";
import { askPatiently } from "./wait.ts";
import { isPassthruName, print, readCallEnv, type World } from "./world.ts";

/** Largest configuration: some hundred delegates in place; etcd takes no larger object either. */
const STDIN_BYTES_MAX = 1024 * 1024;

/** Room for most. */
const STDIN_BYTES_MIN = 16 * 1024;

const HELP =
  `multus-shim ${PROGRAM_VERSION}: the CNI plugin that hands calls to the multus daemon of this node

It is executed by the container runtime with CNI_COMMAND and the other CNI variables in its environment and the
network configuration on stdin. By hand:

  echo '{"cniVersion":"1.0.0"}' | CNI_COMMAND=VERSION multus-shim

  --version      print the version
  --help         print this
  --as-passthru  be the passthru plugin
`;

/** Goes on with a call and returns the exit status: 0, or 1 with a CNI error on stdout. */
export async function goOn(world: World, begun: Begun): Promise<number> {
  const text = optionText(world.args[0]);
  if (text !== undefined) {
    print(world.stdout, text);
    return 0;
  }
  let cniVersion = LATEST_VERSION;
  let span: Span | undefined;
  try {
    span = goOnWithTrace(world);
    if (world.env("CNI_COMMAND") === undefined) hintAtTerminal(world);
    const traced = span === undefined ? world : within(span, world);
    const call = readCall(
      traced,
      begun.input,
      (version) => cniVersion = version,
    );
    print(world.stdout, await answer(call, begun.asked));
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

/** One call of the runtime, read. */
interface Call {
  readonly args: CmdArgs;
  readonly conf: ShimConf;
  readonly request: CniRequest;
  readonly passthru: boolean;
}

/** Tells the version as soon as it is known: an error that comes later is printed in it. */
function readCall(
  world: World,
  input: Input | undefined,
  tellVersion: (version: string) => void,
): Call {
  // Without a command nobody feeds stdin: it is not read, or a person at a terminal would wait for nothing.
  const bytes = world.env("CNI_COMMAND") === undefined
    ? new Uint8Array()
    : readAll(world.stdin, input);
  const args = readCmdArgs(world.env, decodeText(bytes));
  const conf = readConf(args);
  if (isSupportedVersion(conf.cniVersion)) tellVersion(conf.cniVersion);
  if (args.command !== "VERSION") {
    assertCommandVersion(args.command, conf.cniVersion);
  }
  const passthru = conf.type === "passthru" ||
    world.args[0] === "--as-passthru" ||
    isPassthruName(world.programName);
  return {
    args,
    conf,
    passthru,
    request: {
      // VERSION goes to nobody.
      env: args.command === "VERSION" ? {} : readCallEnv(world.env),
      config: encodeConfig(bytes),
    },
  };
}

/** The rest of what was begun to be read, and that. */
function readAll(
  stdin: World["stdin"],
  { bytes, isWhole }: Input = { bytes: new Uint8Array(), isWhole: false },
): Uint8Array {
  if (isWhole) return bytes;
  let buffer = enlarge(bytes);
  for (let length = bytes.length;;) {
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

function enlarge(buffer: Uint8Array): Uint8Array<ArrayBuffer> {
  const larger = new Uint8Array(Math.max(STDIN_BYTES_MIN, buffer.length * 4));
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
function answer(
  call: Call,
  asked: Asked | undefined,
): string | Promise<string> {
  const { command } = call.args;
  if (command === "VERSION") {
    const { cniVersion } = call.conf;
    const isKnown = isSupportedVersion(cniVersion);
    return `${formatVersionDocument(isKnown ? cniVersion : LATEST_VERSION)}\n`;
  }
  if (call.passthru) {
    return command === "ADD" ? formatPrevResult(call.conf) : "";
  }
  return askDaemon(call, command, asked);
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
  asked: Asked | undefined,
): Promise<string> {
  const { totalMs, waitMs } = PATIENCE[command];
  const limits = {
    waitMs: Math.min(waitMs, call.conf.addWaitMs),
    signal: endOf((asked?.beganAt ?? performance.now()) + totalMs),
    begun: asked?.exchange,
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

/** The signal for a time that may be over already. */
function endOf(time: number): AbortSignal {
  const restMs = time - performance.now();
  return restMs > 0
    ? AbortSignal.timeout(restMs)
    : AbortSignal.abort(new DOMException("Time is up", "TimeoutError"));
}

interface Limits {
  readonly waitMs: number;
  readonly signal: AbortSignal;
  /** The question, where it is on its way already. */
  readonly begun: Exchange | undefined;
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
  const second = await tryDaemon(call, { ...limits, begun: undefined });
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
