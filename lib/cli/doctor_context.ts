/**
 * What the doctor's checks look at, gathered once: the networks that there
 * are, the pods of the node, what is attached, and the node's links. A source
 * that cannot be read is told by the check that is about it.
 *
 * Needs: what `node_view.ts` needs, and run of `ip` where it is granted.
 */
import { type NetConfList, parseConf } from "../cni/conf.ts";
import { runProcess } from "../cni/process.ts";
import { type AttachmentRecord, createRecords } from "../daemon/records.ts";
import { createNetworkSources, createPolicy } from "../daemon/networks.ts";
import {
  type NetworkAttachment,
  type Pod,
  trimAttachment,
  trimPod,
} from "../kube/objects.ts";
import { NETWORK_ATTACHMENTS, PODS } from "../kube/resource.ts";
import { createConfSources } from "../selection/conf_sources.ts";
import { resolveDefinition } from "../selection/resolve_network.ts";
import { NETWORKS_ANNOTATION, parseNetworks } from "../selection/annotation.ts";
import type { CliWorld } from "./command.ts";
import {
  type ApiLink,
  connectApi,
  type NodeView,
  readRuntimeConf,
  type RuntimeConf,
} from "./node_view.ts";

/** A network that pods of this node may get. */
export interface KnownNetwork {
  /** For a person: `default/macvlan`, `the default network`. */
  readonly title: string;
  /** Its configuration; absent when it cannot be used. */
  readonly list?: NetConfList;
  /** Why it cannot be used. */
  readonly problem?: string;
  /** Pods of this node need it now. */
  readonly isUsed: boolean;
}

/** A link of the node's own network namespace. */
export interface KernelLink {
  /** Its name. */
  readonly ifname: string;
  /** The bridge that it is a port of. */
  readonly master?: string;
  /** What kind of link it is, such as `veth`. */
  readonly kind?: string;
}

/** Something read, or why it could not be. */
export type Gathered<T> =
  | { readonly value: T; readonly problem?: undefined }
  | { readonly value?: undefined; readonly problem: string };

/** What the checks look at. */
export interface DoctorContext {
  /** The node's paths and configuration. */
  readonly view: NodeView;
  /** Reads the environment. */
  readonly env: CliWorld["env"];
  /** The configuration that holds for pods. */
  readonly runtimeConf: Gathered<RuntimeConf>;
  /** The API server; a value of undefined is a node without one. */
  readonly link: Gathered<ApiLink | undefined>;
  /** Why the definitions of the API server are not known. */
  readonly definitionsProblem?: string;
  /** All networks. */
  readonly networks: Gathered<readonly KnownNetwork[]>;
  /** The pods of this node. */
  readonly pods: Gathered<readonly Pod[]>;
  /** What is attached, by the records that can be read. */
  readonly records: Gathered<readonly AttachmentRecord[]>;
  /** The node's links; a value of undefined where `ip` is not granted. */
  readonly kernelLinks: Gathered<readonly KernelLink[] | undefined>;
  /** Ends every wait. */
  readonly signal: AbortSignal;
}

/** Reads something; what is thrown becomes a problem. */
export async function gather<T>(read: () => Promise<T>): Promise<Gathered<T>> {
  try {
    return { value: await read() };
  } catch (error) {
    return { problem: error instanceof Error ? error.message : String(error) };
  }
}

/** Both lists together; a server that takes longer is told of by the check of the API server. */
const LISTS_MS = 15_000;

/** Gathers all; `say` tells what is being done. */
export async function gatherContext(
  view: NodeView,
  { world, signal, say }: {
    world: CliWorld;
    signal: AbortSignal;
    say: (what: string) => void;
  },
): Promise<DoctorContext> {
  const runtimeConf = await gather(() => readRuntimeConf(view));
  const link = await gather(() => connectApi(view, world));
  say("reading networks and pods from the API server");
  const listing = AbortSignal.any([signal, AbortSignal.timeout(LISTS_MS)]);
  const definitions = await gather(() => listDefinitions(link, listing));
  const pods = await gather(() => listPods(link, view, listing));
  say("reading what is attached");
  const records = await gather(() => listRecords(view.stateDir));
  return {
    view,
    env: world.env,
    runtimeConf,
    link,
    pods,
    records,
    networks: await gather(() =>
      knownNetworks(runtimeConf, {
        definitions,
        pods: pods.value ?? [],
        signal,
      })
    ),
    kernelLinks: await gather(() => listLinks(view, signal)),
    ...(definitions.problem === undefined
      ? {}
      : { definitionsProblem: definitions.problem }),
    signal,
  };
}

/** More than any cluster has; a page at a time would be more code than it is worth here. */
const LIST_LIMIT = 20_000;

