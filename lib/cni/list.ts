/**
 * Runs a network configuration list: each of its plugins with the input, environment and order that
 * the command asks for, as libcni does. What a plugin gets is the author's own text with a few members
 * put in, never an object that was parsed and written again.
 *
 * It leaves alone the undoing of an ADD that failed half-way: as with libcni, the caller DELetes the
 * list (plugins answer a DEL for what they never added), because only the caller knows its deadline
 * then. It leaves alone conversions for the runtime, too: results come back in the newest shape.
 *
 * Errors name the plugin, cause first, and begin in lower case, because the caller puts network and
 * interface before them: `Cannot attach "default/net" as net1: plugin macvlan: Link not found`.
 * A plugin's own error keeps its code and words. A plugin that was ended, by its own time or by the
 * caller's, is code 11 (try again later): nothing is known to be wrong for good.
 *
 * CNI specification 1.1.0, section 3 "Execution of Network Configurations".
 *
 * @module
 */

import { type CniArgs, formatCniArgs } from "./args.ts";
import { type NetConfList, parseConf, type PluginConf } from "./conf.ts";
import { CniError, ErrorCode, quote, readErrorDocument } from "./error.ts";
import {
  type Exec,
  PluginBusyError,
  type PluginCall,
  type PluginOutcome,
} from "./exec.ts";
import { getMember, type JsonText, mergeObjects } from "./json_text.ts";
import { ProcessTimeoutError } from "./process.ts";
import {
  FIRST_WITH_LISTS,
  formatResult,
  parseResult,
  type Result,
} from "./result.ts";
import {
  assertKeepable,
  type CachedAttachment,
  type ResultCache,
} from "./result_cache.ts";
import {
  assertCommandVersion,
  assertVersion,
  type Command,
  compareVersions,
  supportsCommand,
} from "./version.ts";

/** The one attachment that ADD, CHECK and DEL are about. */
export interface AttachmentArgs {
  /** CNI_CONTAINERID. */
  readonly containerId: string;
  /** May be empty for DEL. */
  readonly netns: string;
  /** CNI_IFNAME. */
  readonly ifname: string;
  /** CNI_ARGS. */
  readonly cniArgs: CniArgs;
  /** By capability, as JSON text. */
  readonly capabilityArgs: Readonly<Record<string, JsonText>>;
}

/** One run of one plugin, for logs and metrics. */
export interface PluginEvent {
  /** What it was told to do. */
  readonly command: Command;
  /** Which plugin. */
  readonly type: string;
  /** CNI_IFNAME. */
  readonly ifname: string;
  /** The name of the list. */
  readonly network: string;
  /** How long it took, finding it included. */
  readonly durationMs: number;
  /** Why it failed. */
  readonly error?: CniError;
}

/** What a list runs with. */
export interface Runtime {
  /** Finds and runs plugins. */
  readonly exec: Exec;
  /** CNI_PATH, the extra directory first. */
  readonly pluginDirs: readonly string[];
  /** Keeps results from ADD to DEL. */
  readonly cache: ResultCache;
  /** How long one plugin may take, waiting for its file included. */
  readonly pluginTimeoutMs: number;
  /** For the plugins, besides the CNI variables: TRACEPARENT, TRACESTATE, BAGGAGE. */
  readonly env?: Readonly<Record<string, string>>;
  /** Hears of each process when it has been started, and need not wait for it: for what can be done meanwhile. Must not throw. */
  readonly onStart?: () => void;
  /** Hears of each run when it is over. */
  readonly onPlugin?: (event: PluginEvent) => void;
  /** Hears of a damaged cache that a DEL or GC went on without. */
  readonly onCacheDamage?: (error: CniError) => void;
}

/** Which attachment, and until when. */
export interface AttachmentOptions {
  /** Which one. */
  readonly attachment: AttachmentArgs;
  /** Ends the plugin that runs, and with it the command. */
  readonly signal: AbortSignal;
  /** For DEL: what the ADD came to, from a caller who has kept it; without it the cache is asked. */
  readonly result?: Result | undefined;
}

/** An attachment that GC keeps, spelled as on the wire. */
export interface ValidAttachment {
  /** CNI_CONTAINERID of the ADD. */
  readonly containerID: string;
  /** CNI_IFNAME of the ADD. */
  readonly ifname: string;
}

/** While a plugin's file is written anew, how long until the next look; copying a plugin takes tens of milliseconds. */
const BUSY_WAIT_MS = 20;
/** A plugin's words in a message; the rest of 1 kB is for network, interface and the runtime. */
const WORDS_LENGTH_MAX = 600;
/** A line of a plugin's log in a message. */
const LOG_LENGTH_MAX = 200;
/** How many of the errors of a GC are told one by one. */
const TOLD_ERRORS_MAX = 3;

