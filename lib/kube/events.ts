/**
 * Events on pods, which is where people look first, and on the node: best effort, a few
 * a second at most, never in anybody's way. The same thing said again of the same pod raises the
 * count of its event. When several pods have something to say in the same moment, or
 * more is said than may be sent, what waits for one pod under one reason is said in
 * one event; and when more waits than is kept, the pod
 * that has most to say loses its oldest, so that none is talked down by another.
 *
 * @module
 */
import type { Api, CallOptions } from "./api.ts";
import { pause, until } from "./waiting.ts";
import { startDeadline } from "./deadline.ts";
import { ApiStatusError } from "./error.ts";
import { EVENTS } from "./resource.ts";

/** Whom an event is about. */
export interface EventTarget {
  /** The pod's namespace. */
  readonly namespace: string;
  /** The pod's name. */
  readonly name: string;
  /** The UID that the API knows it by. */
  readonly uid: string;
}

/** What happened. */
export interface Happening {
  /** Whether it is worth a worry. */
  readonly type: "Normal" | "Warning";
  /** One word, such as "AddedInterface". */
  readonly reason: string;
  /** What happened, in a sentence. */
  readonly message: string;
}

/** One thing to say about a pod. */
export interface PodEvent extends Happening {
  /** Whom it is about. */
  readonly pod: EventTarget;
}

/** One thing to say about a node. */
export interface NodeEvent extends Happening {
  /** The node's name. */
  readonly node: string;
}

/** Who says it, and how much may be said. */
export interface EventRecorderOptions {
  /** Where events are sent. */
  readonly api: Api;
  /** The event's source: "multus". */
  readonly component?: string;
  /** The node, as part of the source. */
  readonly nodeName?: string;
  /** Requests a second, in the long run. */
  readonly perSecond?: number;
  /** Requests that may come at once after a quiet time. */
  readonly burst?: number;
  /** What waits to be said at most. */
  readonly waitingMax?: number;
  /** The clock. */
  readonly now?: () => number;
}

/** Says things. */
export interface EventRecorder extends AsyncDisposable {
  /** Takes an event and returns at once; never throws. */
  post(event: PodEvent | NodeEvent): void;
  /** Events that wait. */
  pending(): number;
  /** Events that were given up. */
  dropped(): number;
  /** Waits until nothing waits. @throws the signal's reason */
  drain(signal: AbortSignal): Promise<void>;
}

/** A pod has three events; a burst of eight pods is not delayed, and a storm is a trickle. */
const PER_SECOND = 5;
const BURST = 25;
/** So long the first event after a quiet time waits for others: too short for a person to notice. */
const GATHER_MS = 200;
/** A node's worth of pods, with a few events each. */
const WAITING_MAX = 1_000;
/** Events sent that are remembered, to be counted up. */
const SENT_MAX = 500;
/** The Go client counts up within ten minutes, too. */
const SENT_MS = 600_000;
/** An event is news; after so many failures it is not any more. */
const ATTEMPTS = 3;
/** The API's limit for an event's text. */
const MESSAGE_BYTES_MAX = 1_024;
/** One request must not hold up the others for long. */
const REQUEST_MS = 10_000;

/** Starts a recorder. */
export function createEventRecorder(
  options: EventRecorderOptions,
): EventRecorder {
  const state = createState(options);
  const stopping = new AbortController();
  let running: Promise<void> = Promise.resolve();
  const start = (): void => {
    if (state.busy || stopping.signal.aborted) return;
    state.busy = true;
    running = work(options, state, stopping.signal);
  };
  return {
    post: (event) => {
      if (stopping.signal.aborted) return;
      enqueue(state, toSaid(event), options.waitingMax ?? WAITING_MAX);
      start();
    },
    pending: () => state.waiting.size + (state.busy ? 1 : 0),
    dropped: () => state.dropped,
    drain: (signal) => until(running, signal),
    [Symbol.asyncDispose]: async () => {
      stopping.abort();
      await running;
    },
  };
}

/** Whom an event is about, whatever that is. */
interface Subject extends EventTarget {
  readonly kind: "Pod" | "Node";
}

interface Said extends Happening {
  readonly about: Subject;
}

interface Waiting {
  readonly event: Said;
  count: number;
}

/** A node is in no namespace, and its events are in this one. */
const NODE_NAMESPACE = "default";

function toSaid(event: PodEvent | NodeEvent): Said {
  const { type, reason, message } = event;
  const about: Subject = "pod" in event
    ? { kind: "Pod", ...event.pod }
    // By its name, as the kubelet's own events: `kubectl describe node` looks for that.
    : {
      kind: "Node",
      namespace: NODE_NAMESPACE,
      name: event.node,
      uid: event.node,
    };
  return { about, type, reason, message };
}

