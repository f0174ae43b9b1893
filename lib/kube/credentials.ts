/**
 * Who this node is to the API server, and how the server is recognized: a
 * kubeconfig, or what a pod is given. Tokens, keys and authorities in files are
 * looked at again while they are in use, because all of them are rotated. What is
 * missing, empty or half-written is not taken: the last good one serves on.
 *
 * Requests are `lib/kube/api.ts`'s; this module makes the HTTP client they go through.
 *
 * @module
 */
import {
  type CredentialSources,
  type Env,
  inClusterSources,
  SERVICE_ACCOUNT_DIR,
  type TextSource,
} from "./credential_sources.ts";
import { certificateExpiryMs, tokenExpiryMs } from "./credential_expiry.ts";
import { CredentialsError } from "./error.ts";
import { parseKubeconfig } from "./kubeconfig.ts";
import { withoutProxyEnvironment } from "./proxy_environment.ts";

/** What one request needs. */
export interface Connection {
  /** The server's URL without a slash at the end. */
  readonly server: string;
  /** Who is asking. */
  readonly headers: Readonly<Record<string, string>>;
  /** Trusts the server's authority, and shows the client's certificate. */
  readonly client: Deno.HttpClient;
}

/** Credentials that keep themselves fresh. */
export interface Credentials extends Disposable {
  /** The server's URL, for messages and grants. */
  readonly server: string;
  /** The present connection; files are looked at again if it is time. */
  connect(): Promise<Connection>;
  /** Says that the server did not take what this connection gave: the next `connect` reads all files. */
  distrust(connection: Connection): void;
  /** Says that this connection went dead: the next `connect` begins with new sockets. */
  reconnect(connection: Connection): void;
  /** Why the files were not taken when they were last read, if so. */
  readonly problem: string | undefined;
  /** Until when token and certificate are good, by what they say, in milliseconds since 1970. */
  readonly expiresAtMs: number | undefined;
}

/** Where credentials come from. */
export interface CredentialsOptions {
  /** A kubeconfig file; without it this must be a pod. */
  readonly kubeconfig?: string;
  /** The environment, for what a pod is told by it. */
  readonly env: Env;
  /** Another directory than a pod's own, for tests. */
  readonly serviceAccountDir?: string;
  /** How old a look at the files may be. */
  readonly freshMs?: number;
  /** The clock. */
  readonly now?: () => number;
}

/**
 * The kubelet swaps a token after 80 % of its life, of ten minutes at least, so
 * there are two minutes to notice; and reading three small files costs nothing.
 */
const FRESH_MS = 10_000;
/** A certificate bundle with every authority there is has 250 kB. */
const FILE_BYTES_MAX = 1_000_000;
/** As long as watches and a few reads need; each idle connection holds TLS buffers. */
const IDLE_CONNECTIONS_MAX = 4;
/** Below the idle timeout of load balancers, which drop connections without a word. */
const IDLE_CONNECTION_MS = 50_000;

/**
 * Loads credentials. Needs `read` for the kubeconfig and every file it names, or
 * for the service account's directory; `env` for `IN_CLUSTER_ENV` and `PROXY_ENV`.
 *
 * @throws {CredentialsError} when there are none that can be used
 */
export async function loadCredentials(
  options: CredentialsOptions,
): Promise<Credentials> {
  const state = await startState(options);
  const { freshMs = FRESH_MS, now = Date.now } = options;
  let lookedAt = now();
  let looking: Promise<void> | undefined;

  const look = async (): Promise<void> => {
    try {
      await refresh(state, options);
      state.problem = undefined;
    } catch (error) {
      state.problem = error instanceof Error ? error.message : String(error);
    }
    lookedAt = now();
  };
  return {
    get server() {
      return state.sources.server;
    },
    get problem() {
      return state.problem;
    },
    get expiresAtMs() {
      return expiryOf(state.material);
    },
    connect: async () => {
      if (now() - lookedAt >= freshMs) {
        looking ??= look().finally(() => looking = undefined);
        await looking;
      }
      return state.connection;
    },
    distrust: (connection) => {
      if (connection === state.connection) lookedAt = -Infinity;
    },
    reconnect: ({ client }) => {
      if (client !== state.connection.client) return;
      const connection = makeConnection(state.sources, state.material);
      retire(state);
      state.connection = connection;
    },
    [Symbol.dispose]: () => {
      closeRetired(state);
      state.connection.client.close();
    },
  };
}

interface State {
  text: string | undefined;
  sources: CredentialSources;
  material: Material;
  connection: Connection;
  /** Clients replaced, kept for requests that took them a moment ago. */
  retired: Deno.HttpClient[];
  problem: string | undefined;
}

async function startState(options: CredentialsOptions): Promise<State> {
  const { text, sources } = await readSources(options, undefined);
  const material = await readMaterial(sources);
  const connection = makeConnection(sources, material);
  return {
    text,
    sources,
    material,
    connection,
    retired: [],
    problem: undefined,
  };
}

async function refresh(
  state: State,
  options: CredentialsOptions,
): Promise<void> {
  const { text, sources } = await readSources(options, state);
  const material = await readMaterial(sources);
  const old = state.material;
  const sameClient = sources.server === state.sources.server &&
    sources.proxyUrl === state.sources.proxyUrl && material.ca === old.ca &&
    material.cert === old.cert && material.key === old.key;
  if (sameClient) {
    const { client } = state.connection;
    if (material.token === old.token) return;
    state.connection = { ...toRequestParts(sources, material), client };
  } else {
    const connection = makeConnection(sources, material);
    retire(state);
    state.connection = connection;
  }
  Object.assign(state, { text, sources, material });
}

