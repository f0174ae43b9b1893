/**
 * Puts the daemon together from its configuration: what plugins run with, the
 * link to the cluster, records, lanes, the socket; and takes it apart in the
 * reverse order. Each part is in a module of its own; here they meet.
 *
 * Needs the permissions of `multus-daemon` in `lib/grants.ts`.
 */
import { CniError, ErrorCode } from "../cni/error.ts";
import { createDirectExec, type Exec } from "../cni/exec.ts";
import type { PluginEvent, Runtime } from "../cni/list.ts";
import { createResultCache, type ResultCache } from "../cni/result_cache.ts";
import { createDeviceAllocator } from "../devices/allocation.ts";
import { createDeviceInfoFiles } from "../devices/device_info.ts";
import { createDefaultRoutes } from "../host/default_routes.ts";
import { createHostRootExec } from "../host/host_root_exec.ts";
import { createLog, type Log, type LogSetup } from "../log.ts";
import { type AutoConfigEvent, startAutoConfig } from "./auto_config.ts";
import { readBootId } from "./boot_id.ts";
import {
  type ClusterLinks,
  createClusterLinks,
  NODE_NAME_ENV,
} from "./cluster_link.ts";
import {
  type DaemonConf,
  loadDaemonConf,
  mergeConf,
  type MultusConf,
  parseShimConf,
} from "./configuration.ts";
import type { DaemonFlags } from "./daemon_flags.ts";
import {
  createDeferredResults,
  type DeferredResults,
  restoreResults,
} from "./deferred_results.ts";
import { createDispatch } from "./dispatch.ts";
import { withFoundPlugins } from "./found_plugins.ts";
import { createLimits } from "./limits.ts";
import { type OperationParts, UNDO_MS } from "./operations.ts";
import { withPassthru } from "./passthru.ts";
import { withOwnPath } from "./plugin_path.ts";
import {
  clusterProbe,
  configurationProbe,
  countRequest,
  createStatus,
  observeByMetrics,
  type Observed,
} from "./observation.ts";
import { toNodeEvent } from "./node_events.ts";
import { createPublisher } from "./publisher.ts";
import {
  createReadiness,
  type Readiness,
  waitForIndicator,
} from "./readiness.ts";
import { reconcile } from "./reconcile.ts";
import { createRecords, type Records } from "./records.ts";
import {
  type Call,
  type Check,
  createHandler,
  type Operations,
  type Served,
} from "./server.ts";
import { startQuietCollection } from "./quiet_collection.ts";
import { ShuttingDownError } from "./shutting_down.ts";
import { isServed, serveSocket } from "./socket.ts";
import { defaultAddSlots, readMachine } from "./slots.ts";
import { createSpool } from "./spool.ts";
import { startSpoolWorker } from "./spool_worker.ts";
import { createTracer } from "../wire/tracing.ts";
import { withSpans } from "./plugin_spans.ts";
import { socketPathIn, spoolDirIn } from "../wire/places.ts";
import { CNI_ROUTE } from "../wire/request.ts";

/** What the daemon needs of its process. */
export interface DaemonSurroundings {
  /** Reads one variable of the environment. */
  readonly env: (name: string) => string | undefined;
  /** Writes to standard error. */
  readonly stderr: (text: string) => void;
}

/** A daemon that serves. */
export interface Daemon extends AsyncDisposable {
  /** Reads the configuration again: the log's level is changed at once, the rest with the next start. */
  reload(flags: DaemonFlags): Promise<void>;
}

/** Plugins in the host root when there is one, else in this root. */
function createExec(conf: DaemonConf): Exec {
  const delegateExec = `${conf.libexecDir}/delegate-exec`;
  return withPassthru(
    conf.chrootDir === undefined
      ? withOwnPath(
        createDirectExec({ endDelegate: delegateExec }),
        conf.cniDir,
      )
      : createHostRootExec({ hostRoot: conf.chrootDir, delegateExec }),
  );
}

function logPlugin({ log }: Call, event: PluginEvent): void {
  const fields = {
    network: event.network,
    interface: event.ifname,
    plugin: event.type,
    durationMs: Math.round(event.durationMs),
  };
  if (event.error === undefined) {
    log.debug(`Plugin ${event.type} did ${event.command}`, fields);
  } else log.verbose(event.error.message, fields);
}

