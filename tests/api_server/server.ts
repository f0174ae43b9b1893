/**
 * A stand-in for the Kubernetes API server: a real HTTPS server with its own
 * certificate authority, a bearer token, and as much of the API as a node's CNI
 * daemon uses; and everything that goes wrong with such a server, on demand.
 * `tests/api_server/main.ts` runs it as a process of its own.
 *
 * @module
 */
import {
  type CertificateAuthority,
  type CertificatePair,
  createCertificateAuthority,
  type IssueOptions,
} from "./certificates.ts";
import { createFaults, type Fault, type Faults } from "./faults.ts";
import { type Access, answer, type HandlerContext, verbOf } from "./handler.ts";
import { type Listener, listenHttps } from "./listener.ts";
import { createRequestLog, type RequestLog } from "./request_log.ts";
import {
  findTypeOfManifest,
  parsePath,
  RESOURCE_TYPES,
  type ResourceType,
  type Target,
} from "./resources.ts";
import { isObject } from "./selectors.ts";
import { StatusError, toStatus } from "./status.ts";
import { createStore, type KubeObject, type Store } from "./store.ts";
import type { WatchStream } from "./watch_stream.ts";

/** How the server is to be. */
export interface ApiServerOptions {
  /** Where it listens; 127.0.0.1 when left out. */
  readonly hostname?: string;
  /** A free port is taken when left out. */
  readonly port?: number;
  /** Names and addresses in its certificate besides the usual ones. */
  readonly hosts?: readonly string[];
  /** The token it wants; made up when left out. */
  readonly token?: string;
  /** Manifests to begin with. */
  readonly objects?: readonly unknown[];
  /** Who may do what; everything is allowed when left out. */
  readonly allows?: (access: Access) => boolean;
  /** Approve and sign certificate signing requests at once. */
  readonly signsRequests?: boolean;
  /**
   * Take who shows no token for the owner of a client certificate. Deno's TLS
   * servers (2.9.6) cannot ask for one: that it is shown is another test's to prove.
   */
  readonly takesTokenless?: boolean;
}

/** How a kubeconfig is to say things. */
export interface KubeconfigOptions {
  /** Say the token by this file, which the caller writes. */
  readonly tokenFile?: string;
  /** Say the authority by this file, which the caller writes. */
  readonly caFile?: string;
  /** Another URL than the server's own. */
  readonly server?: string;
}

/** A running stand-in. */
export interface ApiServer extends AsyncDisposable {
  readonly url: string;
  readonly port: number;
  readonly caPem: string;
  readonly token: string;
  readonly log: RequestLog;
  readonly faults: Faults;
  readonly store: Store;
  /** How many watches are open. */
  readonly openWatches: number;
  /** How many requests are not answered yet. */
  readonly inFlight: number;
  kubeconfig(options?: KubeconfigOptions): string;
  /** Creates or replaces the object of a manifest. */
  put(manifest: unknown): KubeObject;
  get(kind: string, name: string, namespace?: string): KubeObject;
  delete(kind: string, name: string, namespace?: string): void;
  list(kind: string, namespace?: string): KubeObject[];
  /** Breaks all watches off. */
  cutWatches(): void;
  /** Ends all watches properly. */
  endWatches(): void;
  sendBookmarks(): void;
  /** Forgets the history: watches from before get "gone". */
  compact(): void;
  /** Stops listening and breaks off every connection; the port stays its own. */
  stop(): Promise<void>;
  /** Listens again after `stop`. */
  start(): Promise<void>;
  /** From now on another token is wanted, which is returned. */
  rotateToken(token?: string): string;
  /** Comes back with another certificate authority. */
  rotateAuthority(): Promise<void>;
  /** Makes a key and a server certificate of the authority. */
  issue(options: IssueOptions): Promise<CertificatePair>;
  /** Signs a PEM certificate signing request, as an approver's controller does. */
  sign(requestPem: string): Promise<string>;
}

const USUAL_HOSTS = [
  "127.0.0.1",
  "::1",
  "localhost",
  "10.96.0.1",
  "kubernetes.default.svc",
];
/** Certificates signed for a node live this long unless the request says more. */
const CLIENT_CERTIFICATE_MS = 24 * 3600 * 1000;

