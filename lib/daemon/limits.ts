/**
 * Who may work when. Each kind of request has a lane of its own, so that a DEL
 * or a STATUS never stands behind a hundred ADDs; the plugins of all lanes run
 * in the daemon's memory limit, so each lane is narrow.
 *
 * - One operation at a time for a container, in order of arrival. The turn of
 *   the container is taken before the place in the lane: who waits for a
 *   container holds no place that another container could use.
 * - A DEL of a whole container supersedes what came before it: operations of
 *   that container that wait are called off, one that runs is aborted, and the
 *   DEL starts when it has ended, with its own undoing done. It does not wait
 *   for an ADD to succeed only to undo it.
 * - The same request sent again while it runs joins it. The work is cancelled
 *   when the last of its callers has gone or has run out of time.
 *
 * What the work does with its signal is the work's: end its plugins, undo what
 * it began, and only then settle. Its place and its container stay taken until
 * then. Health checks take no place at all and are no business of this module.
 *
 * @module
 */
import { CniError, ErrorCode } from "../cni/error.ts";
import { startTimeLimit } from "../cni/time_limit.ts";
import { createGate, type Gate } from "./gate.ts";
import { createLane, type Lane } from "./lane.ts";

/** The kinds of request that have a lane of their own. */
export type LaneName = "add" | "delete" | "check" | "gc" | "status";

/** How many hold a place, and how many wait for one or for their container. */
export interface LaneGauge {
  /** How many run now. */
  readonly inFlight: number;
  /** How many wait now. */
  readonly queued: number;
}

/** How wide the lanes are, and who is told about waiting. */
export interface LimitOptions {
  /** Places for ADDs, from `defaultAddSlots` or the configuration. */
  readonly addSlots: number;
  /** Told for each request that starts, with the time since its arrival. */
  readonly onWait?: (lane: LaneName, waitMs: number) => void;
  /** How many requests may wait in one lane, if not `WAITING_MAX`. */
  readonly waitingMax?: number;
  /** How long an aborted request is waited for, if not `ABORT_GRACE_MS`. */
  readonly abortGraceMs?: number;
  /** A clock in milliseconds that does not jump, for waiting times. */
  readonly now?: () => number;
}

/** One request that asks for its turn. */
export interface LimitRequest {
  /** The lane to go through. */
  readonly lane: LaneName;
  /** The container whose turn is needed; without one, only the lane counts. */
  readonly containerId?: string;
  /** What makes two requests of a lane the same one; without it, nothing is joined. */
  readonly key?: string;
  /** Calls off what the container's earlier requests still do; for a DEL of the whole container. */
  readonly supersedes?: boolean;
  /** Aborted when the one who asked has gone. */
  readonly signal: AbortSignal;
  /** Time for waiting and working together. */
  readonly timeoutMs: number;
}

/** The daemon's lanes. */
export interface Limits {
  /**
   * Does the work when its turn has come, or joins the same work that is under way. Requests with
   * the same lane and key must be for work of the same type.
   *
   * @throws What the work throws.
   * @throws {CniError} "try again later" when the queue is full, when the time is up, or when a DEL
   * of the container came in between.
   * @throws The signal's reason when the caller goes away.
   */
  run<T>(
    request: LimitRequest,
    work: (signal: AbortSignal) => Promise<T>,
  ): Promise<T>;
  /** To be passed before anything new is attached; GC closes it while plugins go by its list. */
  readonly starts: Gate;
  /** Whether something runs or waits for this container; GC must leave such a container alone. */
  isBusy(containerId: string): boolean;
  /** What each lane is doing now. */
  gauges(): Readonly<Record<LaneName, LaneGauge>>;
  /** Calls off what waits in a lane and has not begun, for shutting down. */
  dropQueued(lane: LaneName, reason: unknown): void;
  /** Aborts everything that waits or runs in a lane, for when shutting down takes too long. */
  abort(lane: LaneName, reason: unknown): void;
  /**
   * Waits until nothing runs or waits in any lane.
   *
   * @throws The signal's reason when it is aborted first.
   */
  settled(signal: AbortSignal): Promise<void>;
}

/** More than the pods of any node (kubelet's default is 110, 500 is the most seen), so only a fault fills it. */
export const WAITING_MAX = 1_000;

/**
 * A plugin that is killed is gone in milliseconds, and undoing has this long at most. A caller that
 * waits for it gets the reason (which plugin hung) instead of "time is up". Deadline and grace
 * together must stay below the runtime's own timeout.
 */
export const ABORT_GRACE_MS = 30_000;

