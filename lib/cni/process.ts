/**
 * One child process, from spawn to end: bytes in on stdin, bounded bytes out, and an end that comes in
 * any case. It leaves alone what the bytes mean; `exec.ts` says that for plugins.
 *
 * Output is read through BYOB readers into buffers that are used again, because Deno's own readers on
 * piped children keep memory per spawn that the collector does not see. What a child forked is found
 * and ended by a script when it comes to that: a spawn that made the child lead a process group
 * (`detached`) would have Deno fork itself, 4.5 ms with 135 MB, instead of using posix_spawn.
 *
 * @module
 */

import { startTimeLimit } from "./time_limit.ts";

/** How much of a process' standard output is kept, in bytes, unless told otherwise. CNI results and errors are some kilobytes; a megabyte is a mistake. */
export const STDOUT_BYTES_MAX = 1024 * 1024;
/** How much of the end of standard error is kept, in bytes, unless told otherwise: enough for the last lines of a panic. */
export const STDERR_BYTES_MAX = 4096;

/** Nearly every result fits into one read of this size; a pipe gives at most 64 KiB at once. */
const BUFFER_BYTES = 16 * 1024;
/** Two buffers a process; as many are kept as sixteen processes at once use (512 KiB). */
const POOLED_BUFFERS_MAX = 32;
/** A process that has exited may have left a child that holds its pipes. What it wrote itself is in the pipe already and read within one turn, so this is only politeness. */
const END_OF_FILE_GRACE_MS = 100;
/** SIGKILL works at once, but for a process in an uninterruptible wait of the kernel; nobody can wait for that one. */
const END_WAIT_MS = 2000;

/** What to run. */
export interface ProcessCall {
  /** The program, as it is granted. */
  readonly path: string;
  /** Its arguments. */
  readonly args?: readonly string[];
  /** Set in addition to the inherited environment. */
  readonly env?: Readonly<Record<string, string>>;
  /** The whole of its input. */
  readonly stdin: string;
  /** The process is ended when this is aborted. */
  readonly signal: AbortSignal;
  /** How long it may take, in milliseconds; as long as it likes, if left out. */
  readonly timeoutMs?: number;
  /** Called when it has been started, for what can be done while it runs; must not throw. */
  readonly onStart?: () => void;
}

/** How to run it. */
export interface ProcessOptions {
  /** How much it may print, in bytes; with more it is ended. */
  readonly stdoutBytesMax?: number;
  /** How much of the end of standard error is kept, in bytes. */
  readonly stderrBytesMax?: number;
  /** A program that ends a process and what it has started when called as `PROGRAM end PID`; without it only the process itself is ended, not what it forked. */
  readonly endDelegate?: string;
}

/** How it went. */
export interface ProcessOutcome {
  /** The exit status; 128 and the signal's number when a signal ended it. */
  readonly code: number;
  /** The signal that ended it. */
  readonly signal: string | null;
  /** All of it. */
  readonly stdout: string;
  /** The end of it. */
  readonly stderr: string;
}

/** The process printed more than it may, and was ended. */
export class OutputTooLargeError extends RangeError {
  /** For logs. */
  override readonly name = "OutputTooLargeError";
  /** How many bytes it might have printed. */
  readonly bytesMax: number;

  /** Keeps the limit as data. */
  constructor(bytesMax: number) {
    super(`Standard output is larger than ${bytesMax} bytes`);
    this.bytesMax = bytesMax;
  }
}

/** The process did not exit in its own time, and was ended. */
export class ProcessTimeoutError extends Error {
  /** For logs, and for those who ask whether a deadline stands behind an error. */
  override readonly name = "TimeoutError";

  /** Says how much time it had. */
  constructor(timeoutMs: number) {
    super(`It did not exit within ${timeoutMs} ms`);
  }
}

type Child = Deno.ChildProcess;
type Buffer = Uint8Array<ArrayBuffer>;

const encoder = new TextEncoder();
const decoder = new TextDecoder();
const pool: ArrayBuffer[] = [];