interface ResultCaches {
  readonly cacheIn: (cacheDir: string) => DeferredResults;
  /** Writes what waits in any of them. */
  readonly flush: () => Promise<void>;
}

/** One result cache for each state directory that configurations name; there is one, as a rule. */
function createResultCaches(log: Log): ResultCaches {
  const caches = new Map<string, DeferredResults>();
  return {
    cacheIn: (cacheDir) => {
      const cache = caches.get(cacheDir) ??
        createDeferredResults(createResultCache(cacheDir), log);
      caches.set(cacheDir, cache);
      return cache;
    },
    flush: async () => {
      for (const cache of caches.values()) await cache.flush();
    },
  };
}

/** What a request's plugins run with: the extra directory first, each directory once. */
function runtimeFor(
  { exec, cacheIn }: {
    exec: Exec;
    cacheIn: (cacheDir: string) => ResultCache;
  },
  conf: MultusConf,
  options: { call: Call; observed: Observed },
): Runtime {
  const { call, observed } = options;
  const own = withFoundPlugins(exec);
  const dirs = [conf.binDir, ...call.args.path.split(":")].filter((dir) =>
    dir !== ""
  );
  return {
    exec: call.span === undefined ? own : withSpans(own, call.span),
    pluginDirs: [...new Set(dirs)],
    cache: cacheIn(conf.cniDir),
    pluginTimeoutMs: conf.pluginTimeoutMs,
    env: call.trace,
    onPlugin: (event) => {
      call.tally.pluginMs += event.durationMs;
      observed.metrics?.plugin(event);
      logPlugin(call, event);
    },
    onCacheDamage: (error) => call.log.error(error.message),
  };
}

/** The one line that every call has, and whatever was refused before it was one. */
function logServed(daemonLog: Log, served: Served): void {
  const { command = "Request", error, handler, log = daemonLog, tally } =
    served;
  const fields = {
    handler,
    durationMs: Math.round(served.durationMs),
    ...(tally === undefined ? {} : {
      pluginMs: Math.round(tally.pluginMs),
      waitMs: Math.round(tally.waitMs),
    }),
  };
  if (error === undefined) {
    if (served.command !== undefined) log.verbose(`${command} done`, fields);
    return;
  }
  const message = `${command} failed: ${error.msg}`;
  const more = { ...fields, code: error.code };
  // Runtimes ask for STATUS every few seconds, and "not ready" is an answer.
  if (command === "STATUS") log.verbose(message, more);
  else log.error(message, more);
}

/** Whose version it is that calls: an old shim beside a new daemon explains much. */
function noteClient(observed: Observed, { handler, client }: Served): void {
  if (handler !== CNI_ROUTE || client === undefined) return;
  observed.lastClient = client.slice(0, CLIENT_LENGTH_MAX);
}

/** Longer than any name with a version; who calls is not to fill the status. */
const CLIENT_LENGTH_MAX = 64;

function logOptionsOf(conf: DaemonConf): Parameters<typeof createLog>[0] {
  const { logLevel, logToStderr, logFormat, logFile, logOptions } = conf;
  return {
    level: logLevel,
    format: logFormat,
    toStderr: logToStderr,
    ...(logFile === undefined ? {} : { file: logFile, rotation: logOptions }),
  };
}

interface Core {
  readonly conf: DaemonConf;
  readonly surroundings: DaemonSurroundings;
  readonly logging: LogSetup;
  readonly readiness: Readiness;
  readonly stack: AsyncDisposableStack;
}

/** The records, and results that are missing beside them. */
async function loadRecords(
  conf: DaemonConf,
  { cacheIn, log }: Pick<ResultCaches, "cacheIn"> & { log: Log },
): Promise<{ records: Records; bootId: string }> {
  await Deno.mkdir(conf.socketDir, { recursive: true, mode: 0o700 });
  const { bootId, isNew } = await readBootId(conf.socketDir);
  const records = createRecords({ dir: conf.cniDir, bootId });
  await records.load({ isNewBoot: isNew });
  // Without one of its own, each request may bring another directory for results, and the record does not say
  // which. Beside a daemon that serves, this one will be refused, and what looks lost is still to be written.
  const isOwn = conf.document.values.cniDir !== undefined;
  if (isOwn && !await isServed(socketPathIn(conf.socketDir))) {
    await restoreResults(cacheIn(conf.cniDir), { records, bootId, log });
  }
  return { records, bootId };
}