interface Sent {
  readonly name: string;
  count: number;
  at: number;
}

interface RecorderState {
  readonly waiting: Map<string, Waiting>;
  /** How much waits of each pod and node: counted along, because it is asked for with each event too many. */
  readonly loudness: Map<string, number>;
  readonly sent: Map<string, Sent>;
  readonly burst: number;
  readonly perSecond: number;
  readonly now: () => number;
  tokens: number;
  filledAt: number;
  dropped: number;
  busy: boolean;
}

function createState(options: EventRecorderOptions): RecorderState {
  const { perSecond = PER_SECOND, burst = BURST, now = Date.now } = options;
  return {
    waiting: new Map(),
    loudness: new Map(),
    sent: new Map(),
    burst,
    perSecond,
    now,
    tokens: burst,
    filledAt: now(),
    dropped: 0,
    busy: false,
  };
}

/** The same event is the same key, whoever says it. */
function keyOf({ about, type, reason, message }: Said): string {
  return JSON.stringify([
    about.kind,
    about.namespace,
    about.name,
    about.uid,
    type,
    reason,
    message,
  ]);
}

function enqueue(
  state: RecorderState,
  event: Said,
  waitingMax: number,
): void {
  const key = keyOf(event);
  const present = state.waiting.get(key);
  if (present !== undefined) {
    present.count += 1;
    return;
  }
  state.waiting.set(key, { event, count: 1 });
  count(state, event, 1);
  if (state.waiting.size <= waitingMax) return;
  const oldest = oldestOfLoudest(state);
  if (oldest !== undefined) takeOut(state, oldest);
  state.dropped += 1;
}

function takeOut(
  state: RecorderState,
  [key, { event }]: [string, Waiting],
): void {
  state.waiting.delete(key);
  count(state, event, -1);
}

function count({ loudness }: RecorderState, event: Said, more: number): void {
  const speaker = speakerOf(event);
  const all = (loudness.get(speaker) ?? 0) + more;
  if (all > 0) loudness.set(speaker, all);
  else loudness.delete(speaker);
}

function speakerOf({ about }: Said): string {
  return `${about.kind} ${about.namespace}/${about.name}`;
}

/** The first that waits of the pod of which most waits. */
function oldestOfLoudest(
  { waiting, loudness }: RecorderState,
): [string, Waiting] | undefined {
  const most = Math.max(...loudness.values());
  const loudest = loudness.entries().find(([, all]) => all === most)?.[0];
  return waiting.entries().find(([, { event }]) =>
    speakerOf(event) === loudest
  );
}

/** Sends what waits, until nothing does. Never throws. */
async function work(
  options: EventRecorderOptions,
  state: RecorderState,
  signal: AbortSignal,
): Promise<void> {
  try {
    await pause(GATHER_MS, signal).catch(() => {});
    let isCrowded = false;
    while (state.waiting.size > 0 && !signal.aborted) {
      await pause(fillTokens(state), signal).catch(() => {});
      if (signal.aborted) return;
      state.tokens -= 1;
      // Until nothing waits any more: the last one left was not alone either.
      isCrowded ||= areSeveral(state.waiting);
      const batch = takeBatch(state, isCrowded);
      if (batch !== undefined) await send(options, state, { batch, signal });
    }
  } finally {
    // In the same step as the look at what waits, or an event would be left behind.
    state.busy = false;
  }
}

/** Fills up the tokens; returns how long to wait for one. */
function fillTokens(state: RecorderState): number {
  const at = state.now();
  const filled = state.tokens +
    (at - state.filledAt) * state.perSecond / 1000;
  state.tokens = Math.min(state.burst, filled);
  state.filledAt = at;
  return state.tokens >= 1
    ? 0
    : Math.ceil((1 - state.tokens) * 1000 / state.perSecond);
}

/** Whether more than one pod has something to say. */
function areSeveral(waiting: ReadonlyMap<string, Waiting>): boolean {
  const [first] = waiting.values();
  return waiting.values()
    .some(({ event: { about } }) => about.uid !== first?.event.about.uid);
}

/** The next event; in a crowd, or where there are more than tokens, all that fits of its pod and reason in one. */
function takeBatch(
  state: RecorderState,
  isCrowded: boolean,
): Waiting | undefined {
  const [first] = state.waiting;
  if (first === undefined) return undefined;
  const { event, count } = first[1];
  const isScarce = state.waiting.size > state.tokens + 1;
  takeOut(state, first);
  if (!isCrowded && !isScarce) return { event, count };
  let message = event.message;
  for (const waiting of state.waiting) {
    const [, { event: other }] = waiting;
    const isAkin = other.about.uid === event.about.uid &&
      other.reason === event.reason && other.type === event.type;
    if (!isAkin) continue;
    const joined = `${message}\n${other.message}`;
    if (bytesOf(joined) > MESSAGE_BYTES_MAX) continue;
    message = joined;
    takeOut(state, waiting);
  }
  return { event: { ...event, message }, count };
}

