/**
 * What a kubeconfig says about one cluster and one user. The library's own readers
 * of clusters, users and contexts do the reading; they are what its `KubeConfig` is
 * made of, without the HTTP and WebSocket clients that come with that class (99 MB
 * of resident memory against 49 MB, bundled). Programs and identity providers that
 * fetch credentials are refused: a node's agent has a token or a certificate, and
 * this process may run no such program.
 *
 * @module
 */
import { dirname, resolve } from "node:path";
import type { CredentialSources, TextSource } from "./credential_sources.ts";
import { CredentialsError } from "./error.ts";

type Readers = typeof import("./kubeconfig_readers.ts").default;
type Cluster = ReturnType<Readers["newClusters"]>[number];
type User = ReturnType<Readers["newUsers"]>[number];

/**
 * Reads the current context of a kubeconfig. Files named in it are relative to it.
 *
 * @throws {CredentialsError} when it cannot be parsed, names what is not there, or wants what is not supported
 */
export async function parseKubeconfig(
  text: string,
  path: string,
): Promise<CredentialSources> {
  const { default: readers } = await import("./kubeconfig_readers.ts");
  const document = parseDocument(text, { readers, path });
  const entries = readEntries(document, { readers, path });
  const { cluster, user } = selectCurrent(entries, path);
  const rawUser = findRawUser(document, user.name);
  assertSupported(cluster, user, path);
  const at = (file: string): string => resolve(dirname(path), file);
  return {
    server: normalizeServer(cluster.server),
    ca: toSource(at, { data: cluster.caData, file: cluster.caFile }),
    cert: toSource(at, { data: user.certData, file: user.certFile }),
    key: toSource(at, { data: user.keyData, file: user.keyFile }),
    token: toTokenSource(at, user, rawUser),
    ...(user.username
      ? { basic: { username: user.username, password: user.password ?? "" } }
      : {}),
    ...(user.impersonateUser ? { impersonate: user.impersonateUser } : {}),
    ...(cluster.proxyUrl ? { proxyUrl: cluster.proxyUrl } : {}),
  };
}

/**
 * Mends what older installers wrote: an IPv4 address in brackets, a trailing slash.
 *
 * @throws {CredentialsError} when it is not a URL of HTTP or HTTPS
 */
export function normalizeServer(server: string): string {
  const mended = server.replace(/^(\w+:\/\/)\[(\d+\.\d+\.\d+\.\d+)\]/, "$1$2");
  const url = URL.parse(mended);
  if (url === null || !/^https?:$/.test(url.protocol)) {
    throw new CredentialsError(`API server is not an HTTP URL: ${server}`);
  }
  return `${url.origin}${url.pathname.replace(/\/+$/, "")}`;
}

type Document = Record<string, unknown>;

interface Reading {
  readonly readers: Readers;
  readonly path: string;
}

function parseDocument(text: string, { readers, path }: Reading): Document {
  try {
    const document: unknown = readers.parse(text);
    if (typeof document === "object" && document !== null) {
      return document as Document;
    }
  } catch (cause) {
    throw new CredentialsError(`Kubeconfig is not YAML: ${path}`, { cause });
  }
  throw new CredentialsError(`Kubeconfig is empty: ${path}`);
}

interface Entries {
  readonly clusters: readonly Cluster[];
  readonly contexts: ReturnType<Readers["newContexts"]>;
  readonly users: readonly User[];
  readonly currentContext: unknown;
}

function selectCurrent(
  { clusters, contexts, users, currentContext }: Entries,
  path: string,
): { cluster: Cluster; user: User } {
  const name = currentContext ?? contexts[0]?.name;
  const context = contexts.find((context) => context.name === name);
  if (context === undefined) {
    throw new CredentialsError(`Kubeconfig ${path} has no context: ${name}`);
  }
  const cluster = clusters.find(({ name }) => name === context.cluster);
  if (cluster === undefined) {
    throw new CredentialsError(
      `Kubeconfig ${path} has no cluster: ${context.cluster}`,
    );
  }
  const user = users.find(({ name }) => name === context.user);
  if (user === undefined) {
    throw new CredentialsError(
      `Kubeconfig ${path} has no user: ${context.user}`,
    );
  }
  return { cluster, user };
}

function readEntries(document: Document, { readers, path }: Reading): Entries {
  try {
    return {
      clusters: readers.newClusters(document.clusters),
      contexts: readers.newContexts(document.contexts),
      users: readers.newUsers(document.users),
      currentContext: document["current-context"],
    };
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new CredentialsError(
      `Kubeconfig ${path} is incomplete: ${reason}`,
      { cause },
    );
  }
}

/** The library knows nothing of `tokenFile`. */
function findRawUser(document: Document, name: string): Document {
  const users = document.users as { name: string; user?: Document }[];
  return users.find((user) => user.name === name)?.user ?? {};
}

function assertSupported(cluster: Cluster, user: User, path: string): void {
  const wanted = [
    [cluster.skipTLSVerify, "insecure-skip-tls-verify"],
    [cluster.tlsServerName, "tls-server-name"],
    [user.exec, "exec"],
  ].find(([value]) => Boolean(value));
  if (wanted !== undefined) {
    throw new CredentialsError(
      `Kubeconfig ${path} wants what is not supported: ${wanted[1]}`,
    );
  }
}

type Resolve = (file: string) => string;

function toSource(
  at: Resolve,
  given: { data: string | null | undefined; file: string | null | undefined },
): TextSource | undefined {
  if (given.file) return { file: at(given.file) };
  return given.data ? { text: decodeBase64(given.data) } : undefined;
}

function toTokenSource(
  at: Resolve,
  user: User,
  rawUser: Document,
): TextSource | undefined {
  const provider = user.authProvider as
    | { config?: { tokenFile?: unknown } }
    | null
    | undefined;
  const file = rawUser.tokenFile ?? provider?.config?.tokenFile;
  if (typeof file === "string" && file !== "") return { file: at(file) };
  return user.token ? { text: user.token } : undefined;
}

function decodeBase64(data: string): string {
  try {
    return new TextDecoder().decode(
      Uint8Array.from(atob(data), (char) => char.charCodeAt(0)),
    );
  } catch (cause) {
    throw new CredentialsError("Kubeconfig has data that is not base64", {
      cause,
    });
  }
}
