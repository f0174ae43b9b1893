/**
 * What the daemon says about its work: lines of text, or of JSON, to stderr and to a file. Built on LogTape; the
 * rest of the project knows only {@linkcode Log}. Context is carried by explicit children (`log.with({ pod })`),
 * not by what happens to be the current task. Secrets do not get here; should one do, a field with a telling name
 * and what looks like a bearer token are left out.
 *
 * Whoever logs an error does not throw it, and the other way round.
 *
 * @module
 */

import {
  configureSync,
  getLogger,
  type Logger,
  type LogRecord,
} from "@logtape/logtape";
import { type LogFile, openLogFile, type Rotation } from "./log_file.ts";

/** What a line is about, beside its text. */
export type LogFields = Readonly<Record<string, unknown>>;

/** Says things, each at its level. */
export interface Log {
  /** What only somebody who looks for a fault wants to know. */
  debug(message: string, fields?: LogFields): void;
  /** What was done. */
  verbose(message: string, fields?: LogFields): void;
  /** What went wrong with one request. */
  error(message: string, fields?: LogFields): void;
  /** What keeps the daemon from its work. */
  panic(message: string, fields?: LogFields): void;
  /** A log that adds these fields to each line; a line's own fields win. */
  with(fields: LogFields): Log;
}

/** How much is said, from little to much; each level includes those before it. */
export const LOG_LEVELS = ["panic", "error", "verbose", "debug"] as const;

/** The name of a level. */
export type LogLevel = typeof LOG_LEVELS[number];

/** Where and how lines are written. */
export interface LogOptions {
  /** How much is said. */
  readonly level: LogLevel;
  /** Text if not given. */
  readonly format?: "text" | "json";
  /** Whether lines go to stderr. */
  readonly toStderr: boolean;
  /** The file that lines go to; none if not given. */
  readonly file?: string;
  /** When the file is put aside; the defaults of the configuration if not given. */
  readonly rotation?: Rotation;
}

/** A log and what belongs to it; disposing of it closes the file. */
export interface LogSetup extends AsyncDisposable {
  /** The log itself. */
  readonly log: Log;
  /** Changes how much is said, from the next line on. */
  setLevel(level: LogLevel): void;
}

/** A log that says nothing. */
export const noLog: Log = {
  debug: () => {},
  verbose: () => {},
  error: () => {},
  panic: () => {},
  with: () => noLog,
};

/** The documented defaults of `logOptions`. */
const DEFAULT_ROTATION: Rotation = {
  maxAgeDays: 5,
  maxSizeMegabytes: 100,
  maxBackups: 5,
  compress: true,
};

/** LogTape's names for our levels. */
const TAPE_LEVELS = {
  panic: "fatal",
  error: "error",
  verbose: "info",
  debug: "debug",
} as const;

const OUR_LEVELS: Readonly<Record<string, LogLevel>> = {
  fatal: "panic",
  error: "error",
  info: "verbose",
  debug: "debug",
};

/**
 * Opens the log.
 *
 * @throws whatever the file system says about the file
 */
export function createLog(options: LogOptions): Promise<LogSetup> {
  const file = options.file === undefined
    ? undefined
    : openLogFile(options.file, options.rotation ?? DEFAULT_ROTATION);
  const id = crypto.randomUUID();
  const outputs = outputsOf(options, file);
  const format = options.format === "json" ? formatJson : formatText;
  register(id, {
    level: options.level,
    sink: (record) => writeTo(outputs, format(record)),
  });
  return Promise.resolve({
    log: new TapeLog({ id, logger: getLogger([ROOT, id]) }),
    setLevel: (level) => changeLevel(id, level),
    async [Symbol.asyncDispose](): Promise<void> {
      unregister(id);
      await file?.[Symbol.asyncDispose]();
    },
  });
}

type Output = (line: string) => void;

function outputsOf(options: LogOptions, file: LogFile | undefined): Output[] {
  return [
    ...(options.toStderr ? [writeToStderr] : []),
    ...(file === undefined ? [] : [file.write]),
  ];
}

function writeTo(outputs: readonly Output[], line: string): void {
  for (const output of outputs) output(line);
}

function writeToStderr(line: string): void {
  const bytes = new TextEncoder().encode(line);
  try {
    for (let at = 0; at < bytes.length;) {
      at += Deno.stderr.writeSync(bytes.subarray(at));
    }
  } catch {
    // Nobody reads stderr any more; the daemon goes on.
  }
}

/** LogTape has one configuration for the process; each log of ours is one entry of it. */
interface Registered {
  readonly level: LogLevel;
  readonly sink: (record: LogRecord) => void;
}

const ROOT = "multus";

const registered = new Map<string, Registered>();

function register(id: string, entry: Registered): void {
  registered.set(id, entry);
  configure();
}

function unregister(id: string): void {
  registered.delete(id);
  configure();
}

function changeLevel(id: string, level: LogLevel): void {
  const entry = registered.get(id);
  if (entry !== undefined) register(id, { ...entry, level });
}

function configure(): void {
  const entries = [...registered];
  configureSync({
    reset: true,
    sinks: Object.fromEntries(entries.map(([id, { sink }]) => [id, sink])),
    loggers: [
      // LogTape's own remarks would go to the console.
      { category: ["logtape", "meta"], sinks: [], lowestLevel: null },
      ...entries.map(([id, { level }]) => ({
        category: [ROOT, id],
        sinks: [id],
        lowestLevel: TAPE_LEVELS[level],
      })),
    ],
  });
}

