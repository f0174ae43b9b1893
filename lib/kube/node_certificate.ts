/**
 * A client certificate of this node's own (`perNodeCertificate`): asked for with
 * bootstrap credentials, waited for until somebody approves it, and asked for
 * again long before it ends, then with the certificate itself. Key and certificate
 * lie in one file, so that no reader ever sees the one without the other; beside
 * it lies a kubeconfig that names it, for `credentials.ts` to load and look after.
 *
 * The old pair is used until the new one is there. What is missing, empty,
 * half-written, somebody else's or expired is not used, and a new one is asked for.
 *
 * Kubernetes API `certificates.k8s.io/v1`, signer `kubernetes.io/kube-apiserver-client`.
 *
 * @module
 */
import { type Api, createApi } from "./api.ts";
import {
  type CredentialSources,
  type Env,
  inClusterSources,
  SERVICE_ACCOUNT_DIR,
  type TextSource,
} from "./credential_sources.ts";
import { loadCredentials } from "./credentials.ts";
import { ApiStatusError, CredentialsError } from "./error.ts";
import { asArray, asObject, asText } from "./json_value.ts";
import { parseKubeconfig } from "./kubeconfig.ts";
import { CERTIFICATE_SIGNING_REQUESTS } from "./resource.ts";
import type { ClientPair } from "./signing_request.ts";
import { backOffMs, pause, until } from "./waiting.ts";

/** How a node gets its certificate. */
export interface NodeCertificateOptions {
  /** The node that the certificate stands for. */
  readonly nodeName: string;
  /** Credentials to ask with as long as there is no certificate; without it, those of the pod. */
  readonly bootstrapKubeconfig?: string;
  /** Where pair and kubeconfig are kept; made if need be. */
  readonly certDir: string;
  /** How long a certificate is asked for; the signer may give a shorter one. */
  readonly certDurationMs: number;
  /** The environment, for a pod's own credentials. */
  readonly env: Env;
  /** Another directory than a pod's own, for tests. */
  readonly serviceAccountDir?: string;
  /** Writes a file whole or not at all. */
  readonly writeFile: (path: string, text: string) => Promise<void>;
  /** Told what happened, for logs. */
  readonly onEvent?: (event: NodeCertificateEvent) => void;
  /** The clock. */
  readonly now?: () => number;
  /** How often it is looked whether the certificate is still good. */
  readonly lookMs?: number;
}

/** Something that happened to the certificate. */
export type NodeCertificateEvent =
  | { readonly kind: "requested"; readonly name: string }
  | { readonly kind: "issued"; readonly notAfter: Date }
  | { readonly kind: "unusable"; readonly reason: string }
  | { readonly kind: "failed"; readonly reason: string };

/** A certificate that is kept valid until it is disposed of. */
export interface NodeCertificate extends AsyncDisposable {
  /** A kubeconfig that shows the certificate; there once `isReady`. */
  readonly kubeconfig: string;
  /** Whether there has been a pair to use. */
  readonly isReady: boolean;
  /** Why the last attempt to get or renew it failed, if so. */
  readonly problem: string | undefined;
  /** Waits until there is a pair to use. @throws the signal's reason */
  whenReady(signal: AbortSignal): Promise<void>;
}

/** The name that the Go daemon's certificate store gives to the pair in use. */
export const PAIR_FILE = "multus-client-current.pem";
/** The kubeconfig beside it. */
export const KUBECONFIG_FILE = "multus.kubeconfig";

const SIGNER = "kubernetes.io/kube-apiserver-client";
/** The group that roles for the nodes' daemons are bound to. */
const GROUP = "system:multus";
const USAGES = ["digital signature", "client auth"];

/** Reading one small file: a certificate of ten minutes, the shortest there is, is noticed in time. */
const LOOK_MS = 30_000;
/** Renewed after this part of its life, each node at another point, so that not all come at once. */
const RENEWAL_MIN = 0.7;
const RENEWAL_SPREAD = 0.2;
/** Whatever the signer gives: never asked more often, or a signer of very short ones is flooded. */
const RENEWAL_INTERVAL_MS = 60_000;
/** A person may have to approve it; after so long another one is asked for, since the signer drops old ones. */
const APPROVAL_WAIT_MS = 15 * 60_000;
/** An approver that is a program takes a second. */
const APPROVAL_LOOK_MS = { minMs: 500, maxMs: 10_000 };
const RETRY_MS = { minMs: 1_000, maxMs: 5 * 60_000 };
/** What Kubernetes takes; it is in whole seconds. */
const EXPIRATION_SECONDS_MIN = 600;

interface State {
  readonly options: NodeCertificateOptions;
  readonly pairFile: string;
  readonly kubeconfig: string;
  readonly now: () => number;
  readonly say: (event: NodeCertificateEvent) => void;
  /** The part of a certificate's life after which this node renews it. */
  readonly renewAt: number;
  readonly ready: PromiseWithResolvers<void>;
  isReady: boolean;
  issuedAt: number;
  problem: string | undefined;
}

