/**
 * A call of the runtime as nearly all of them go: an ADD, a DEL or a VERSION, environment and configuration in
 * order, a daemon that listens and says yes at once. Whatever is not plainly so is not decided here: it goes to
 * the whole program (`shim_program.ts`) with all that was begun, which neither reads stdin nor asks the daemon a
 * second time, and finds the words for what is wrong.
 *
 * A process that has just started pays for each line that it loads, and more for each kind of thing that it does
 * the first time: a regular expression, a class, a spread. So this looks only whether all is well, with what is
 * at hand, and it takes nothing that the whole program would refuse (`tests/shim_test.ts` compares the two).
 *
 * Needs what the shim is granted: its variables, and read, write and `net=unix:` of the daemon's socket.
 *
 * CNI specification, section 2 (execution protocol).
 *
 * @module
 */

import { formatVersionDocument, isSupportedVersion } from "../cni/version.ts";
import { decodeResult } from "./answer.ts";
import { beginExchange, type Exchange } from "./exchange.ts";
import { PATIENCE } from "./patience.ts";
import { DEFAULT_CNI_DIR, DEFAULT_SOCKET_DIR, SOCKET_NAME } from "./places.ts";
import { CNI_ROUTE, encodeConfig, encodeRequest } from "./request.ts";
import { isPassthruName, print, readCallEnv, type World } from "./world.ts";

/** What came on stdin. */
export interface Input {
  /** The bytes. */
  readonly bytes: Uint8Array;
  /** No more will come. */
  readonly isWhole: boolean;
}

/** A request that the daemon has, or may have. */
export interface Asked {
  /** What goes between it and us. */
  readonly exchange: Exchange;
  /** When it began, in milliseconds of `performance.now()`. */
  readonly beganAt: number;
}

/** How far a call came that turned out to be no usual one. */
export interface Begun {
  /** Undefined when nothing was read. */
  readonly input?: Input | undefined;
  /** Undefined when the daemon was not asked. */
  readonly asked?: Asked | undefined;
}

/** Room for a configuration as they are; what is larger is no usual one. */
const INPUT_BYTES = 16 * 1024;

/** IFNAMSIZ of the kernel, without the final zero. */
const IFNAME_LENGTH_MAX = 15;

/** Makes the call; undefined when it is done, and its result printed. */
export async function makeUsualCall(world: World): Promise<Begun | undefined> {
  const command = readCommand(world);
  if (command === undefined) return {};
  const input = readInput(world.stdin);
  const conf = input.isWhole ? readConf(input.bytes) : undefined;
  if (conf === undefined) return { input };
  if (command === "VERSION") {
    print(world.stdout, `${formatVersionDocument(conf.cniVersion)}\n`);
    return undefined;
  }
  const asked = await ask(world, conf.socketPath, input.bytes);
  if (asked === undefined) return { input };
  const body = await readAnswer(asked, PATIENCE[command].totalMs);
  const text = body === undefined || command === "DEL"
    ? body && ""
    : formatAdded(body, conf.cniVersion);
  if (text === undefined) return { input, asked };
  asked.exchange.conn.close();
  print(world.stdout, text);
  return undefined;
}

/** The command of a call that may be a usual one. */
function readCommand(world: World): "ADD" | "DEL" | "VERSION" | undefined {
  try {
    const command = world.env("CNI_COMMAND");
    const isPlain = world.args.length === 0 &&
      !isPassthruName(world.programName) &&
      world.env("TRACEPARENT") === undefined;
    const isUsual = command === "ADD" || command === "DEL" ||
      command === "VERSION";
    return isPlain && isUsual ? command : undefined;
  } catch {
    return undefined; // not text
  }
}

function readInput(stdin: World["stdin"]): Input {
  const buffer = new Uint8Array(INPUT_BYTES);
  let length = 0;
  let isWhole = false;
  try {
    while (!isWhole && length < buffer.length) {
      const count = stdin.readSync(buffer.subarray(length));
      isWhole = count === null;
      length += count ?? 0;
    }
  } catch {
    // The whole program reads on, meets it again, and says it.
  }
  return { bytes: buffer.subarray(0, length), isWhole };
}

interface Conf {
  readonly cniVersion: string;
  readonly socketPath: string;
}

