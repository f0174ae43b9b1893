/**
 * Where the parts of a credential stand, and what a pod of the cluster is given.
 * In-cluster credentials need no library at all, so that a daemon without a
 * kubeconfig does not pay for one.
 *
 * @module
 */
import { CredentialsError } from "./error.ts";

/** A text that is known, or that stands in a file and is read again when it changes. */
export type TextSource = { readonly text: string } | { readonly file: string };

/** All parts of a credential for one server. */
export interface CredentialSources {
  /** The server's URL without a slash at the end. */
  readonly server: string;
  /** The authority that signed the server's certificate; the system's when there is none. */
  readonly ca: TextSource | undefined;
  /** The client's certificate. */
  readonly cert: TextSource | undefined;
  /** The client's key. */
  readonly key: TextSource | undefined;
  /** The bearer token. */
  readonly token: TextSource | undefined;
  /** A name and a password, which old clusters take. */
  readonly basic?: { readonly username: string; readonly password: string };
  /** As whom to act. */
  readonly impersonate?: string;
  /** A proxy that the kubeconfig names; never one of the environment. */
  readonly proxyUrl?: string;
}

/** Reads one variable of the environment by its name. */
export type Env = (name: string) => string | undefined;

/** What is read of the environment in a pod. */
export const IN_CLUSTER_ENV = [
  "KUBERNETES_SERVICE_HOST",
  "KUBERNETES_SERVICE_PORT",
] as const;

/** Where a pod finds the token and the certificate authority. */
export const SERVICE_ACCOUNT_DIR =
  "/var/run/secrets/kubernetes.io/serviceaccount";

/**
 * The credentials of a pod.
 *
 * @throws {CredentialsError} when this is no pod of a cluster
 */
export function inClusterSources(
  env: Env,
  serviceAccountDir: string,
): CredentialSources {
  const host = env("KUBERNETES_SERVICE_HOST");
  const port = env("KUBERNETES_SERVICE_PORT");
  if (!host || !port) {
    throw new CredentialsError(
      "Not in a cluster, and no kubeconfig is given: KUBERNETES_SERVICE_HOST or KUBERNETES_SERVICE_PORT is not set",
    );
  }
  return {
    server: `https://${bracketed(host)}:${port}`,
    ca: { file: `${serviceAccountDir}/ca.crt` },
    cert: undefined,
    key: undefined,
    token: { file: `${serviceAccountDir}/token` },
  };
}

/** An IPv6 address needs brackets in a URL, which the environment does not give. */
function bracketed(host: string): string {
  return host.includes(":") && !host.startsWith("[") ? `[${host}]` : host;
}