/**
 * Begins to look after the certificate; returns at once. Needs read and write of
 * `certDir`, read of the bootstrap credentials, net to the API server.
 */
export function startNodeCertificate(
  options: NodeCertificateOptions,
): NodeCertificate {
  const { certDir, onEvent = () => {}, now = Date.now } = options;
  const ending = new AbortController();
  const state: State = {
    options,
    pairFile: `${certDir}/${PAIR_FILE}`,
    kubeconfig: `${certDir}/${KUBECONFIG_FILE}`,
    now,
    say: onEvent,
    renewAt: RENEWAL_MIN + Math.random() * RENEWAL_SPREAD,
    ready: Promise.withResolvers(),
    isReady: false,
    issuedAt: -Infinity,
    problem: undefined,
  };
  const kept = keep(state, ending.signal);
  return {
    kubeconfig: state.kubeconfig,
    get isReady() {
      return state.isReady;
    },
    get problem() {
      return state.problem;
    },
    whenReady: (signal) => until(state.ready.promise, signal),
    [Symbol.asyncDispose]: async () => {
      ending.abort();
      await kept;
    },
  };
}

/** Looks, renews, waits; until the signal. */
async function keep(state: State, signal: AbortSignal): Promise<void> {
  const { lookMs = LOOK_MS } = state.options;
  for (let failures = 0; !signal.aborted;) {
    let waitMs = lookMs;
    try {
      await lookAfter(state, signal);
      failures = 0;
      state.problem = undefined;
    } catch (error) {
      if (signal.aborted) return;
      failures += 1;
      waitMs = backOffMs(failures, RETRY_MS);
      state.problem = error instanceof Error ? error.message : String(error);
      state.say({ kind: "failed", reason: state.problem });
    }
    // Only the end of the daemon ends a wait early.
    await pause(waitMs, signal).catch(() => {});
  }
}

async function lookAfter(state: State, signal: AbortSignal): Promise<void> {
  const pair = await readUsablePair(state);
  if (pair !== undefined) {
    await offer(state);
    if (!isDue(state, pair)) return;
  }
  await renew(state, { hasPair: pair !== undefined, signal });
  await offer(state);
}

/** Lets the pair be used. */
async function offer(state: State): Promise<void> {
  const { options, kubeconfig, pairFile } = state;
  const present = await readIfThere(kubeconfig);
  try {
    const text = formatKubeconfig(await readBootstrap(options), pairFile);
    if (text !== present) await options.writeFile(kubeconfig, text);
  } catch (error) {
    // Bootstrap credentials may be taken away once they have served.
    if (!(error instanceof CredentialsError) || present === undefined) {
      throw error;
    }
  }
  state.isReady = true;
  state.ready.resolve();
}

function isDue(state: State, { notBefore, notAfter }: ClientPair): boolean {
  const now = state.now();
  if (now - state.issuedAt < RENEWAL_INTERVAL_MS) return false;
  const life = notAfter.getTime() - notBefore.getTime();
  return now >= notBefore.getTime() + life * state.renewAt;
}

/** The pair in the file, if it can be used; why it cannot is said, unless there is none. */
async function readUsablePair(state: State): Promise<ClientPair | undefined> {
  const text = await readIfThere(state.pairFile);
  if (text === undefined) return undefined;
  const { readClientPair } = await import("./signing_request.ts");
  let reason: string;
  try {
    const pair = await readClientPair(text);
    const wanted = commonNameOf(state.options.nodeName);
    if (pair.notAfter.getTime() <= state.now()) {
      reason = `expired on ${pair.notAfter.toISOString()}`;
    } else if (pair.commonName !== wanted) {
      reason = `it is for another user than ${wanted}: ${pair.commonName}`;
    } else return pair;
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    reason = error.message;
  }
  state.say({ kind: "unusable", reason: `${reason} (${state.pairFile})` });
  return undefined;
}

function commonNameOf(nodeName: string): string {
  return `${GROUP}:${nodeName}`;
}

/** Asks with the certificate itself while it is good; with the bootstrap credentials otherwise, or if it may not ask. */
async function renew(
  state: State,
  { hasPair, signal }: { hasPair: boolean; signal: AbortSignal },
): Promise<void> {
  const { bootstrapKubeconfig } = state.options;
  if (hasPair) {
    try {
      return await renewWith(state, { kubeconfig: state.kubeconfig, signal });
    } catch (error) {
      if (!(error instanceof ApiStatusError)) throw error;
    }
  }
  await renewWith(state, { kubeconfig: bootstrapKubeconfig, signal });
}

