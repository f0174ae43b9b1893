/**
 * A cache of one kind of object that keeps itself up to date: a list, then a watch
 * that goes on from there, restarted for ever. Whatever goes wrong is answered with
 * a back-off and another attempt; what was known stays known meanwhile. Objects are
 * trimmed before they are kept.
 *
 * @module
 */
import type { Api } from "./api.ts";
import { backOffMs, type BackOffRange, pause, until } from "./waiting.ts";
import { ApiStatusError, ApiUnavailableError } from "./error.ts";
import { asObject, asText } from "./json_value.ts";
import type { ResourceType } from "./resource.ts";

/** What is cached, and how. */
export interface ReflectorOptions<T> {
  /** Where it is asked for. */
  readonly api: Api;
  /** The kind. */
  readonly type: ResourceType;
  /** Which of the kind; without one, all. */
  readonly fieldSelector?: string;
  /** Keeps what is used of an object; must not throw. */
  readonly trim: (value: unknown) => T;
  /** The key of an object in the cache. */
  readonly keyOf: (object: T) => string;
  /** Told of every failure, for logs; it is dealt with already. */
  readonly onFailure?: (error: unknown) => void;
  /** Waits between attempts, other than the usual. */
  readonly backOff?: BackOffRange;
  /** A watch that says nothing for so long is dead. */
  readonly idleMs?: number;
  /** Chance, for the jitter. */
  readonly random?: () => number;
}

/** A cache that follows the API. */
export interface Reflector<T> extends AsyncDisposable {
  /** Says that it has been complete once; it may be behind since. */
  readonly synced: boolean;
  /** Time since the server last said anything; Infinity before the first time. */
  readonly silentMs: number;
  /** How many objects are known. */
  readonly size: number;
  /** The object of a key, if it is known. */
  get(key: string): T | undefined;
  /** All objects that are known. */
  values(): T[];
  /** Begins; calls after the first do nothing. */
  start(): void;
  /** Waits until it is synced. @throws the signal's reason */
  whenSynced(signal: AbortSignal): Promise<void>;
}

/** Pages of a list: the answer is taken apart as it comes, so this bounds the server's work, not ours. */
const PAGE_ITEMS = 500;
/** 500 pages are more objects of a kind than etcd likes to hold. */
const PAGES_MAX = 500;
/** As the Go client does: a watch lasts five to ten minutes, not all of them the same. */
const WATCH_S_MIN = 300;
/** Bookmarks come about every minute; two of them missing, and some patience, means a dead connection. */
const IDLE_MS = 150_000;
/** As the Go client's reflector. */
const BACK_OFF: BackOffRange = { minMs: 800, maxMs: 30_000 };
/** A watch that lasted so long was a good one, even if it had nothing to say. */
const STEADY_MS = 10_000;
/** "At least as new as anything": the server's own cache answers, and etcd is left in peace. */
const ANY_VERSION = "0";

/** Makes a cache, which is empty until it is started. */
export function createReflector<T>(
  options: ReflectorOptions<T>,
): Reflector<T> {
  const state: ReflectorState<T> = {
    objects: new Map(),
    version: undefined,
    listFrom: ANY_VERSION,
    synced: Promise.withResolvers(),
    isSynced: false,
    heardAt: -Infinity,
    progress: false,
  };
  const stopping = new AbortController();
  let running: Promise<void> | undefined;
  return {
    get synced() {
      return state.isSynced;
    },
    get silentMs() {
      return performance.now() - state.heardAt;
    },
    get size() {
      return state.objects.size;
    },
    get: (key) => state.objects.get(key),
    values: () => [...state.objects.values()],
    start: () => {
      running ??= run(options, state, stopping.signal);
    },
    whenSynced: (signal) => until(state.synced.promise, signal),
    [Symbol.asyncDispose]: async () => {
      stopping.abort();
      await running;
    },
  };
}

interface ReflectorState<T> {
  objects: Map<string, T>;
  /** Where the watch goes on; undefined when a list is needed. */
  version: string | undefined;
  /** The version that the next list asks for: "0", or "" for the newest of all. */
  listFrom: string;
  readonly synced: PromiseWithResolvers<void>;
  isSynced: boolean;
  heardAt: number;
  /** The server gave something since the last failure, so it is no failure in a row. */
  progress: boolean;
}