/**
 * Runs a program until it has exited. Neither a program that does not read its standard input nor a
 * child that it leaves behind with an open pipe makes this wait.
 *
 * Needs `--allow-run` for the path (the path as it is given: of a symbolic link the link, not its
 * target) and for `endDelegate`.
 *
 * @throws {Error} Deno's own errors when the program cannot be started
 * @throws {OutputTooLargeError} it printed too much, and was ended
 * @throws {ProcessTimeoutError} its own time was up, and it was ended
 * @throws the signal's reason, after the process and its children were ended (or, for one that the kernel
 * does not let go, after two seconds)
 */
export async function runProcess(
  call: ProcessCall,
  options: ProcessOptions,
): Promise<ProcessOutcome> {
  call.signal.throwIfAborted();
  const child = spawn(call);
  const stop = createStop(call);
  const stdout = collectHead(child.stdout, {
    bytesMax: options.stdoutBytesMax ?? STDOUT_BYTES_MAX,
    tooLarge: stop.because,
  });
  const stderr = collectTail(
    child.stderr,
    options.stderrBytesMax ?? STDERR_BYTES_MAX,
  );
  const stdin = feed(child.stdin, call.stdin);
  call.onStart?.();
  try {
    const status = await exitOf(child, stop.asked, options.endDelegate);
    await settle([stdout, stderr, stdin]);
    const reason = stop.reason();
    if (status === "ended" || reason instanceof OutputTooLargeError) {
      throw reason;
    }
    const { code, signal } = status;
    return { code, signal, stdout: stdout.text(), stderr: stderr.text() };
  } finally {
    stop[Symbol.dispose]();
  }
}

/** Why a process is to be ended before it exits by itself. */
interface Stop extends Disposable {
  /** Resolves when it is to be ended. */
  readonly asked: Promise<void>;
  /** Ends it for this reason, if there is none yet. */
  readonly because: (reason: unknown) => void;
  /** The first reason. */
  readonly reason: () => unknown;
}

/** Not an AbortController with a listener at each end: those take longer to make than all else that is done for a process here. */
function createStop({ signal, timeoutMs }: ProcessCall): Stop {
  const { promise: asked, resolve } = Promise.withResolvers<void>();
  let first: { readonly reason: unknown } | undefined;
  const because = (reason: unknown): void => {
    first ??= { reason };
    resolve();
  };
  const forward = (): void => because(signal.reason);
  signal.addEventListener("abort", forward, { once: true });
  const limit = timeoutMs === undefined ? undefined : startTimeLimit(
    timeoutMs,
    () => because(new ProcessTimeoutError(timeoutMs)),
  );
  return {
    asked,
    because,
    reason: () => first?.reason,
    [Symbol.dispose]: () => {
      limit?.[Symbol.dispose]();
      signal.removeEventListener("abort", forward);
    },
  };
}