/** Sends one event, new or counted up; what fails is dropped and counted. */
async function send(
  options: EventRecorderOptions,
  state: RecorderState,
  { batch, signal }: { batch: Waiting; signal: AbortSignal },
): Promise<void> {
  const key = keyOf(batch.event);
  const sent = state.sent.get(key);
  using deadline = startDeadline(signal, REQUEST_MS);
  try {
    const call = { signal: deadline.signal, attempts: ATTEMPTS };
    if (sent !== undefined && state.now() - sent.at < SENT_MS) {
      sent.count += batch.count;
      if (await countUp(options, state, { sent, batch, call })) return;
    }
    const name = eventName(batch.event.about);
    await create(options, state, { name, batch, call });
    remember(state, key, { name, count: batch.count, at: state.now() });
  } catch {
    state.dropped += 1;
  }
}

/** Raises the count of an event that was sent. Returns false when the server has forgotten it. */
async function countUp(
  { api }: EventRecorderOptions,
  state: RecorderState,
  { sent, batch, call }: { sent: Sent; batch: Waiting; call: CallOptions },
): Promise<boolean> {
  const { namespace } = batch.event.about;
  const patch = { count: sent.count, lastTimestamp: timestamp(state.now()) };
  try {
    await api.patch({ type: EVENTS, namespace, name: sent.name }, patch, call);
    sent.at = state.now();
    return true;
  } catch (error) {
    if (error instanceof ApiStatusError && error.status === NOT_FOUND) {
      return false;
    }
    throw error;
  }
}

async function create(
  options: EventRecorderOptions,
  state: RecorderState,
  { name, batch, call }: { name: string; batch: Waiting; call: CallOptions },
): Promise<void> {
  const { namespace } = batch.event.about;
  const body = toEvent(options, batch, { name, at: timestamp(state.now()) });
  try {
    await options.api.create({ type: EVENTS, namespace }, body, call);
  } catch (error) {
    // The name is ours alone: an earlier attempt got there, its answer did not come back.
    const there = error instanceof ApiStatusError && error.status === CONFLICT;
    if (!there) throw error;
  }
}

const NOT_FOUND = 404;
const CONFLICT = 409;

function remember(state: RecorderState, key: string, sent: Sent): void {
  state.sent.delete(key);
  state.sent.set(key, sent);
  if (state.sent.size <= SENT_MAX) return;
  const [oldest] = state.sent.keys();
  if (oldest !== undefined) state.sent.delete(oldest);
}

function toEvent(
  { component = "multus", nodeName }: EventRecorderOptions,
  { event, count }: Waiting,
  { name, at }: { name: string; at: string },
): unknown {
  const { kind, namespace, name: subject, uid } = event.about;
  return {
    apiVersion: "v1",
    kind: "Event",
    metadata: { name, namespace },
    involvedObject: {
      apiVersion: "v1",
      kind,
      ...(kind === "Pod" && { namespace }),
      name: subject,
      uid,
    },
    type: event.type,
    reason: event.reason,
    message: shorten(event.message),
    count,
    firstTimestamp: at,
    lastTimestamp: at,
    source: nodeName === undefined
      ? { component }
      : { component, host: nodeName },
    reportingComponent: component,
    reportingInstance: nodeName ?? component,
  };
}

/** Names have 253 characters at most, and the pod's may use them up. */
const SUBJECT_NAME_CHARS_MAX = 230;

function eventName(about: Subject): string {
  const random = crypto.getRandomValues(new BigUint64Array(1))[0] ?? 0n;
  const suffix = random.toString(16).padStart(16, "0");
  return `${about.name.slice(0, SUBJECT_NAME_CHARS_MAX)}.${suffix}`;
}

/** The API wants whole seconds here. */
function timestamp(ms: number): string {
  return `${new Date(ms).toISOString().slice(0, 19)}Z`;
}

const encoder = new TextEncoder();

function bytesOf(text: string): number {
  return encoder.encode(text).length;
}

/** Cuts a text to what the API takes, at a whole character. */
function shorten(text: string): string {
  if (bytesOf(text) <= MESSAGE_BYTES_MAX) return text;
  const buffer = new Uint8Array(MESSAGE_BYTES_MAX - 3);
  const { written } = encoder.encodeInto(text, buffer);
  return `${new TextDecoder().decode(buffer.subarray(0, written))}...`;
}