async function renewWith(
  state: State,
  { kubeconfig, signal }: {
    kubeconfig: string | undefined;
    signal: AbortSignal;
  },
): Promise<void> {
  const { options } = state;
  const { createSigningRequest, readClientPair } = await import(
    "./signing_request.ts"
  );
  using credentials = await loadCredentials({
    ...toCredentialsOptions(options),
    ...(kubeconfig === undefined ? {} : { kubeconfig }),
  });
  const request = await createSigningRequest({
    commonName: commonNameOf(options.nodeName),
    organization: GROUP,
  });
  const api = createApi({ credentials });
  const name = await submit(api, request.requestPem, { options, signal });
  state.say({ kind: "requested", name });
  const certificate = await waitForCertificate(api, name, signal);
  const text = `${certificate.trim()}\n${request.keyPem}`;
  const { notAfter } = await readClientPair(text);
  await Deno.mkdir(options.certDir, { recursive: true, mode: 0o700 });
  await options.writeFile(state.pairFile, text);
  state.issuedAt = state.now();
  state.say({ kind: "issued", notAfter });
}

function toCredentialsOptions(
  { env, serviceAccountDir }: NodeCertificateOptions,
): { env: Env; serviceAccountDir?: string } {
  return {
    env,
    ...(serviceAccountDir === undefined ? {} : { serviceAccountDir }),
  };
}

/** Makes the request; its name. */
async function submit(
  api: Api,
  requestPem: string,
  { options, signal }: { options: NodeCertificateOptions; signal: AbortSignal },
): Promise<string> {
  const seconds = Math.ceil(options.certDurationMs / 1_000);
  const made = await api.create({ type: CERTIFICATE_SIGNING_REQUESTS }, {
    apiVersion: "certificates.k8s.io/v1",
    kind: "CertificateSigningRequest",
    metadata: { generateName: `multus-${options.nodeName}-` },
    spec: {
      request: btoa(requestPem),
      signerName: SIGNER,
      expirationSeconds: Math.max(seconds, EXPIRATION_SECONDS_MIN),
      usages: USAGES,
    },
  }, { signal });
  return asText(asObject(asObject(made).metadata).name) ?? "";
}

/** Waits for approval and signature. */
async function waitForCertificate(
  api: Api,
  name: string,
  signal: AbortSignal,
): Promise<string> {
  const end = performance.now() + APPROVAL_WAIT_MS;
  for (let looks = 1;; looks += 1) {
    const request = await api.get(
      { type: CERTIFICATE_SIGNING_REQUESTS, name },
      { signal },
    );
    const certificate = readCertificate(request, name);
    if (certificate !== undefined) return certificate;
    if (performance.now() > end) {
      throw new CredentialsError(
        `Certificate signing request was not approved within ${
          APPROVAL_WAIT_MS / 60_000
        } minutes: ${name}`,
      );
    }
    await pause(backOffMs(looks, APPROVAL_LOOK_MS), signal);
  }
}

/** The signed certificate as PEM; undefined while it is waited for. */
function readCertificate(request: unknown, name: string): string | undefined {
  const { conditions, certificate } = asObject(asObject(request).status);
  for (const item of asArray(conditions)) {
    const { type, status, reason, message } = asObject(item);
    if ((type !== "Denied" && type !== "Failed") || status === "False") {
      continue;
    }
    const why = [reason, message].filter((text) => asText(text)).join(": ");
    throw new CredentialsError(
      `Certificate signing request ${name} was ${
        type === "Denied" ? "denied" : "not signed"
      }: ${why}`,
    );
  }
  const encoded = asText(certificate) ?? "";
  return encoded === "" ? undefined : atob(encoded);
}

/** Server and authority are those of the bootstrap credentials. */
async function readBootstrap(
  options: NodeCertificateOptions,
): Promise<CredentialSources> {
  const { bootstrapKubeconfig, env, serviceAccountDir = SERVICE_ACCOUNT_DIR } =
    options;
  if (bootstrapKubeconfig === undefined) {
    return inClusterSources(env, serviceAccountDir);
  }
  const text = await readIfThere(bootstrapKubeconfig);
  if (text === undefined) {
    throw new CredentialsError(
      `Bootstrap kubeconfig is not there: ${bootstrapKubeconfig}`,
    );
  }
  return await parseKubeconfig(text, bootstrapKubeconfig);
}

/** JSON, which is YAML too. */
function formatKubeconfig(
  { server, ca, proxyUrl }: CredentialSources,
  pairFile: string,
): string {
  const cluster = {
    server,
    ...toAuthority(ca),
    ...(proxyUrl === undefined ? {} : { "proxy-url": proxyUrl }),
  };
  const user = { "client-certificate": pairFile, "client-key": pairFile };
  return `${
    JSON.stringify(
      {
        apiVersion: "v1",
        kind: "Config",
        "current-context": "node",
        contexts: [{
          name: "node",
          context: { cluster: "cluster", user: "node" },
        }],
        clusters: [{ name: "cluster", cluster }],
        users: [{ name: "node", user }],
      },
      null,
      2,
    )
  }\n`;
}

function toAuthority(ca: TextSource | undefined): Record<string, string> {
  if (ca === undefined) return {};
  return "file" in ca
    ? { "certificate-authority": ca.file }
    : { "certificate-authority-data": btoa(ca.text) };
}

async function readIfThere(path: string): Promise<string | undefined> {
  try {
    return await Deno.readTextFile(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
}