async function listDefinitions(
  link: Gathered<ApiLink | undefined>,
  signal: AbortSignal,
): Promise<NetworkAttachment[]> {
  const found: NetworkAttachment[] = [];
  await link.value?.cluster.api.list({ type: NETWORK_ATTACHMENTS }, {
    signal,
    query: { limit: LIST_LIMIT },
    onItem: (item) => found.push(trimAttachment(item)),
  });
  return found;
}

async function listPods(
  link: Gathered<ApiLink | undefined>,
  { nodeName }: NodeView,
  signal: AbortSignal,
): Promise<Pod[]> {
  const found: Pod[] = [];
  if (nodeName === "") return found;
  await link.value?.cluster.api.list({ type: PODS }, {
    signal,
    query: { fieldSelector: `spec.nodeName=${nodeName}`, limit: LIST_LIMIT },
    onItem: (item) => found.push(trimPod(item)),
  });
  return found;
}

async function listRecords(stateDir: string): Promise<AttachmentRecord[]> {
  const found: AttachmentRecord[] = [];
  for await (const listed of createRecords({ dir: stateDir }).list()) {
    if ("record" in listed) found.push(listed.record);
  }
  return found;
}

async function knownNetworks(
  runtimeConf: Gathered<RuntimeConf>,
  { definitions, pods, signal }: {
    definitions: Gathered<readonly NetworkAttachment[]>;
    pods: readonly Pod[];
    signal: AbortSignal;
  },
): Promise<KnownNetwork[]> {
  const all = definitions.value ?? [];
  const used = new Set(pods.flatMap(namesOf));
  const networks: KnownNetwork[] = [];
  const conf = runtimeConf.value?.conf;
  const sources = createConfSources(conf?.confDir ?? "");
  for (const definition of all) {
    const title = `${definition.namespace}/${definition.name}`;
    const isUsed = used.has(title);
    const { value, problem } = await gather(() =>
      resolveDefinition(
        definition,
        sources,
        `NetworkAttachmentDefinition ${title}`,
      )
    );
    networks.push({
      title,
      isUsed,
      ...(value === undefined ? {} : { list: value.list }),
      ...(problem === undefined ? {} : { problem }),
    });
  }
  if (conf === undefined) return networks;
  const { value, problem } = await gather(async () => {
    const attachment = (namespace: string, name: string) =>
      Promise.resolve(
        all.find((one) => one.namespace === namespace && one.name === name),
      );
    const policy = createPolicy(conf, {
      ...createNetworkSources(conf, { link: undefined, signal }),
      attachment,
    });
    const [first, ...others] = [
      await policy.defaultNetwork(),
      ...await policy.defaultNetworks(),
    ];
    return [first?.list, ...policy.furtherDelegates ?? []].concat(
      others.map(({ list }) => list),
    );
  });
  if (problem !== undefined) {
    networks.push({ title: "the default network", problem, isUsed: true });
  }
  for (const list of value ?? []) {
    if (list === undefined) continue;
    networks.push({
      title: `the default network ${list.name}`,
      list,
      isUsed: true,
    });
  }
  return networks;
}

/** The networks that a pod asks for; an annotation that cannot be read is told elsewhere. */
function namesOf({ namespace, annotations }: Pod): string[] {
  try {
    return parseNetworks(annotations[NETWORKS_ANNOTATION] ?? "", namespace)
      .map((selection) => `${selection.namespace}/${selection.name}`);
  } catch {
    return [];
  }
}

/** The configurations that attachments of this node were made with. */
export function recordedLists(
  records: readonly AttachmentRecord[],
): NetConfList[] {
  return records.flatMap(({ attachments }) =>
    attachments.flatMap(({ config }) => {
      try {
        return [parseConf(config)];
      } catch {
        return []; // A record of the Go daemon may hold what we refuse.
      }
    })
  );
}

/** A node with a thousand pods has a megabyte of links. */
const LINKS_BYTES_MAX = 16 * 1024 * 1024;

interface IpLink {
  readonly ifname: string;
  readonly master?: string;
  readonly linkinfo?: { readonly "info_kind"?: string };
}

async function listLinks(
  { profile }: NodeView,
  signal: AbortSignal,
): Promise<readonly KernelLink[] | undefined> {
  const { ipProgram } = profile;
  if (ipProgram === undefined) return undefined;
  const args = ["-j", "-d", "link", "show"];
  const outcome = await runProcess(
    { path: ipProgram, args, stdin: "", signal },
    { stdoutBytesMax: LINKS_BYTES_MAX },
  );
  if (outcome.code !== 0) {
    throw new Deno.errors.InvalidData(`ip failed: ${outcome.stderr.trim()}`);
  }
  const links: readonly IpLink[] = JSON.parse(outcome.stdout);
  return links.map(({ ifname, master, linkinfo }) => ({
    ifname,
    ...(master === undefined ? {} : { master }),
    ...(linkinfo?.info_kind === undefined ? {} : { kind: linkinfo.info_kind }),
  }));
}
