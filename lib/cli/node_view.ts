/**
 * The node as an operator's commands look at it: the profile, the two
 * configurations that hold, and the API server as the daemon would reach it.
 * Nothing here is changed, and nothing is kept: each command looks anew.
 *
 * Needs: read of the daemon's configuration, of the runtime's directory, and
 * of the credentials; net to the API server where that is asked.
 */
import type { Profile } from "../grants.ts";
import { parseConf } from "../cni/conf.ts";
import { listConfFiles } from "../cni/conf_dir.ts";
import { getMember } from "../cni/json_text.ts";
import { isMultusType } from "../cni/conf.ts";
import {
  type DaemonConf,
  loadDaemonConf,
  mergeConf,
  type MultusConf,
  parseDaemonConf,
  parseShimConf,
} from "../daemon/configuration.ts";
import { NO_FLAGS } from "../daemon/daemon_flags.ts";
import { NODE_NAME_ENV } from "../daemon/cluster_link.ts";
import { type Cluster, createCluster } from "../kube/cluster.ts";
import { type Credentials, loadCredentials } from "../kube/credentials.ts";
import { CredentialsError } from "../kube/error.ts";
import { socketPathIn } from "../wire/places.ts";
import type { CliWorld } from "./command.ts";
import { readOwnProfile } from "./own_profile.ts";

/** What every command looks at. */
export interface NodeView {
  /** Where things are. */
  readonly profile: Profile;
  /** The daemon's configuration; its defaults when the file cannot be used. */
  readonly conf: DaemonConf;
  /** Why the daemon's configuration cannot be used. */
  readonly confProblem?: string;
  /** Where the daemon listens. */
  readonly socketPath: string;
  /** Where its records are. */
  readonly stateDir: string;
  /** This node's name; empty when nobody told it. */
  readonly nodeName: string;
}

/** Looks at the node that multusctl lies on. */
export async function viewNode(
  options: Readonly<Record<string, unknown>>,
  world: CliWorld,
): Promise<NodeView> {
  const given = options["profile"];
  const profile = await readOwnProfile(
    typeof given === "string" ? given : undefined,
    world,
  );
  const { conf, confProblem } = await readConf(profile);
  return {
    profile,
    conf,
    socketPath: socketPathIn(profile.socketDir),
    stateDir: profile.cniStateDir,
    nodeName: world.env(NODE_NAME_ENV) ?? "",
    ...(confProblem === undefined ? {} : { confProblem }),
  };
}

async function readConf(
  { daemonConfig: path }: Profile,
): Promise<{ conf: DaemonConf; confProblem?: string }> {
  try {
    return { conf: await loadDaemonConf(path, NO_FLAGS) };
  } catch (error) {
    return {
      conf: parseDaemonConf("{}", { path, flags: NO_FLAGS }),
      confProblem: error instanceof Error ? error.message : String(error),
    };
  }
}

/** The configuration that runtimes use, and what it comes to. */
export interface RuntimeConf {
  /** Its file; absent when no file of Multus is there. */
  readonly path?: string;
  /** What holds for a request, the daemon's configuration over it. */
  readonly conf: MultusConf;
}

/**
 * Finds the file of Multus among the runtime's and reads it; without one, the
 * daemon's configuration alone is what there is.
 *
 * @throws {CniError} when the file cannot be used.
 */
export async function readRuntimeConf(
  { profile, conf }: Pick<NodeView, "profile" | "conf">,
): Promise<RuntimeConf> {
  for (const path of await listConfFiles(profile.cniConfDir)) {
    const own = ownPart(await Deno.readTextFile(path));
    if (own === undefined) continue;
    return { path, conf: mergeConf(parseShimConf(own), conf) };
  }
  return { conf: mergeConf(parseShimConf("{}"), conf) };
}

/** What the shim is given of a file: Multus' own object; undefined for a file of somebody else. */
function ownPart(text: string): string | undefined {
  try {
    const { plugins, name, cniVersion } = parseConf(text);
    const plugin = plugins.find(({ type }) => isMultusType(type));
    if (plugin === undefined) return undefined;
    const merged = { ...JSON.parse(plugin.text), name, cniVersion };
    // A single plugin keeps the text that its author wrote.
    return getMember(text, "plugins") === undefined
      ? text
      : JSON.stringify(merged);
  } catch {
    return undefined; // Whoever checks the directory says what is wrong with it.
  }
}

/** The API server, and who asks it. */
export interface ApiLink extends AsyncDisposable {
  /** How it is reached. */
  readonly credentials: Credentials;
  /** What is read of it, each time anew. */
  readonly cluster: Cluster;
}

/**
 * Connects as the daemon does; undefined on a node without an API server.
 *
 * @throws {CredentialsError} when there are credentials and they cannot be used.
 */
export async function connectApi(
  { conf, profile }: Pick<NodeView, "conf" | "profile">,
  world: Pick<CliWorld, "env">,
): Promise<ApiLink | undefined> {
  const { kubeconfig } = conf;
  const isInCluster = (world.env("KUBERNETES_SERVICE_HOST") ?? "") !== "";
  if (kubeconfig === undefined && !isInCluster) return undefined;
  const credentials = await loadCredentials({
    env: world.env,
    serviceAccountDir: profile.serviceAccountDir,
    ...(kubeconfig === undefined ? {} : { kubeconfig }),
  });
  const cluster = createCluster({ credentials, userAgent: "multusctl" });
  return {
    credentials,
    cluster,
    async [Symbol.asyncDispose](): Promise<void> {
      await cluster[Symbol.asyncDispose]();
      credentials[Symbol.dispose]();
    },
  };
}

/**
 * Connects, or says what is missing.
 *
 * @throws {CredentialsError} when there is no API server to ask.
 */
export async function requireApi(
  view: NodeView,
  world: CliWorld,
): Promise<ApiLink> {
  const link = await connectApi(view, world);
  if (link !== undefined) return link;
  throw new CredentialsError(
    `There is no API server to ask: name a kubeconfig in ${view.profile.daemonConfig}, or run multusctl in the daemon's container`,
  );
}