interface Run {
  readonly command: Command;
  readonly runtime: Runtime;
  readonly list: NetConfList;
  readonly attachment?: AttachmentArgs;
  readonly signal: AbortSignal;
}

/**
 * Finds each plugin of the list, and runs none: what is missing is known before anything is begun.
 *
 * Needs what `runtime.exec` needs to find plugins.
 *
 * @throws {CniError} 7 when a plugin is not installed, naming it and the directories
 */
export async function findPlugins(
  { exec, pluginDirs }: Pick<Runtime, "exec" | "pluginDirs">,
  list: NetConfList,
): Promise<void> {
  for (const { type } of list.plugins) await exec.findInPath(type, pluginDirs);
}

/**
 * Adds: the plugins in order, each with the result of the one before; then the result cache is
 * written. An ADD that fails leaves what was begun to the caller's DEL.
 *
 * Needs what `runtime.exec` and `runtime.cache` need.
 *
 * @throws {CniError} a plugin's error, or why it could not be run; 1, 4, 7 for what is wrong in the request
 */
export async function addNetworkList(
  runtime: Runtime,
  list: NetConfList,
  options: AttachmentOptions,
): Promise<Result> {
  const { attachment } = options;
  assertVersion(list.cniVersion);
  assertKeepable(keyOf(list, attachment));
  const run: Run = { command: "ADD", runtime, list, ...options };
  let result: Result | undefined;
  for (const plugin of list.plugins) {
    const stdin = attachmentInput(run, { plugin, prevResult: result });
    result = readPluginResult(await runPlugin(run, plugin, stdin), {
      plugin,
      list,
    });
  }
  const added = result ?? { interfaces: [], ips: [], routes: [] };
  // Refuses what an old version has no words for: an address that there is not.
  if (compareVersions(list.cniVersion, FIRST_WITH_LISTS) < 0) {
    formatResult(added, list.cniVersion);
  }
  await runtime.cache.write(toCached(list, attachment, added));
  return added;
}

/**
 * Deletes: the plugins in reverse order, from 0.4.0 on with the ADD's result; then the cache's file
 * goes. Neither a missing nor a damaged cache keeps a DEL from being done.
 *
 * Needs what `runtime.exec` and `runtime.cache` need.
 *
 * @throws {CniError} the first plugin's error; those before it in the list were then not run
 */
export async function delNetworkList(
  runtime: Runtime,
  list: NetConfList,
  options: AttachmentOptions,
): Promise<void> {
  assertVersion(list.cniVersion);
  const key = keyOf(list, options.attachment);
  const prevResult = supportsCommand("CHECK", list.cniVersion)
    ? options.result ??
      await cachedResult(runtime, list, key).catch((error: unknown) =>
        tellDamage(runtime, error)
      )
    : undefined;
  const run: Run = { command: "DEL", runtime, list, ...options };
  for (const plugin of list.plugins.toReversed()) {
    await runPlugin(run, plugin, attachmentInput(run, { plugin, prevResult }));
  }
  await runtime.cache.remove(key);
}

/**
 * Checks: the plugins in order, each with the cached result. Nothing happens with `disableCheck`.
 *
 * Needs what `runtime.exec` and `runtime.cache` need.
 *
 * @throws {CniError} 1 below 0.4.0; the first plugin's error; 5, 6 when the cache cannot be read
 */
export async function checkNetworkList(
  runtime: Runtime,
  list: NetConfList,
  options: AttachmentOptions,
): Promise<void> {
  assertCommandVersion("CHECK", list.cniVersion);
  if (list.disableCheck) return;
  const prevResult = await cachedResult(
    runtime,
    list,
    keyOf(list, options.attachment),
  );
  const run: Run = { command: "CHECK", runtime, list, ...options };
  for (const plugin of list.plugins) {
    await runPlugin(run, plugin, attachmentInput(run, { plugin, prevResult }));
  }
}

/**
 * Asks the plugins in order whether an ADD would work. Nothing happens below 1.1.0.
 *
 * Needs what `runtime.exec` needs.
 *
 * @throws {CniError} the first plugin's error; 50 when a plugin is not installed
 */
export async function statusNetworkList(
  runtime: Runtime,
  list: NetConfList,
  options: { readonly signal: AbortSignal },
): Promise<void> {
  assertVersion(list.cniVersion);
  if (!supportsCommand("STATUS", list.cniVersion)) return;
  const run: Run = { command: "STATUS", runtime, list, signal: options.signal };
  for (const plugin of list.plugins) {
    await runPlugin(
      run,
      plugin,
      mergeObjects(plugin.text, membersText(commonMembers(list))),
    );
  }
}