// CHECK is asked for by few runtimes and never in bulk.
const CHECK_SLOTS = 2;

// Each network's plugins get one GC; runtimes send one at start-up, and two at once would only collide.
const GC_SLOTS = 1;

// STATUS runs the plugins' STATUS only seldom (the answer is kept) and must not queue.
const STATUS_SLOTS = 4;

const LANES: readonly LaneName[] = ["add", "delete", "check", "gc", "status"];

/** Makes the daemon's lanes. */
export function createLimits(options: LimitOptions): Limits {
  return new DaemonLimits(options);
}

interface Operation {
  readonly request: LimitRequest;
  readonly controller: AbortController;
  readonly arrivedAt: number;
  callers: number;
  started: boolean;
  outcome: Promise<unknown>;
}

interface ContainerTurn {
  readonly turn: Lane;
  readonly operations: Set<Operation>;
}

class DaemonLimits implements Limits {
  readonly starts = createGate();
  readonly #lanes: Readonly<Record<LaneName, Lane>>;
  readonly #operations = new Set<Operation>();
  readonly #joinable = new Map<string, Operation>();
  readonly #containers = new Map<string, ContainerTurn>();
  readonly #waitingMax: number;
  readonly #abortGraceMs: number;
  readonly #now: () => number;
  readonly #onWait: (lane: LaneName, waitMs: number) => void;
  #idle: PromiseWithResolvers<void> | undefined;