/** Starts a server; needs `net` for the address it listens on. */
export async function startApiServer(
  options: ApiServerOptions = {},
): Promise<ApiServer> {
  const state: ServerState = {
    options,
    store: createStore(),
    watches: new Set(),
    faults: createFaults(),
    log: createRequestLog(),
    token: options.token ?? crypto.randomUUID(),
    port: options.port ?? 0,
    inFlight: 0,
    authority: await createCertificateAuthority("stand-in"),
    pair: { certPem: "", keyPem: "" },
    closing: new AbortController(),
    listener: undefined,
  };
  await issuePair(state);
  for (const manifest of options.objects ?? []) put(state, manifest);
  await listen(state);
  return toApiServer(state);
}

interface ServerState {
  readonly options: ApiServerOptions;
  readonly store: Store;
  readonly watches: Set<WatchStream>;
  readonly faults: Faults;
  readonly log: RequestLog;
  token: string;
  port: number;
  inFlight: number;
  authority: CertificateAuthority;
  pair: CertificatePair;
  closing: AbortController;
  listener: Listener | undefined;
}

function toApiServer(state: ServerState): ApiServer {
  const host = state.options.hostname ?? "127.0.0.1";
  const url = (): string =>
    `https://${host.includes(":") ? `[${host}]` : host}:${state.port}`;
  const stop = (): Promise<void> => stopListening(state);
  const start = (): Promise<void> => listen(state);
  return {
    get url() {
      return url();
    },
    get port() {
      return state.port;
    },
    get caPem() {
      return state.authority.caPem;
    },
    get token() {
      return state.token;
    },
    get openWatches() {
      return state.watches.size;
    },
    get inFlight() {
      return state.inFlight;
    },
    log: state.log,
    faults: state.faults,
    store: state.store,
    kubeconfig: (options = {}) =>
      formatKubeconfig(state, { server: url(), ...options }),
    put: (manifest) => put(state, manifest),
    get: (kind, name, namespace) =>
      state.store.get(keyOf(kind, name, namespace)),
    delete: (kind, name, namespace) =>
      void state.store.remove(keyOf(kind, name, namespace)),
    list: (kind, namespace) => state.store.list(typeOf(kind), namespace),
    cutWatches: () => [...state.watches].forEach((watch) => watch.cut()),
    endWatches: () => [...state.watches].forEach((watch) => watch.end()),
    sendBookmarks: () => state.watches.forEach((watch) => watch.sendBookmark()),
    compact: () => state.store.compact(),
    stop,
    start,
    rotateToken: (token = crypto.randomUUID()) => state.token = token,
    issue: (options) => state.authority.issue(options),
    sign: (requestPem) =>
      state.authority.signRequest(requestPem, {
        validMs: CLIENT_CERTIFICATE_MS,
      }),
    rotateAuthority: async () => {
      state.authority = await createCertificateAuthority("stand-in, rotated");
      await issuePair(state);
      await stop();
      await start();
    },
    [Symbol.asyncDispose]: stop,
  };
}

async function issuePair(state: ServerState): Promise<void> {
  const { hostname = "127.0.0.1", hosts = [] } = state.options;
  state.pair = await state.authority.issue({
    hosts: [...new Set([...USUAL_HOSTS, hostname, ...hosts])],
  });
}

async function listen(state: ServerState): Promise<void> {
  state.closing = new AbortController();
  state.listener = await listenHttps({
    hostname: state.options.hostname ?? "127.0.0.1",
    port: state.port,
    pair: state.pair,
    handle: (request) => handle(state, request),
  });
  state.port = state.listener.port;
}

async function stopListening(state: ServerState): Promise<void> {
  for (const watch of [...state.watches]) watch.cut();
  state.closing.abort();
  await state.listener?.close();
  state.listener = undefined;
}