/** The parts that every request works with. */
async function createParts(
  core: Core,
): Promise<{ parts: OperationParts; observed: Observed }> {
  const { conf, surroundings, logging, readiness, stack } = core;
  const { log } = logging;
  const { cacheIn, flush } = createResultCaches(log);
  // After the last request and before the log ends.
  stack.defer(flush);
  const tools = { exec: createExec(conf), cacheIn };
  const { serviceAccountDir, perNodeCertificate } = conf;
  const links = stack.use(createClusterLinks({
    env: surroundings.env,
    log,
    ...(serviceAccountDir === undefined ? {} : { serviceAccountDir }),
    ...(perNodeCertificate === undefined
      ? {}
      : { nodeCertificate: perNodeCertificate }),
    onRequest: (event) => countRequest(observed, event),
  }));
  const deviceInfo = createDeviceInfoFiles(conf.deviceInfoDir);
  const { records, bootId } = await loadRecords(conf, { cacheIn, log });
  const spool = createSpool(spoolDirIn(conf.cniDir));
  const limits = createLimits({
    addSlots: addSlotsOf(conf),
    onWait: (lane, waitMs) => observed.metrics?.waited(lane, waitMs),
  });
  const observed: Observed = {
    conf,
    readiness,
    links,
    limits,
    records,
    pendingTeardowns: () => 0,
    early: [],
  };
  await links.begin(conf);
  readiness.watch(() => certificateProbe(links));
  readiness.watch(() => clusterProbe(observed));
  readiness.watch(() => configurationProbe(observed));
  const parts: OperationParts = {
    confOf: (stdin) => mergeConf(parseShimConf(stdin), conf),
    nodeConf: () => conf,
    linkOf: (requestConf) => links.of(requestConf),
    runtimeOf: (requestConf, call) =>
      runtimeFor(tools, requestConf, { call, observed }),
    records,
    bootId,
    limits,
    nodeName: surroundings.env(NODE_NAME_ENV) ?? "",
    devices: createDeviceAllocator({
      podResourcesSocket: conf.podResourcesSocket,
      checkpointFile: conf.deviceCheckpoint,
    }),
    deviceInfo,
    defaultRoutes: createDefaultRoutes(`${conf.libexecDir}/default-route`),
    publisher: createPublisher({ deviceInfo, log }),
    isEnding: () => readiness.isShuttingDown,
    spool,
    waitForDefaultNetwork: ({ readinessIndicatorFile }, signal) =>
      readinessIndicatorFile === undefined
        ? Promise.resolve()
        : waitForIndicator(readinessIndicatorFile, signal),
    log,
  };
  return { parts, observed };
}

/** A node whose certificate is not approved yet cannot ask for a pod's networks. */
function certificateProbe({ waitingFor }: ClusterLinks): Check {
  return {
    name: "certificate",
    ok: waitingFor === undefined,
    reason: waitingFor ?? "credentials are there",
  };
}

function addSlotsOf(conf: DaemonConf): number {
  const { addConcurrency, connectionLimit } = conf;
  if (addConcurrency !== undefined) return addConcurrency;
  return defaultAddSlots({
    ...readMachine(),
    ...(connectionLimit === undefined ? {} : { connectionLimit }),
  });
}

/**
 * Starts the daemon: it serves when this returns, and becomes ready when its
 * caches are complete. Disposing of it answers what is under way and ends it.
 *
 * @throws {SocketInUseError} when another daemon serves the socket.
 * @throws {CniError} when the configuration cannot be used.
 */