function spawn(call: ProcessCall): Child {
  return new Deno.Command(call.path, {
    args: [...call.args ?? []],
    env: { ...call.env },
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
}

/** Waits for the exit; when it is to be stopped before, ends the process and waits again, but not for ever. */
async function exitOf(
  child: Child,
  stopAsked: Promise<void>,
  endDelegate: string | undefined,
): Promise<Deno.CommandStatus | "ended"> {
  const status = await Promise.race([child.status, stopAsked]);
  if (status !== undefined) return status;
  if (
    endDelegate === undefined ||
    !(await endWithChildren(endDelegate, child.pid))
  ) {
    killOne(child);
  }
  await within(child.status, END_WAIT_MS);
  return "ended";
}

/** Whether it was ended with its children. It has to be asked for while the process is not reaped yet: until then nobody else can get its number. */
async function endWithChildren(
  endDelegate: string,
  pid: number,
): Promise<boolean> {
  try {
    const child = new Deno.Command(endDelegate, {
      args: ["end", String(pid)],
      stdin: "null",
      stdout: "null",
      stderr: "null",
    }).spawn();
    const status = await within(child.status, END_WAIT_MS);
    if (status === undefined) killOne(child);
    return status?.success === true;
  } catch {
    return false; // Not there or not granted: the one process is ended instead.
  }
}

function killOne(child: Child): void {
  try {
    child.kill("SIGKILL");
  } catch {
    // It has exited meanwhile.
  }
}

/** What comes in time, or a little later. */
async function within<T>(
  promise: Promise<T>,
  milliseconds: number,
): Promise<T | undefined> {
  const timeout = Promise.withResolvers<undefined>();
  using _limit = startTimeLimit(
    milliseconds,
    () => timeout.resolve(undefined),
  );
  return await Promise.race([promise, timeout.promise]);
}

interface Pipe {
  readonly done: Promise<void>;
  /** Lets go of the pipe although the other end is still open. */
  release(): Promise<void>;
}

interface TextPipe extends Pipe {
  text(): string;
}

async function settle(pipes: readonly Pipe[]): Promise<void> {
  const all = Promise.all(pipes.map((pipe) => pipe.done)).then(() => true);
  if (await within(all, END_OF_FILE_GRACE_MS) === undefined) {
    await Promise.all(pipes.map((pipe) => pipe.release()));
  }
}

/** Writes the input and closes. A program that exits without reading is no failure (EPIPE). */
function feed(
  stream: WritableStream<Uint8Array<ArrayBuffer>>,
  text: string,
): Pipe {
  const writer = stream.getWriter();
  const ignore = (): void => {};
  const done = (async (): Promise<void> => {
    if (text !== "") await writer.write(encoder.encode(text));
    await writer.close();
  })().catch(() => writer.abort().catch(ignore));
  writer.closed.catch(ignore);
  return { done, release: () => writer.abort().catch(ignore) };
}

/** Keeps what comes first, and calls `tooLarge` once when there is more than may be. */
function collectHead(
  stream: ReadableStream<Buffer>,
  { bytesMax, tooLarge }: {
    bytesMax: number;
    tooLarge: (error: OutputTooLargeError) => void;
  },
): TextPipe {
  const chunks: Buffer[] = [];
  let length = 0;
  const pipe = drain(stream, (bytes) => {
    length += bytes.length;
    if (length <= bytesMax) chunks.push(bytes.slice());
    else tooLarge(new OutputTooLargeError(bytesMax));
  });
  return { ...pipe, text: () => decoder.decode(join(chunks)) };
}

/** Keeps what comes last. */
function collectTail(
  stream: ReadableStream<Buffer>,
  bytesMax: number,
): TextPipe {
  let tail: Buffer = new Uint8Array(0);
  const pipe = drain(stream, (bytes) => {
    tail = join([tail, bytes]).slice(-bytesMax);
  });
  return { ...pipe, text: () => decoder.decode(tail) };
}

/** Reads to the end; the bytes handed out are only good during the call. */
function drain(
  stream: ReadableStream<Buffer>,
  take: (bytes: Buffer) => void,
): Pipe {
  const reader = stream.getReader({ mode: "byob" });
  const done = (async (): Promise<void> => {
    let buffer = pool.pop() ?? new ArrayBuffer(BUFFER_BYTES);
    while (true) {
      const { value, done } = await reader.read(new Uint8Array(buffer));
      if (value === undefined) return; // Released: the buffer is gone with the read.
      buffer = value.buffer;
      if (done) break;
      take(value);
    }
    if (pool.length < POOLED_BUFFERS_MAX) pool.push(buffer);
  })().catch(() => {}); // A broken pipe is the end of it.
  return { done, release: () => reader.cancel().catch(() => {}) };
}

function join(chunks: readonly Buffer[]): Buffer {
  const [first] = chunks;
  if (first !== undefined && chunks.length === 1) return first;
  const whole = new Uint8Array(
    chunks.reduce((sum, chunk) => sum + chunk.length, 0),
  );
  let offset = 0;
  for (const chunk of chunks) {
    whole.set(chunk, offset);
    offset += chunk.length;
  }
  return whole;
}