/**
 * Collects garbage: every cached attachment of the network that is not valid any more is deleted, with
 * the configuration it was added with; then, from 1.1.0 on, each plugin hears which ones are valid.
 * One that fails does not keep the others from being done. Nothing happens with `disableGC`.
 *
 * Needs what `runtime.exec` and `runtime.cache` need.
 *
 * @throws {CniError} with the first error's code, telling the first few
 */
export async function gcNetworkList(
  runtime: Runtime,
  list: NetConfList,
  options: {
    readonly validAttachments: readonly ValidAttachment[];
    readonly signal: AbortSignal;
  },
): Promise<void> {
  assertVersion(list.cniVersion);
  if (list.disableGC) return;
  const { validAttachments, signal } = options;
  const errors: CniError[] = [];
  for (const stale of await staleAttachments(runtime, list, validAttachments)) {
    await collect(
      errors,
      delNetworkList(runtime, listOf(stale, list), {
        attachment: stale,
        signal,
      }),
    );
  }
  if (supportsCommand("GC", list.cniVersion)) {
    const stdinOf = gcInput(list, validAttachments);
    const run: Run = { command: "GC", runtime, list, signal };
    for (const plugin of list.plugins) {
      await collect(errors, runPlugin(run, plugin, stdinOf(plugin)));
    }
  }
  throwTogether(errors);
}

// What a plugin gets.

/** What a plugin of a list gets on stdin for ADD, CHECK and DEL of one attachment; exported for those who only want to see it. */
export function attachmentInput(
  { list, attachment }: {
    readonly list: NetConfList;
    readonly attachment?: Pick<AttachmentArgs, "capabilityArgs">;
  },
  { plugin, prevResult }: {
    readonly plugin: PluginConf;
    readonly prevResult: Result | undefined;
  },
): JsonText {
  const members = commonMembers(list);
  if (prevResult !== undefined) {
    members.push([
      "prevResult",
      JSON.stringify(formatResult(prevResult, list.cniVersion)),
    ]);
  }
  const runtimeConfig = Object.entries(attachment?.capabilityArgs ?? {})
    .filter(([name]) => plugin.capabilities.has(name));
  if (runtimeConfig.length > 0) {
    members.push(["runtimeConfig", membersText(runtimeConfig)]);
  }
  return mergeObjects(plugin.text, membersText(members));
}

/** Both keys: the first is the specification's, the second is what plugins of its draft read. */
function gcInput(
  list: NetConfList,
  validAttachments: readonly ValidAttachment[],
): (plugin: PluginConf) => JsonText {
  const valid = JSON.stringify(
    validAttachments.map(({ containerID, ifname }) => ({
      containerID,
      ifname,
    })),
  );
  const members = membersText([
    ...commonMembers(list),
    ["cni.dev/valid-attachments", valid],
    ["cni.dev/attachments", valid],
  ]);
  return (plugin) => mergeObjects(plugin.text, members);
}

function commonMembers(list: NetConfList): [string, JsonText][] {
  return [["name", JSON.stringify(list.name)], [
    "cniVersion",
    JSON.stringify(list.cniVersion),
  ]];
}

function membersText(
  members: readonly (readonly [string, JsonText])[],
): JsonText {
  return `{${
    members.map(([key, value]) => `${JSON.stringify(key)}:${value}`).join(",")
  }}`;
}

/** All of them are set for every command, so that none of this process' own can get through. */
function environment(
  { command, runtime, attachment }: Run,
): Record<string, string> {
  return {
    ...runtime.env,
    CNI_COMMAND: command,
    CNI_CONTAINERID: attachment?.containerId ?? "",
    CNI_NETNS: attachment?.netns ?? "",
    CNI_IFNAME: attachment?.ifname ?? "",
    CNI_ARGS: formatCniArgs(attachment?.cniArgs ?? []),
    CNI_PATH: runtime.pluginDirs.join(":"),
  };
}

// Running one plugin.

/** Gives what the plugin printed. */
async function runPlugin(
  run: Run,
  plugin: PluginConf,
  stdin: JsonText,
): Promise<string> {
  const started = performance.now();
  const { command, runtime, list, attachment } = run;
  const event = {
    command,
    type: plugin.type,
    ifname: attachment?.ifname ?? "",
    network: list.name,
  };
  try {
    const stdout = await runWithin(run, plugin, stdin);
    runtime.onPlugin?.({ ...event, durationMs: performance.now() - started });
    return stdout;
  } catch (thrown) {
    const error = toCniError(thrown, plugin);
    runtime.onPlugin?.({
      ...event,
      durationMs: performance.now() - started,
      error,
    });
    throw error;
  }
}