function readConf(bytes: Uint8Array): Conf | undefined {
  const text = new TextDecoder().decode(bytes);
  // It stands for what is no UTF-8.
  if (text.includes("\uFFFD")) return undefined;
  try {
    const conf = JSON.parse(text);
    const dir = conf.daemonSocketDir ?? DEFAULT_SOCKET_DIR;
    const isPlain = isSupportedVersion(conf.cniVersion) &&
      isPlainDir(dir) && isPlainDir(conf.cniDir ?? DEFAULT_CNI_DIR) &&
      conf.type !== "passthru" && conf.shimWaitSeconds === undefined;
    return isPlain
      ? { cniVersion: conf.cniVersion, socketPath: `${dir}/${SOCKET_NAME}` }
      : undefined;
  } catch {
    return undefined;
  }
}

function isPlainEnv(env: Readonly<Record<string, string>>): boolean {
  const { CNI_CONTAINERID: id = "", CNI_IFNAME: name = "" } = env;
  return isPlainName(id) && isPlainName(name) &&
    name.length <= IFNAME_LENGTH_MAX && !!env.CNI_PATH &&
    (!!env.CNI_NETNS || env.CNI_COMMAND === "DEL");
}

/** Letters and digits of ASCII; "-", "." and "_" but at the start. */
function isPlainName(text: string): boolean {
  for (let at = 0; at < text.length; at++) {
    const code = text.charCodeAt(at);
    const letter = code | 0x20;
    const isPlain = (letter >= 0x61 && letter <= 0x7a) ||
      (code >= 0x30 && code <= 0x39) ||
      (at > 0 && (code === 0x2d || code === 0x2e || code === 0x5f));
    if (!isPlain) return false;
  }
  return text !== "";
}

function isPlainDir(value: unknown): boolean {
  return typeof value === "string" && value.startsWith("/") &&
    !value.endsWith("/") && !value.includes("\0");
}

/** Undefined when there is something wrong with the environment; it may not even be text. */
function formatBody(world: World, bytes: Uint8Array): string | undefined {
  try {
    const env = readCallEnv(world.env);
    return isPlainEnv(env)
      ? encodeRequest({ env, config: encodeConfig(bytes) })
      : undefined;
  } catch {
    return undefined;
  }
}

/** Undefined when nobody listens, when it is not granted, or when there is something wrong with the environment. */
async function ask(
  world: World,
  socketPath: string,
  bytes: Uint8Array,
): Promise<Asked | undefined> {
  // The daemon wakes up while the question is being put together.
  const connecting = Deno.connect({ transport: "unix", path: socketPath })
    .catch(() => undefined);
  const body = formatBody(world, bytes);
  const conn = await connecting;
  if (conn === undefined || body === undefined) {
    conn?.close();
    return undefined;
  }
  const exchange = beginExchange(conn, { socketPath, route: CNI_ROUTE, body });
  return { exchange, beganAt: performance.now() };
}

/** The body of an answer that says yes and has come at once. */
async function readAnswer(
  { exchange: { conn, buffer, first } }: Asked,
  totalMs: number,
): Promise<string | undefined> {
  let isOver = false;
  after(totalMs, () => isOver || conn.close());
  try {
    const count = await first;
    return count === null ? undefined : findBody(buffer.subarray(0, count));
  } catch {
    return undefined;
  } finally {
    isOver = true;
  }
}

/** By V8's own timer, which takes 0.08 ms; `AbortSignal.timeout` takes 0.4, and `setTimeout` would load half of Deno's Node layer, 7 ms. */
function after(milliseconds: number, action: () => void): void {
  const cell = new Int32Array(new SharedArrayBuffer(4));
  const { value } = Atomics.waitAsync(cell, 0, 0, milliseconds);
  Promise.resolve(value).then(action);
}

const HEAD_END = "\r\n\r\n";
const LENGTH = "\r\ncontent-length: ";

/** All ASCII, so that its length as text is its length in bytes, and exactly as long as it says. */
function findBody(bytes: Uint8Array): string | undefined {
  const text = new TextDecoder().decode(bytes);
  const end = text.indexOf(HEAD_END);
  if (!text.startsWith("HTTP/1.1 200 ") || end < 0) return undefined;
  const head = text.slice(0, end).toLowerCase();
  const body = text.slice(end + HEAD_END.length);
  const at = head.indexOf(LENGTH);
  const isWhole = at >= 0 && text.length === bytes.length &&
    `${head}\r\n`.startsWith(`${body.length}\r\n`, at + LENGTH.length) &&
    head.indexOf(LENGTH, at + 1) < 0 && !head.includes("transfer-encoding");
  return isWhole ? body : undefined;
}

/** Our daemon answers in the configuration's version; undefined for another, and for what is no result. */
function formatAdded(body: string, cniVersion: string): string | undefined {
  try {
    const result = decodeResult(body);
    return result.cniVersion === cniVersion
      ? `${JSON.stringify(result)}\n`
      : undefined;
  } catch {
    return undefined;
  }
}