  constructor(options: LimitOptions) {
    this.#waitingMax = options.waitingMax ?? WAITING_MAX;
    this.#abortGraceMs = options.abortGraceMs ?? ABORT_GRACE_MS;
    this.#now = options.now ?? ((): number => performance.now());
    this.#onWait = options.onWait ?? ((): void => {});
    const lane = (name: string, slots: number): Lane =>
      createLane(name, { slots, waitingMax: this.#waitingMax });
    this.#lanes = {
      add: lane("ADD", options.addSlots),
      // As wide as ADD: a node that is drained deletes as many pods at once as it started.
      delete: lane("DEL", options.addSlots),
      check: lane("CHECK", CHECK_SLOTS),
      gc: lane("GC", GC_SLOTS),
      status: lane("STATUS", STATUS_SLOTS),
    };
  }

  async run<T>(
    request: LimitRequest,
    work: (signal: AbortSignal) => Promise<T>,
  ): Promise<T> {
    request.signal.throwIfAborted();
    if (request.supersedes) this.#supersede(request);
    const operation = this.#find(request) ?? this.#begin(request, work);
    return await this.#attend(operation, request) as T;
  }

  isBusy(containerId: string): boolean {
    return this.#containers.has(containerId);
  }

  gauges(): Readonly<Record<LaneName, LaneGauge>> {
    const entries = LANES.map((name) => [name, this.#gauge(name)]);
    return Object.fromEntries(entries);
  }

  dropQueued(lane: LaneName, reason: unknown): void {
    for (const operation of this.#operations) {
      if (operation.request.lane !== lane || operation.started) continue;
      this.#callOff(operation, reason);
    }
  }

  abort(lane: LaneName, reason: unknown): void {
    for (const operation of this.#operations) {
      if (operation.request.lane === lane) this.#callOff(operation, reason);
    }
  }

  async settled(signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    if (this.#operations.size === 0) return;
    this.#idle ??= Promise.withResolvers<void>();
    const gone = Promise.withResolvers<never>();
    const giveUp = (): void => gone.reject(signal.reason);
    signal.addEventListener("abort", giveUp, { once: true });
    try {
      await Promise.race([this.#idle.promise, gone.promise]);
    } finally {
      signal.removeEventListener("abort", giveUp);
    }
  }

  #gauge(name: LaneName): LaneGauge {
    let inFlight = 0;
    let queued = 0;
    for (const { request, started } of this.#operations) {
      if (request.lane !== name) continue;
      if (started) inFlight += 1;
      else queued += 1;
    }
    return { inFlight, queued };
  }

  #find(request: LimitRequest): Operation | undefined {
    const key = joinKey(request);
    return key === undefined ? undefined : this.#joinable.get(key);
  }

  #supersede({ containerId }: LimitRequest): void {
    if (containerId === undefined) return;
    const reason = new CniError(
      ErrorCode.tryAgainLater,
      `Cancelled by a DEL of the same container: ${containerId}`,
    );
    for (
      const operation of this.#containers.get(containerId)?.operations ?? []
    ) {
      if (!operation.request.supersedes) this.#callOff(operation, reason);
    }
  }

  // From here on nobody joins it: who comes now wants the work done, not the work's cancellation.
  #callOff(operation: Operation, reason: unknown): void {
    this.#forget(operation);
    operation.controller.abort(reason);
  }

  #forget(operation: Operation): void {
    const key = joinKey(operation.request);
    if (key !== undefined && this.#joinable.get(key) === operation) {
      this.#joinable.delete(key);
    }
  }

  #begin(
    request: LimitRequest,
    work: (signal: AbortSignal) => Promise<unknown>,
  ): Operation {
    this.#refuseWhenFull(request);
    const operation: Operation = {
      request,
      controller: new AbortController(),
      arrivedAt: this.#now(),
      callers: 0,
      started: false,
      outcome: Promise.resolve(),
    };
    const turn = this.#register(operation);
    operation.outcome = this.#execute(operation, { turn, work })
      .finally(() => this.#unregister(operation));
    // Callers may all have gone when it fails.
    operation.outcome.catch(() => {});
    return operation;
  }

  #refuseWhenFull({ lane }: LimitRequest): void {
    const { queued } = this.#gauge(lane);
    if (queued < this.#waitingMax) return;
    throw new CniError(
      ErrorCode.tryAgainLater,
      `Too many requests are waiting in the lane "${lane}": ${queued}`,
    );
  }

  #register(operation: Operation): Lane | undefined {
    this.#operations.add(operation);
    const key = joinKey(operation.request);
    if (key !== undefined) this.#joinable.set(key, operation);
    const { containerId } = operation.request;
    if (containerId === undefined) return undefined;
    const container = this.#containers.get(containerId) ?? {
      turn: createLane(`container ${containerId}`, {
        slots: 1,
        waitingMax: this.#waitingMax,
      }),
      operations: new Set(),
    };
    this.#containers.set(containerId, container);
    container.operations.add(operation);
    return container.turn;
  }

  #unregister(operation: Operation): void {
    this.#forget(operation);
    this.#operations.delete(operation);
    const { containerId } = operation.request;
    if (containerId !== undefined) {
      const container = this.#containers.get(containerId);
      container?.operations.delete(operation);
      if (container?.operations.size === 0) {
        this.#containers.delete(containerId);
      }
    }
    if (this.#operations.size > 0) return;
    this.#idle?.resolve();
    this.#idle = undefined;
  }

  async #execute(
    operation: Operation,
    { turn, work }: {
      turn: Lane | undefined;
      work: (signal: AbortSignal) => Promise<unknown>;
    },
  ): Promise<unknown> {
    const { signal } = operation.controller;
    const { lane } = operation.request;
    using _turn = await turn?.acquire(signal);
    using _place = await this.#lanes[lane].acquire(signal);
    signal.throwIfAborted();
    operation.started = true;
    this.#onWait(lane, this.#now() - operation.arrivedAt);
    return await work(signal);
  }

  async #attend(
    operation: Operation,
    { signal, timeoutMs }: LimitRequest,
  ): Promise<unknown> {
    const gone = Promise.withResolvers<never>();
    let grace: Disposable | undefined;
    const leave = (reason: unknown): void => {
      deadline[Symbol.dispose]();
      signal.removeEventListener("abort", onAbort);
      operation.callers -= 1;
      if (operation.callers > 0) return gone.reject(reason);
      this.#callOff(operation, reason);
      grace = startTimeLimit(this.#abortGraceMs, () => gone.reject(reason));
    };
    const onAbort = (): void => leave(signal.reason);
    const deadline = startTimeLimit(
      timeoutMs,
      () => leave(timeIsUp(operation, timeoutMs)),
    );
    signal.addEventListener("abort", onAbort, { once: true });
    operation.callers += 1;
    try {
      return await Promise.race([operation.outcome, gone.promise]);
    } finally {
      deadline[Symbol.dispose]();
      grace?.[Symbol.dispose]();
      signal.removeEventListener("abort", onAbort);
    }
  }
}

function joinKey({ lane, key }: LimitRequest): string | undefined {
  return key === undefined ? undefined : `${lane} ${key}`;
}

function timeIsUp(operation: Operation, timeoutMs: number): CniError {
  const doing = operation.started
    ? "the request was not done"
    : "the request was still waiting for its turn, behind those of other pods";
  return new CniError(
    ErrorCode.tryAgainLater,
    `Gave up after ${timeoutMs / 1_000} s: ${doing}`,
    { cause: new DOMException("Request deadline exceeded", "TimeoutError") },
  );
}