/** Lists and watches until it is stopped. Never throws. */
async function run<T>(
  options: ReflectorOptions<T>,
  state: ReflectorState<T>,
  signal: AbortSignal,
): Promise<void> {
  let failures = 0;
  while (!signal.aborted) {
    try {
      state.progress = false;
      if (state.version === undefined) await list(options, state, signal);
      await watch(options, state, signal);
      // A watch that ends at once, again and again, is a failure in slow motion.
      failures = state.progress ? 0 : failures + 1;
    } catch (error) {
      if (signal.aborted) return;
      note(options, state, error);
      failures = state.progress ? 1 : failures + 1;
    }
    if (failures === 0) continue;
    const { backOff = BACK_OFF, random = Math.random } = options;
    await pause(backOffMs(failures, { ...backOff, random }), signal)
      .catch(() => {});
  }
}

function note<T>(
  options: ReflectorOptions<T>,
  state: ReflectorState<T>,
  error: unknown,
): void {
  const status = error instanceof ApiStatusError ? error.status : undefined;
  if (status === GONE) {
    state.version = undefined;
    state.listFrom = "";
  }
  // The kind itself is not served: there are none, until somebody installs it.
  if (status === NOT_FOUND) {
    state.version = undefined;
    state.objects.clear();
    markSynced(state);
  }
  options.onFailure?.(error);
}

const NOT_FOUND = 404;
const GONE = 410;

/** Reads all pages into a new table, which replaces the old one at the end. */
async function list<T>(
  { api, type, fieldSelector, trim, keyOf }: ReflectorOptions<T>,
  state: ReflectorState<T>,
  signal: AbortSignal,
): Promise<void> {
  const objects = new Map<string, T>();
  let next: string | undefined;
  for (let page = 0; page < PAGES_MAX; page += 1) {
    const meta = await api.list({ type }, {
      signal,
      query: {
        fieldSelector,
        limit: PAGE_ITEMS,
        continue: next,
        resourceVersion: next === undefined ? state.listFrom : undefined,
      },
      onItem: (item) => {
        const object = trim(item);
        objects.set(keyOf(object), object);
      },
    });
    state.heardAt = performance.now();
    next = meta.continue;
    if (next !== undefined) continue;
    state.objects = objects;
    state.version = meta.resourceVersion;
    state.listFrom = ANY_VERSION;
    markSynced(state);
    return;
  }
  throw new ApiUnavailableError(
    `the list of ${type.resource} has no end: ${PAGES_MAX} pages`,
  );
}

function markSynced<T>(state: ReflectorState<T>): void {
  state.isSynced = true;
  state.synced.resolve();
}

async function watch<T>(
  options: ReflectorOptions<T>,
  state: ReflectorState<T>,
  signal: AbortSignal,
): Promise<void> {
  const { api, type, fieldSelector, random = Math.random } = options;
  let openedAt = Infinity;
  try {
    await api.watch({ type }, {
      signal,
      idleMs: options.idleMs ?? IDLE_MS,
      query: {
        fieldSelector,
        resourceVersion: state.version,
        allowWatchBookmarks: true,
        timeoutSeconds: Math.round(WATCH_S_MIN * (1 + random())),
      },
      onOpen: () => state.heardAt = openedAt = performance.now(),
      onLine: (line) => take(options, state, JSON.parse(line)),
    });
  } finally {
    state.progress ||= performance.now() - openedAt > STEADY_MS;
  }
}

/** Takes one event of a watch. @throws {ApiStatusError} when the event is an error */
function take<T>(
  { trim, keyOf }: ReflectorOptions<T>,
  state: ReflectorState<T>,
  event: unknown,
): void {
  const { type, object } = asObject(event);
  if (type === "ERROR") throw toEventError(object);
  state.heardAt = performance.now();
  state.progress = true;
  const { resourceVersion } = asObject(asObject(object).metadata);
  if (type === "ADDED" || type === "MODIFIED") {
    const trimmed = trim(object);
    state.objects.set(keyOf(trimmed), trimmed);
  } else if (type === "DELETED") {
    state.objects.delete(keyOf(trim(object)));
  }
  state.version = asText(resourceVersion) ?? state.version;
}

function toEventError(object: unknown): Error {
  const { code, reason, message } = asObject(object);
  const text = asText(message) ?? "no reason given";
  const status = typeof code === "number" ? code : 0;
  if (status >= SERVER_ERROR || status === 0 || status === TOO_MANY_REQUESTS) {
    return new ApiUnavailableError(`the watch broke off: ${text}`, { status });
  }
  return new ApiStatusError(status, asText(reason) ?? "", text);
}

const TOO_MANY_REQUESTS = 429;
const SERVER_ERROR = 500;