async function runWithin(
  run: Run,
  plugin: PluginConf,
  stdin: JsonText,
): Promise<string> {
  const { signal, runtime } = run;
  const { exec, pluginDirs, pluginTimeoutMs, onStart } = runtime;
  try {
    signal.throwIfAborted();
    const path = await findPlugin(run, plugin, { exec, pluginDirs });
    const call = {
      path,
      env: environment(run),
      stdin,
      signal,
      ...(onStart === undefined ? {} : { onStart }),
    };
    const outcome = await runWhenFree(exec, call, pluginTimeoutMs);
    if (outcome.code === 0 && outcome.signal === null) return outcome.stdout;
    throw failed(plugin, outcome);
  } catch (error) {
    const isOver = signal.aborted && error === signal.reason;
    if (!isOver && !(error instanceof ProcessTimeoutError)) throw error;
    throw ended(plugin, { reason: error, timeoutMs: pluginTimeoutMs });
  }
}

async function findPlugin(
  { command }: Run,
  plugin: PluginConf,
  { exec, pluginDirs }: Pick<Runtime, "exec" | "pluginDirs">,
): Promise<string> {
  try {
    return await exec.findInPath(plugin.type, pluginDirs);
  } catch (error) {
    if (command !== "STATUS" || !(error instanceof CniError)) throw error;
    throw new CniError(ErrorCode.pluginNotAvailable, error.message, {
      cause: error,
    });
  }
}

/** A file that is being replaced is tried again until the time is up, and then reported as that. */
async function runWhenFree(
  exec: Exec,
  call: PluginCall,
  timeoutMs: number,
): Promise<PluginOutcome> {
  const start = performance.now();
  for (let leftMs = timeoutMs;;) {
    try {
      return await exec.run({ ...call, timeoutMs: leftMs });
    } catch (error) {
      if (!(error instanceof PluginBusyError)) throw error;
      await pause(BUSY_WAIT_MS, call.signal);
      leftMs = timeoutMs - (performance.now() - start);
      if (call.signal.aborted || leftMs <= 0) throw error;
    }
  }
}

async function pause(milliseconds: number, signal: AbortSignal): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  const stop = (): void => resolve();
  const timer = setTimeout(stop, milliseconds);
  signal.addEventListener("abort", stop, { once: true });
  if (signal.aborted) stop();
  await promise;
  clearTimeout(timer);
  signal.removeEventListener("abort", stop);
}

// What went wrong.

function ended(
  { type }: PluginConf,
  { reason, timeoutMs }: { reason: unknown; timeoutMs: number },
): CniError {
  const isTimeout = reason instanceof Error && reason.name === "TimeoutError";
  const how = reason instanceof ProcessTimeoutError
    ? `did not finish within ${timeoutMs / 1000} s and was ended`
    : isTimeout
    ? "did not finish within the time of the request and was ended"
    : reason instanceof CniError
    ? `was ended: ${reason.message}`
    : "was ended, because the request was given up";
  const code = reason instanceof CniError
    ? reason.code
    : ErrorCode.tryAgainLater;
  return new CniError(code, `plugin ${type} ${how}`, { cause: reason });
}

function failed(plugin: PluginConf, outcome: PluginOutcome): CniError {
  const { type } = plugin;
  const document = readErrorDocument(outcome.stdout);
  if (document !== undefined) {
    const { code, msg, details = "" } = document;
    const more = details === "" || msg.includes(details)
      ? missingLink(plugin, msg)
      : ` (${details})`;
    return new CniError(
      code,
      `plugin ${type}: ${cut(msg + more, WORDS_LENGTH_MAX)}`,
      {
        cause: document,
      },
    );
  }
  const how = outcome.signal === null
    ? `exited with status ${outcome.code}`
    : `was ended by ${outcome.signal}`;
  const isSilent = outcome.stdout.trim() === "";
  const what = isSilent
    ? "printed no error"
    : `printed no error that can be read: ${quote(outcome.stdout)}`;
  const log = lastWords(outcome.stderr);
  return new CniError(
    isSilent ? ErrorCode.internal : ErrorCode.decodingFailure,
    `plugin ${type} ${how} and ${what}${log === "" ? "" : ` (log: ${log})`}`,
  );
}

/** Several plugins say that a link is missing, and not which one: it is the one they are to be put on. */
function missingLink({ text }: PluginConf, msg: string): string {
  const master = /^link not found$/i.test(msg.trim())
    ? getMember(text, "master")
    : undefined;
  return master === undefined ? "" : ` (master ${quote(JSON.parse(master))})`;
}