/** Closes the one before the last: a request may just have taken the last. */
function retire(state: State): void {
  closeRetired(state);
  state.retired.push(state.connection.client);
}

function closeRetired(state: State): void {
  for (const client of state.retired.splice(0)) client.close();
}

interface LoadedSources {
  readonly text: string | undefined;
  readonly sources: CredentialSources;
}

async function readSources(
  options: CredentialsOptions,
  known: LoadedSources | undefined,
): Promise<LoadedSources> {
  const { kubeconfig, env, serviceAccountDir = SERVICE_ACCOUNT_DIR } = options;
  if (kubeconfig === undefined) {
    return {
      text: undefined,
      sources: inClusterSources(env, serviceAccountDir),
    };
  }
  const text = await readFile(kubeconfig);
  if (known !== undefined && text === known.text) return known;
  return { text, sources: await parseKubeconfig(text, kubeconfig) };
}

/** The texts themselves. */
interface Material {
  readonly ca: string | undefined;
  readonly cert: string | undefined;
  readonly key: string | undefined;
  readonly token: string | undefined;
}

async function readMaterial(sources: CredentialSources): Promise<Material> {
  const [ca, cert, key, token] = await Promise.all([
    readPem(sources.ca, CERTIFICATE),
    readPem(sources.cert, CERTIFICATE),
    readPem(sources.key, PRIVATE_KEY),
    readToken(sources.token),
  ]);
  if ((cert === undefined) !== (key === undefined)) {
    throw new CredentialsError(
      "Client certificate and client key belong together, but only one is given",
    );
  }
  return { ca, cert, key, token };
}

/** The first of those that end. */
function expiryOf({ cert, token }: Material): number | undefined {
  const ends = [
    cert === undefined ? undefined : certificateExpiryMs(cert),
    token === undefined ? undefined : tokenExpiryMs(token),
  ].filter((end) => end !== undefined);
  return ends.length === 0 ? undefined : Math.min(...ends);
}

const CERTIFICATE =
  /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g;
const PRIVATE_KEY =
  /-----BEGIN (?:\w+ )?PRIVATE KEY-----[^-]+-----END (?:\w+ )?PRIVATE KEY-----/g;

/** Only whole blocks count: the file may be written at this moment, or hold both certificate and key. */
async function readPem(
  source: TextSource | undefined,
  block: RegExp,
): Promise<string | undefined> {
  if (source === undefined) return undefined;
  const text = "file" in source ? await readFile(source.file) : source.text;
  const blocks = text.match(block) ?? [];
  if (blocks.length > 0) return `${blocks.join("\n")}\n`;
  const where = "file" in source ? source.file : "in the kubeconfig";
  throw new CredentialsError(`No certificate or key in PEM form: ${where}`);
}

async function readToken(
  source: TextSource | undefined,
): Promise<string | undefined> {
  if (source === undefined) return undefined;
  const token = ("file" in source ? await readFile(source.file) : source.text)
    .trim();
  if (/^[\x21-\x7e]+$/.test(token)) return token;
  const where = "file" in source ? source.file : "in the kubeconfig";
  throw new CredentialsError(`Token is empty or not one word: ${where}`);
}

async function readFile(path: string): Promise<string> {
  let text: string;
  try {
    text = await Deno.readTextFile(path);
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new CredentialsError(`Cannot read ${path}: ${reason}`, { cause });
  }
  if (text.length > FILE_BYTES_MAX) {
    throw new CredentialsError(`Credential file is too big: ${path}`);
  }
  return text;
}

function makeConnection(
  sources: CredentialSources,
  material: Material,
): Connection {
  const { ca, cert, key } = material;
  const { proxyUrl } = sources;
  try {
    const client = withoutProxyEnvironment(() =>
      Deno.createHttpClient({
        ...(ca === undefined ? {} : { caCerts: [ca] }),
        ...(cert === undefined || key === undefined ? {} : { cert, key }),
        ...(proxyUrl === undefined ? {} : { proxy: { url: proxyUrl } }),
        // One connection for all, as HTTP/2 has it, would take every request down
        // with it when it dies silently, and nothing here can probe it.
        http2: false,
        poolMaxIdlePerHost: IDLE_CONNECTIONS_MAX,
        poolIdleTimeout: IDLE_CONNECTION_MS,
      })
    );
    return { ...toRequestParts(sources, material), client };
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new CredentialsError(
      `Certificates cannot be used: ${reason}`,
      { cause },
    );
  }
}

function toRequestParts(
  sources: CredentialSources,
  material: Material,
): Omit<Connection, "client"> {
  const { basic, impersonate, server } = sources;
  const authorization = material.token !== undefined
    ? { authorization: `Bearer ${material.token}` }
    : basic !== undefined
    ? { authorization: `Basic ${btoa(`${basic.username}:${basic.password}`)}` }
    : {};
  const as = impersonate === undefined
    ? {}
    : { "impersonate-user": impersonate };
  return { server, headers: { ...authorization, ...as } };
}