async function handle(
  state: ServerState,
  request: Request,
): Promise<Response | undefined> {
  const { pathname, search } = new URL(request.url);
  const open = await answerUnauthenticated(state, request, pathname);
  if (open !== undefined) return open;
  const target = parsePath(pathname);
  const verb = target === undefined
    ? request.method.toLowerCase()
    : verbOf(request, target);
  const subject = subjectOf(verb, pathname, target);
  const record = (code: number): void =>
    state.log.add({
      ...subject,
      query: search,
      code,
      userAgent: request.headers.get("user-agent") ?? "",
      token: request.headers.get("authorization") ?? "",
      at: Date.now(),
    });
  state.inFlight += 1;
  try {
    const response = await respond(state, request, { subject, target });
    record(response?.status ?? 0);
    return response;
  } catch (error) {
    const status = toStatusError(error);
    record(status.code);
    return statusResponse(status, status.details.retryAfterSeconds);
  } finally {
    state.inFlight -= 1;
  }
}

type Subject = Access & { readonly name?: string };

function subjectOf(
  verb: string,
  path: string,
  target: Target | undefined,
): Subject {
  if (target === undefined) return { verb, group: "", resource: path };
  const { namespace, name, subresource } = target;
  return {
    verb,
    group: target.type.group,
    resource: target.type.plural,
    ...(namespace === undefined ? {} : { namespace }),
    ...(name === undefined ? {} : { name }),
    ...(subresource === undefined ? {} : { subresource }),
  };
}

async function respond(
  state: ServerState,
  request: Request,
  options: { subject: Subject; target: Target | undefined },
): Promise<Response | undefined> {
  const { subject, target } = options;
  const authorization = request.headers.get("authorization");
  const isTaken = authorization === `Bearer ${state.token}` ||
    (authorization === null && state.options.takesTokenless === true);
  if (!isTaken) {
    throw new StatusError(401, "Unauthorized");
  }
  const fault = state.faults.take(subject);
  if (fault !== undefined) await applyFault(state, fault);
  if (fault?.drop) return undefined;
  if (fault?.cut && subject.verb !== "watch") return cutResponse();
  if (target === undefined) {
    throw new StatusError(
      404,
      "the server could not find the requested resource",
    );
  }
  if (state.options.allows?.(subject) === false) {
    throw new StatusError(
      403,
      `${subject.resource} is forbidden: cannot ${subject.verb} resource`,
    );
  }
  return await answer(contextOf(state), request, {
    target,
    fault: {
      cutAfterFirst: fault?.cut ?? false,
      expire: fault?.expireWatch ?? false,
    },
  });
}

function contextOf(state: ServerState): HandlerContext {
  return {
    store: state.store,
    watches: state.watches,
    allows: state.options.allows ?? (() => true),
    ...(state.options.signsRequests
      ? {
        sign: (pem: string, { seconds }: { seconds?: number }) =>
          state.authority.signRequest(pem, {
            validMs: seconds === undefined
              ? CLIENT_CERTIFICATE_MS
              : seconds * 1000,
          }),
      }
      : {}),
  };
}

async function applyFault(state: ServerState, fault: Fault): Promise<void> {
  if (fault.hang) await pause(undefined, state.closing.signal);
  if (fault.delayMs !== undefined) {
    await pause(fault.delayMs, state.closing.signal);
  }
  if (fault.status === undefined) return;
  throw new StatusError(
    fault.status,
    fault.message ?? `answered ${fault.status} on purpose`,
    {
      details: fault.retryAfterS === undefined
        ? {}
        : { retryAfterSeconds: fault.retryAfterS },
    },
  );
}

/** A response that promises a body and breaks off within it. */
function cutResponse(): Response {
  const body = new ReadableStream<Uint8Array>({
    start: (controller) =>
      controller.enqueue(new TextEncoder().encode('{"kind":')),
    pull: (controller) =>
      controller.error(new StatusError(500, "answer cut on purpose")),
  });
  return new Response(body, {
    headers: { "content-type": "application/json" },
  });
}

async function answerUnauthenticated(
  state: ServerState,
  request: Request,
  path: string,
): Promise<Response | undefined> {
  if (path === "/readyz" || path === "/livez" || path === "/healthz") {
    return new Response("ok");
  }
  if (path === "/version") {
    return Response.json({
      major: "1",
      minor: "36",
      gitVersion: "v1.36.0-stand-in",
    });
  }
  if (!path.startsWith("/stand-in/")) return undefined;
  return await answerControl(state, request, path);
}