/** The line that says most: of a crashed Go program the panic, else the last one. */
function lastWords(stderr: string): string {
  const lines = stderr.split("\n").map((line) => line.trim()).filter((line) =>
    line !== ""
  );
  const line = lines.find((line) => /^(panic|fatal error): /.test(line)) ??
    lines.at(-1) ?? "";
  return cut(line, LOG_LENGTH_MAX);
}

function cut(text: string, lengthMax: number): string {
  return text.length <= lengthMax
    ? text
    : `${text.slice(0, lengthMax).toWellFormed()}…`;
}

function toCniError(thrown: unknown, { type }: PluginConf): CniError {
  if (thrown instanceof CniError) return thrown;
  const message = thrown instanceof Error ? thrown.message : String(thrown);
  return new CniError(
    ErrorCode.internal,
    `plugin ${type} could not be run: ${message}`,
    {
      cause: thrown,
    },
  );
}

async function collect(
  errors: CniError[],
  work: Promise<unknown>,
): Promise<void> {
  try {
    await work;
  } catch (error) {
    if (!(error instanceof CniError)) throw error;
    errors.push(error);
  }
}

function throwTogether(errors: readonly CniError[]): void {
  const [first] = errors;
  if (first === undefined) return;
  if (errors.length === 1) throw first;
  const told = errors.slice(0, TOLD_ERRORS_MAX).map((error) => error.message)
    .join("; ");
  const rest = errors.length - TOLD_ERRORS_MAX;
  throw new CniError(
    first.code,
    rest > 0 ? `${told}; and ${rest} more` : told,
    { cause: errors },
  );
}

// Results and the cache.

function readPluginResult(
  stdout: string,
  { plugin: { type }, list }: { plugin: PluginConf; list: NetConfList },
): Result {
  if (stdout.trim() === "") {
    throw new CniError(
      ErrorCode.decodingFailure,
      `plugin ${type} printed no result`,
    );
  }
  try {
    return parseResult(stdout, list.cniVersion);
  } catch (cause) {
    if (!(cause instanceof CniError)) throw cause;
    throw new CniError(
      cause.code,
      `plugin ${type} printed a result that cannot be read: ${cause.message}`,
      { cause },
    );
  }
}

function keyOf(
  list: NetConfList,
  { containerId, ifname }: AttachmentArgs,
): { networkName: string; containerId: string; ifname: string } {
  return { networkName: list.name, containerId, ifname };
}

/** What the cache keeps of an ADD; exported for those who write it again from what they know. */
export function toCached(
  list: NetConfList,
  attachment: AttachmentArgs,
  result: Result,
): CachedAttachment {
  return {
    ...attachment,
    networkName: list.name,
    config: list.text,
    // When it is written, which may be later.
    get result() {
      return JSON.stringify(formatResult(result, list.cniVersion));
    },
  };
}

async function cachedResult(
  { cache }: Runtime,
  list: NetConfList,
  key: ReturnType<typeof keyOf>,
): Promise<Result | undefined> {
  const cached = await cache.read(key);
  return cached?.result === undefined
    ? undefined
    : parseResult(cached.result, list.cniVersion);
}

function tellDamage(runtime: Runtime, error: unknown): undefined {
  if (!(error instanceof CniError)) throw error;
  runtime.onCacheDamage?.(error);
}

async function staleAttachments(
  runtime: Runtime,
  list: NetConfList,
  validAttachments: readonly ValidAttachment[],
): Promise<CachedAttachment[]> {
  const { attachments, unreadable } = await runtime.cache.list({
    networkName: list.name,
  });
  for (const { path, reason } of unreadable) {
    const message = `Result cache is damaged (${reason}): ${path}`;
    tellDamage(runtime, new CniError(ErrorCode.decodingFailure, message));
  }
  const idOf = (containerId: string, ifname: string): string =>
    `${containerId}/${ifname}`;
  const valid = new Set(
    validAttachments.map((one) => idOf(one.containerID, one.ifname)),
  );
  return attachments.filter((one) =>
    !valid.has(idOf(one.containerId, one.ifname))
  );
}

/** The configuration an attachment was added with; the one at hand where that is not to be had. */
function listOf(cached: CachedAttachment, list: NetConfList): NetConfList {
  try {
    const own = parseConf(cached.config, { defaultName: list.name });
    return own.name === list.name ? own : list;
  } catch {
    return list; // Of an old libcni, or damaged: libcni itself always takes the one at hand.
  }
}
