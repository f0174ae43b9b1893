/**
 * The doctor's checks of the API server: reached, allowed, in time, without a
 * detour, and with credentials that last.
 *
 * Needs: net to the API server, read of the credentials, the proxy variables.
 */
import { X509Certificate } from "node:crypto";
import { join } from "node:path";
import {
  type CredentialSources,
  inClusterSources,
  type TextSource,
} from "../kube/credential_sources.ts";
import { ApiUnavailableError } from "../kube/error.ts";
import { parseKubeconfig } from "../kube/kubeconfig.ts";
import { PROXY_ENV } from "../kube/proxy_environment.ts";
import {
  CERTIFICATE_SIGNING_REQUESTS,
  EVENTS,
  NETWORK_ATTACHMENTS,
  PODS,
  RESOURCE_CLAIMS,
  RESOURCE_SLICES,
  type ResourceType,
  SELF_SUBJECT_ACCESS_REVIEWS,
} from "../kube/resource.ts";
import type { DoctorContext } from "./doctor_context.ts";
import type { Finding } from "./doctor_schema.ts";
import type { ApiLink } from "./node_view.ts";

const NO_API: Finding = {
  severity: "warning",
  subject: "API server",
  message:
    "No kubeconfig is configured and this is no pod: only the networks in delegates work",
  remedy: "Name a kubeconfig in the daemon's configuration",
};

/** Whether the API server answers. */
export async function checkApi(context: DoctorContext): Promise<Finding[]> {
  const { link, signal } = context;
  if (link.problem !== undefined) {
    return [{
      severity: "error",
      subject: "credentials",
      message: link.problem,
      remedy: "Correct the kubeconfig, or the mount of the service account",
    }];
  }
  if (link.value === undefined) return [NO_API];
  try {
    await isAllowed(link.value, { type: PODS, verb: "list" }, signal);
    return [];
  } catch (error) {
    return [unreachable(link.value, error)];
  }
}

function unreachable({ credentials }: ApiLink, error: unknown): Finding {
  const reason = error instanceof ApiUnavailableError
    ? error.reason
    : error instanceof Error
    ? error.message
    : String(error);
  const isRefused = error instanceof ApiUnavailableError &&
    error.status === 401;
  return {
    severity: "error",
    subject: credentials.server,
    message: `The API server cannot be asked: ${reason}`,
    remedy: isRefused
      ? "The token or certificate is not accepted any more: renew the credentials"
      : "See whether it runs, and whether a route and no firewall is between; pods that run keep their networks, new ones wait",
  };
}

interface Permission {
  readonly type: ResourceType;
  readonly verb: string;
  readonly subresource?: string;
  /** What does not work without it. */
  readonly purpose: string;
  readonly severity: "info" | "warning" | "error";
}

const READS = ["get", "list", "watch"] as const;

/** What the daemon asks of the API server. */
const PERMISSIONS: readonly Permission[] = [
  ...READS.map((verb): Permission => ({
    type: PODS,
    verb,
    purpose: "no pod can be started",
    severity: "error",
  })),
  ...READS.map((verb): Permission => ({
    type: NETWORK_ATTACHMENTS,
    verb,
    purpose: "no network can be attached",
    severity: "error",
  })),
  {
    type: PODS,
    subresource: "status",
    verb: "patch",
    purpose: "network-status is never written",
    severity: "error",
  },
  {
    type: EVENTS,
    verb: "create",
    purpose: "pods get no events",
    severity: "warning",
  },
  {
    type: RESOURCE_CLAIMS,
    verb: "get",
    purpose: "devices of resource claims are not found",
    severity: "info",
  },
  {
    type: RESOURCE_SLICES,
    verb: "list",
    purpose: "devices of resource claims are not found",
    severity: "info",
  },
];

const SIGNING: readonly Permission[] = ["create", "get"].map((verb) => ({
  type: CERTIFICATE_SIGNING_REQUESTS,
  verb,
  purpose: "the node gets no certificate of its own",
  severity: "error",
}));

async function isAllowed(
  { cluster }: ApiLink,
  permission: Pick<Permission, "type" | "verb" | "subresource">,
  signal: AbortSignal,
): Promise<boolean> {
  const { type: { group, resource }, verb, subresource } = permission;
  const review = {
    apiVersion: "authorization.k8s.io/v1",
    kind: "SelfSubjectAccessReview",
    spec: {
      resourceAttributes: {
        group,
        resource,
        verb,
        ...(subresource === undefined ? {} : { subresource }),
      },
    },
  };
  const answer = await cluster.api.create(
    { type: SELF_SUBJECT_ACCESS_REVIEWS },
    review,
    { signal },
  ) as { status?: { allowed?: unknown } };
  return answer.status?.allowed === true;
}

/** Whether the daemon may do what it has to. */
export async function checkRbac(context: DoctorContext): Promise<Finding[]> {
  const { link: { value: link }, signal, view } = context;
  if (link === undefined) return [];
  const own = view.conf.perNodeCertificate === undefined ? [] : SIGNING;
  const findings: Finding[] = [];
  for (const permission of [...PERMISSIONS, ...own]) {
    if (await isAllowed(link, permission, signal)) continue;
    const { type, verb, subresource, purpose, severity } = permission;
    const resource = [type.resource, subresource].filter(Boolean).join("/");
    findings.push({
      severity,
      subject: `${verb} ${resource}`,
      message: `The daemon may not ${verb} ${resource}: ${purpose}`,
      remedy:
        `Add the verb to the ClusterRole multus: apiGroups: ["${type.group}"], resources: ["${resource}"], verbs: ["${verb}"]`,
    });
  }
  return findings;
}