/** How much each level includes: a line is said when its rank is not above the log's. */
const RANKS: Readonly<Record<LogLevel, number>> = {
  panic: 0,
  error: 1,
  verbose: 2,
  debug: 3,
};

/**
 * What is not said costs a comparison: a child is an object with its fields, and nothing is put together
 * before the level is looked at. Messages are handed on as values, not as templates: braces in them mean nothing.
 */
class TapeLog implements Log {
  readonly #tape: Tape;
  readonly #fields: LogFields | undefined;

  constructor(tape: Tape, fields?: LogFields) {
    this.#tape = tape;
    this.#fields = fields;
  }

  debug(message: string, fields?: LogFields): void {
    this.#say("debug", message, fields);
  }

  verbose(message: string, fields?: LogFields): void {
    this.#say("verbose", message, fields);
  }

  error(message: string, fields?: LogFields): void {
    this.#say("error", message, fields);
  }

  panic(message: string, fields?: LogFields): void {
    this.#say("panic", message, fields);
  }

  with(fields: LogFields): Log {
    return new TapeLog(this.#tape, { ...this.#fields, ...fields });
  }

  #say(level: LogLevel, message: string, fields?: LogFields): void {
    const { logger, id } = this.#tape;
    const limit = registered.get(id)?.level;
    if (limit === undefined || RANKS[level] > RANKS[limit]) return;
    logger[TAPE_LEVELS[level]](TEMPLATE, {
      ...this.#fields,
      ...fields,
      message,
    });
  }
}

/** One log of ours, as LogTape knows it. */
interface Tape {
  readonly id: string;
  readonly logger: Logger;
}

const TEMPLATE = "{message}";

interface Line {
  readonly time: string;
  readonly level: LogLevel;
  readonly message: string;
  readonly fields: readonly (readonly [string, unknown])[];
}

function toLine(record: LogRecord): Line {
  const { message, ...fields } = record.properties;
  return {
    time: new Date(record.timestamp).toISOString(),
    level: OUR_LEVELS[record.level] ?? "debug",
    message: hideTokens(String(message)),
    fields: Object.entries(fields)
      .filter(([, value]) => value !== undefined)
      .map(([name, value]) => [name, hide(name, value)]),
  };
}

function formatText(record: LogRecord): string {
  const { time, level, message, fields } = toLine(record);
  const tail = fields.map(([name, value]) => ` ${name}=${showValue(value)}`);
  return `${time} [${level}] ${oneLine(message)}${tail.join("")}\n`;
}

function formatJson(record: LogRecord): string {
  const { fields, ...line } = toLine(record);
  return `${toJson({ ...Object.fromEntries(fields), ...line })}\n`;
}

/** Bare where it can be read bare, else as JSON. */
function showValue(value: unknown): string {
  const text = typeof value === "string" ? value : toJson(value);
  if (typeof value === "string" && !/^[^\s"=\p{Cc}]+$/u.test(text)) {
    return JSON.stringify(text);
  }
  return text;
}

function oneLine(text: string): string {
  return text.replace(/\p{Cc}+/gu, " ");
}

/** A line that cannot be said is worse than one that says less. */
function toJson(value: unknown): string {
  try {
    return JSON.stringify(value) ?? "null";
  } catch {
    return JSON.stringify(String(value));
  }
}

/** Names of fields that are nobody's business. */
const SECRET_NAME =
  /^authorization$|token|passw(or)?d|passphrase|secret|credential|private-?_?key|client-?_?key/i;

const HIDDEN = "(hidden)";

/** A configuration nests seven levels (plugins, IPAM, ranges); what is deeper than this is not looked at, and not shown. */
const DEPTH_MAX = 12;

function hide(name: string, value: unknown, depth = 0): unknown {
  if (SECRET_NAME.test(name)) return HIDDEN;
  if (typeof value === "string") return hideTokens(hideInJson(value, depth));
  if (typeof value === "bigint") return String(value);
  if (value instanceof Error) {
    return hideTokens(`${value.name}: ${value.message}`);
  }
  if (typeof value !== "object" || value === null) return value;
  if (depth === DEPTH_MAX) return "…";
  if (Array.isArray(value)) {
    return value.map((item) => hide("", item, depth + 1));
  }
  const entries = Object.entries(value).map(([key, item]) => {
    return [key, hide(key, item, depth + 1)] as const;
  });
  return Object.fromEntries(entries);
}

/** Configurations are carried as text: what is secret in them is named there. Only an attempt: not all that begins so is JSON. */
function hideInJson(text: string, depth: number): string {
  if (!/^\s*[{[]/.test(text)) return text;
  try {
    const value: unknown = JSON.parse(text);
    const hidden = JSON.stringify(hide("", value, depth + 1));
    return hidden === JSON.stringify(value) ? text : hidden;
  } catch {
    return text;
  }
}

/** What stands after "Bearer" or "Basic", and what has the three parts of a service account's token. */
const TOKEN =
  /\b(bearer|basic)\s+[\w.~+/=-]{8,}|\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*/gi;

function hideTokens(text: string): string {
  return text.replace(TOKEN, HIDDEN);
}
