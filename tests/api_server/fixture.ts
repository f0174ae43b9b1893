/**
 * What tests of the cluster side begin with: manifests, and credentials for a
 * stand-in API server as a daemon would load them.
 *
 * @module
 */
import { join } from "node:path";
import {
  type Credentials,
  loadCredentials,
} from "../../lib/kube/credentials.ts";
import type { ApiServer } from "./server.ts";

/** Credentials in a directory of their own. */
export interface CredentialsFixture extends AsyncDisposable {
  readonly credentials: Credentials;
  readonly dir: string;
  readonly tokenFile: string;
  readonly caFile: string;
}

/** Writes token, authority and a kubeconfig that names both, and loads it. */
export async function connectTo(
  server: ApiServer,
  options: { freshMs?: number } = {},
): Promise<CredentialsFixture> {
  const dir = await Deno.makeTempDir();
  const tokenFile = join(dir, "token");
  const caFile = join(dir, "ca.crt");
  const kubeconfig = join(dir, "kubeconfig");
  await Deno.writeTextFile(tokenFile, server.token);
  await Deno.writeTextFile(caFile, server.caPem);
  await Deno.writeTextFile(
    kubeconfig,
    server.kubeconfig({ tokenFile: "token", caFile: "ca.crt" }),
  );
  const env = (): undefined => undefined;
  const credentials = await loadCredentials({ kubeconfig, env, ...options });
  return {
    credentials,
    dir,
    tokenFile,
    caFile,
    [Symbol.asyncDispose]: async () => {
      credentials[Symbol.dispose]();
      await Deno.remove(dir, { recursive: true });
    },
  };
}

/** A pod's manifest. */
export function podManifest(name: string, more: {
  namespace?: string;
  uid?: string;
  nodeName?: string;
  annotations?: Record<string, string>;
} = {}): Record<string, unknown> {
  const {
    namespace = "default",
    uid = `uid-${name}`,
    nodeName = "node-1",
    annotations = {},
  } = more;
  return {
    apiVersion: "v1",
    kind: "Pod",
    metadata: { name, namespace, uid, annotations },
    spec: { nodeName, containers: [{ name: "main", image: "none" }] },
    status: { phase: "Pending" },
  };
}

/** A NetworkAttachmentDefinition's manifest. */
export function attachmentManifest(name: string, more: {
  namespace?: string;
  config?: string;
  annotations?: Record<string, string>;
} = {}): Record<string, unknown> {
  const {
    namespace = "default",
    config = `{"type":"${name}"}`,
    annotations = {},
  } = more;
  return {
    apiVersion: "k8s.cni.cncf.io/v1",
    kind: "NetworkAttachmentDefinition",
    metadata: { name, namespace, annotations },
    spec: { config },
  };
}