/** The stand-in's own routes, for a test that runs it as another process. */
async function answerControl(
  state: ServerState,
  request: Request,
  path: string,
): Promise<Response> {
  switch (`${request.method} ${path}`) {
    case "GET /stand-in/counters":
      return Response.json(state.log.counters);
    case "GET /stand-in/requests":
      return Response.json(state.log.records);
    case "DELETE /stand-in/requests":
      state.log.clear();
      return new Response(null, { status: 204 });
    case "POST /stand-in/faults":
      state.faults.add(await request.json() as Fault);
      return new Response(null, { status: 204 });
    case "DELETE /stand-in/faults":
      state.faults.clear();
      return new Response(null, { status: 204 });
    case "POST /stand-in/cut-watches":
      for (const watch of [...state.watches]) watch.cut();
      return new Response(null, { status: 204 });
    case "PUT /stand-in/objects":
      return Response.json(put(state, await request.json()));
    default:
      return statusResponse(
        new StatusError(404, `no such control: ${request.method} ${path}`),
      );
  }
}

function put(state: ServerState, manifest: unknown): KubeObject {
  if (!isObject(manifest) || !isObject(manifest.metadata)) {
    throw new TypeError("Manifest is not an object");
  }
  const type = findTypeOfManifest(
    String(manifest.apiVersion),
    String(manifest.kind),
  );
  if (type === undefined) {
    throw new RangeError(
      `Kind is not served: ${manifest.apiVersion} ${manifest.kind}`,
    );
  }
  const namespace = type.namespaced
    ? { namespace: String(manifest.metadata.namespace ?? "default") }
    : {};
  const object = {
    ...manifest,
    metadata: { ...manifest.metadata, ...namespace },
  };
  return state.store.put(type, object as unknown as KubeObject);
}

function typeOf(kind: string): ResourceType {
  const type = RESOURCE_TYPES.find((type) => type.kind === kind);
  if (type === undefined) throw new RangeError(`Kind is not served: ${kind}`);
  return type;
}

function keyOf(
  kind: string,
  name: string,
  namespace?: string,
): { type: ResourceType; name: string; namespace?: string } {
  const type = typeOf(kind);
  return {
    type,
    name,
    ...(type.namespaced ? { namespace: namespace ?? "default" } : {}),
  };
}

function formatKubeconfig(
  state: ServerState,
  options: KubeconfigOptions,
): string {
  const authority = options.caFile === undefined
    ? `certificate-authority-data: ${btoa(state.authority.caPem)}`
    : `certificate-authority: ${options.caFile}`;
  const token = options.tokenFile === undefined
    ? `token: ${state.token}`
    : `tokenFile: ${options.tokenFile}`;
  return `apiVersion: v1
kind: Config
clusters:
- name: stand-in
  cluster:
    server: ${options.server}
    ${authority}
contexts:
- name: stand-in
  context:
    cluster: stand-in
    user: stand-in
current-context: stand-in
users:
- name: stand-in
  user:
    ${token}
`;
}

function toStatusError(error: unknown): StatusError {
  if (error instanceof StatusError) return error;
  return new StatusError(
    500,
    error instanceof Error ? error.message : String(error),
  );
}

function statusResponse(error: StatusError, retryAfterS?: unknown): Response {
  const headers: HeadersInit = retryAfterS === undefined
    ? {}
    : { "retry-after": String(retryAfterS) };
  return Response.json(toStatus(error), { status: error.code, headers });
}

/** Waits for a time, or for ever, but not beyond the server's end. */
function pause(ms: number | undefined, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = ms === undefined ? undefined : setTimeout(() => {
      signal.removeEventListener("abort", stop);
      resolve();
    }, ms);
    const stop = (): void => {
      clearTimeout(timer);
      reject(new StatusError(503, "the server is stopping"));
    };
    if (signal.aborted) stop();
    else signal.addEventListener("abort", stop, { once: true });
  });
}