export async function startDaemon(
  conf: DaemonConf,
  surroundings: DaemonSurroundings,
): Promise<Daemon> {
  await using stack = new AsyncDisposableStack();
  const logging = stack.use(await createLog(logOptionsOf(conf)));
  const { log } = logging;
  for (const warning of conf.warnings) log.error(warning);
  const readiness = createReadiness();
  const { parts, observed } = await createParts({
    conf,
    surroundings,
    logging,
    readiness,
    stack,
  });
  const operations: Operations = createDispatch(
    parts,
    () => readiness.checks(),
  );
  const tracer = createTracer();
  const collection = stack.use(startQuietCollection());
  const server = await serveSocket(
    conf.socketDir,
    createHandler({
      operations,
      log,
      ...(tracer === undefined ? {} : { tracer }),
      readiness: () => readiness.checks(),
      status: createStatus(observed),
      onServed: (served) => {
        observed.metrics?.served(served);
        noteClient(observed, served);
        // Runtimes ask for STATUS every few seconds, and it leaves little behind.
        if (served.command !== "STATUS" && served.command !== undefined) {
          collection.noteWork();
        }
        logServed(log, served);
      },
    }),
  );
  stack.defer(() => server.shutdown());
  // Another daemon that runs would have refused us by now.
  await createResultCache(conf.cniDir).tidy();
  const spoolWorker = stack.use(startSpoolWorker(parts));
  observed.pendingTeardowns = () => spoolWorker.pending();
  stack.use(await observeByMetrics(observed, log));
  stack.use(reconcileInBackground(parts, observed));
  await keepConfiguration(observed, { stack, log });
  log.verbose("Serving", { socket: server.path });
  const kept = stack.move();
  return {
    reload: (flags) => reload(flags, logging, observed),
    [Symbol.asyncDispose]: async () => {
      readiness.shutDown();
      await drain(parts, conf.shutdownTimeoutMs);
      await parts.publisher.settled();
      await kept.disposeAsync();
    },
  };
}

/** Lets what runs come to its end, while DEL is still served; what takes too long is ended, and undone. */
async function drain(parts: OperationParts, timeoutMs: number): Promise<void> {
  const { limits, log } = parts;
  const reason = new CniError(
    ErrorCode.tryAgainLater,
    "The daemon is shutting down",
  );
  limits.dropQueued("add", new ShuttingDownError());
  try {
    await limits.settled(AbortSignal.timeout(timeoutMs));
  } catch {
    log.error(
      "Operations were ended, because they took too long to finish before the daemon ends",
    );
    for (const lane of ["add", "check", "gc", "status"] as const) {
      limits.abort(lane, reason);
    }
    // What is aborted undoes what it began; past that time Kubernetes kills the process anyway.
    await limits.settled(AbortSignal.timeout(UNDO_MS)).catch(() => {});
  }
}

/** Keeps the runtimes' configuration, where one is generated; only a daemon that serves asks for pods. */
async function keepConfiguration(
  observed: Observed,
  { stack, log }: { stack: AsyncDisposableStack; log: Log },
): Promise<void> {
  observed.autoConfig = stack.use(
    await startAutoConfig({
      conf: observed.conf,
      onEvent: (event) => tellConfiguration(observed, event, log),
    }),
  );
}

/** In the log, and on the node what pods will suffer from. */
function tellConfiguration(
  { links }: Observed,
  event: AutoConfigEvent,
  log: Log,
): void {
  const { message, isWarning } = event;
  if (isWarning) log.error(message);
  else log.verbose(message);
  const said = toNodeEvent(event);
  // Other links only read; without any there is nobody to tell.
  if (said !== undefined) links.list()[0]?.cluster.postNodeEvent(said);
}

/** Puts right what a crash left, beside the requests, until it is done or the daemon ends. */
function reconcileInBackground(
  parts: OperationParts,
  observed: Observed,
): AsyncDisposable {
  const ending = new AbortController();
  const done = reconcile(parts, ending.signal).then(
    (found) => {
      observed.reconciled = found;
      parts.log.verbose("Records are in order", { ...found });
    },
    (error: unknown) => {
      if (ending.signal.aborted) return;
      const reason = error instanceof Error ? error.message : String(error);
      parts.log.error(`Cannot compare records and pods: ${reason}`);
    },
  );
  return {
    async [Symbol.asyncDispose](): Promise<void> {
      ending.abort();
      await done;
    },
  };
}

async function reload(
  flags: DaemonFlags,
  logging: LogSetup,
  observed: Observed,
): Promise<void> {
  try {
    const conf = await loadDaemonConf(flags.configPath, flags);
    logging.setLevel(conf.logLevel);
    await observed.autoConfig?.reconfigure(conf);
    logging.log.verbose("Configuration read again", {
      logLevel: conf.logLevel,
    });
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    logging.log.error(
      `The configuration cannot be read again, the old one holds: ${reason}`,
    );
  }
}