/** Tokens and certificates allow some seconds; what is more makes them invalid sooner or later. */
const CLOCK_WARNING_MS = 10_000;
const CLOCK_ERROR_MS = 120_000;

/** Whether this node and the API server have the same time. */
export async function checkClock(context: DoctorContext): Promise<Finding[]> {
  const { link: { value: link }, signal } = context;
  if (link === undefined) return [];
  const { server, client, headers } = await link.credentials.connect();
  const init: RequestInit & { client: Deno.HttpClient } = {
    client,
    headers: { ...headers },
    signal,
  };
  const response = await fetch(`${server}/version`, init);
  await response.body?.cancel();
  const theirs = Date.parse(response.headers.get("date") ?? "");
  const differenceMs = Math.abs(Date.now() - theirs);
  if (!(differenceMs > CLOCK_WARNING_MS)) return [];
  const seconds = Math.round(differenceMs / 1000);
  return [{
    severity: differenceMs > CLOCK_ERROR_MS ? "error" : "warning",
    subject: "clock",
    message:
      `The clocks of this node and of the API server differ by ${seconds} s: tokens and certificates become invalid`,
    remedy: "Start a time service (chronyd, systemd-timesyncd) on both",
  }];
}

/** Whether a proxy stands between, for us or for plugins. */
export function checkProxy(
  { env, link: { value: link } }: DoctorContext,
): Promise<Finding[]> {
  const set = PROXY_ENV.filter((name) => (env(name) ?? "") !== "");
  if (set.length === 0 || link === undefined) return Promise.resolve([]);
  const host = new URL(link.credentials.server).hostname;
  const exceptions = `${env("NO_PROXY") ?? ""},${env("no_proxy") ?? ""}`;
  if (exceptions.split(",").includes(host)) return Promise.resolve([]);
  return Promise.resolve([{
    severity: "warning",
    subject: set.join(", "),
    message:
      `A proxy is set. The daemon keeps clear of it, but plugins that ask the API server themselves inherit it`,
    remedy: `Add ${host} to NO_PROXY, or take the variables from the DaemonSet`,
  }]);
}

/** Time enough to notice what is not renewed by itself. */
const EXPIRY_WARNING_MS = 14 * 86_400_000;

/** The node's own certificate lives for a day or so and is renewed long before: this late, renewing fails. */
const RENEWED_MS = 3_600_000;

/** How long what the daemon shows to the API server, and trusts, is valid. */
export async function checkCredentials(
  context: DoctorContext,
): Promise<Finding[]> {
  const { view: { profile, conf }, link: { value: link }, env } = context;
  if (link === undefined) return [];
  const sources: CredentialSources = conf.kubeconfig === undefined
    ? inClusterSources(env, profile.serviceAccountDir)
    : await parseKubeconfig(
      await Deno.readTextFile(conf.kubeconfig),
      conf.kubeconfig,
    );
  const findings = [
    ...await judgeCertificate("certificate authority", sources.ca),
    ...await judgeCertificate("client certificate", sources.cert),
    ...await judgeToken(sources.token),
  ];
  if (conf.perNodeCertificate !== undefined && profile.certDir !== undefined) {
    const file = join(profile.certDir, "multus-client-current.pem");
    findings.push(
      ...await judgeCertificate(
        "certificate of the node",
        { file },
        RENEWED_MS,
      ),
    );
  }
  return findings;
}

async function textOf(source: TextSource): Promise<string> {
  return "text" in source ? source.text : await Deno.readTextFile(source.file);
}

function subjectOf(what: string, source: TextSource): string {
  return "text" in source ? `${what} in the kubeconfig` : source.file;
}

async function judgeCertificate(
  what: string,
  source: TextSource | undefined,
  warnMs = EXPIRY_WARNING_MS,
): Promise<Finding[]> {
  if (source === undefined) return [];
  const subject = subjectOf(what, source);
  try {
    const text = await textOf(source);
    const [pem = ""] =
      /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/.exec(text) ??
        [];
    return judgeExpiry(Date.parse(new X509Certificate(pem).validTo), {
      what,
      subject,
      warnMs,
    });
  } catch (error) {
    if (error instanceof Deno.errors.NotCapable) throw error;
    return [{
      severity: "error",
      subject,
      message: `The ${what} cannot be read: ${
        error instanceof Error ? error.message : error
      }`,
      remedy: "Write it again in PEM form",
    }];
  }
}

/** A token that is not in three parts says nothing of its time. */
async function judgeToken(source: TextSource | undefined): Promise<Finding[]> {
  if (source === undefined) return [];
  const [, payload = ""] = (await textOf(source)).trim().split(".");
  try {
    const json = new TextDecoder().decode(
      Uint8Array.fromBase64(payload, { alphabet: "base64url" }),
    );
    const { exp } = JSON.parse(json) as { exp?: unknown };
    if (typeof exp !== "number") return [];
    // A pod's token is swapped by the kubelet shortly before its end: only the end is worth telling.
    return judgeExpiry(exp * 1000, {
      what: "token",
      subject: subjectOf("token", source),
      warnMs: 0,
    });
  } catch {
    return [];
  }
}

/** Judges an end of validity. */
export function judgeExpiry(
  endMs: number,
  { what, subject, warnMs }: { what: string; subject: string; warnMs: number },
): Finding[] {
  const leftMs = endMs - Date.now();
  if (leftMs > warnMs) return [];
  const when = new Date(endMs).toISOString().slice(0, 16);
  return [{
    severity: leftMs <= 0 ? "error" : "warning",
    subject,
    message: leftMs <= 0
      ? `The ${what} has expired at ${when}Z`
      : `The ${what} expires at ${when}Z`,
    remedy: "Renew it; files are read again without a restart",
  }];
}
