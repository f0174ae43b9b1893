/**
 * The doctor's checks of networks: their configurations, the plugins and
 * links that they name, and the pods of this node that ask for them. What no
 * pod of this node uses is a warning only: it may be meant for other nodes.
 *
 * Needs: read of the CNI directories.
 */
import type { PluginConf } from "../cni/conf.ts";
import { getMember } from "../cni/json_text.ts";
import { NETWORKS_ANNOTATION, parseNetworks } from "../selection/annotation.ts";
import type { DoctorContext, KnownNetwork } from "./doctor_context.ts";
import type { Finding } from "./doctor_schema.ts";
import { createPluginFinder, pluginTypesOf } from "./plugin_finder.ts";

function severityOf({ isUsed }: KnownNetwork): "warning" | "error" {
  return isUsed ? "error" : "warning";
}

/** Whether every network has a configuration that can be used. */
export function checkNetworks(
  { networks, definitionsProblem }: DoctorContext,
): Promise<Finding[]> {
  const unknown = definitionsProblem === undefined
    ? []
    : [notLookedAt("NetworkAttachmentDefinitions", definitionsProblem)];
  const bad = (networks.value ?? []).filter(({ problem }) =>
    problem !== undefined
  );
  return Promise.resolve([
    ...unknown,
    ...bad.map((network) => ({
      severity: severityOf(network),
      subject: network.title,
      message: network.problem ?? "",
      remedy:
        "Correct the configuration: multusctl validate shows line and column of a manifest",
    })),
  ]);
}

/** What the API server did not tell is not well: nobody knows. */
function notLookedAt(subject: string, problem: string): Finding {
  return {
    severity: "info",
    subject,
    message: `They are not looked at: ${problem}`,
    remedy: "Run doctor again when the API server answers",
  };
}

/** Whether the plugins of all networks are installed. */
export async function checkPlugins(
  { networks, view: { profile } }: DoctorContext,
): Promise<Finding[]> {
  const finder = createPluginFinder(profile);
  const users = new Map<string, KnownNetwork[]>();
  for (const network of networks.value ?? []) {
    if (network.list === undefined) continue;
    for (const type of pluginTypesOf(network.list)) {
      users.set(type, [...users.get(type) ?? [], network]);
    }
  }
  const findings: Finding[] = [];
  for (const [type, wanting] of users) {
    try {
      await finder.find(type);
    } catch (error) {
      const titles = wanting.map(({ title }) => title).join(", ");
      findings.push({
        severity: wanting.some(({ isUsed }) => isUsed) ? "error" : "warning",
        subject: type,
        message: `${
          error instanceof Error ? error.message : error
        } (needed by ${titles})`,
        remedy: `Install ${type} into ${
          finder.dirs[0] ?? "the CNI directory"
        } of this node, mode 0755`,
      });
    }
  }
  return findings;
}

/** The key that names a link of the node, by plugin. */
const LINK_KEYS: Readonly<Record<string, string>> = {
  "macvlan": "master",
  "ipvlan": "master",
  "vlan": "master",
  "host-device": "device",
};

/** The link of the node that a plugin is put on; undefined when it names none. */
function linkOf({ type, text }: PluginConf): string | undefined {
  const key = Object.hasOwn(LINK_KEYS, type) ? LINK_KEYS[type] : undefined;
  if (key === undefined) return undefined;
  // The link is one of the pod then.
  if (getMember(text, "linkInContainer") === "true") return undefined;
  const name: unknown = JSON.parse(getMember(text, key) ?? "null");
  return typeof name === "string" && name !== "" ? name : undefined;
}

/** Whether the links that networks are put on are there. */
export function checkMasters(
  { networks, kernelLinks, view }: DoctorContext,
): Promise<Finding[]> {
  if (kernelLinks.problem !== undefined) {
    return Promise.resolve([unreadableLinks(kernelLinks.problem)]);
  }
  if (kernelLinks.value === undefined) return Promise.resolve([NO_IP]);
  const present = new Set(kernelLinks.value.map(({ ifname }) => ifname));
  const findings = (networks.value ?? []).flatMap((network) =>
    (network.list?.plugins ?? []).flatMap((plugin): Finding[] => {
      const link = linkOf(plugin);
      if (link === undefined || present.has(link)) return [];
      return [{
        severity: severityOf(network),
        subject: network.title,
        message:
          `plugin ${plugin.type} is to be put on a link that this node does not have: ${link}`,
        remedy: `Correct ${
          LINK_KEYS[plugin.type]
        } of the network, or make the link; ip -br link on ${
          view.nodeName || "the node"
        } lists those that there are`,
      }];
    })
  );
  return Promise.resolve(findings);
}

/** Why links are not looked at. */
export const NO_IP: Finding = {
  severity: "info",
  subject: "ip",
  message: "Links are not looked at: the profile grants multusctl no ip",
  remedy: "Set ipProgram in the profile, and build multusctl again",
};

/** Why links cannot be looked at. */
export function unreadableLinks(problem: string): Finding {
  return {
    severity: "warning",
    subject: "ip",
    message: `The links of this node cannot be listed: ${problem}`,
    remedy: "See whether ipProgram of the profile is the program ip",
  };
}

const NO_NODE_NAME: Finding = {
  severity: "info",
  subject: "pods",
  message:
    "The pods of this node are not looked at: MULTUS_NODE_NAME is not set, which names it",
  remedy:
    "Run multusctl in the daemon's container, or with MULTUS_NODE_NAME set to the node's name",
};

/** Whether what the pods of this node ask for can be read. */
export function checkPods(
  { pods, view }: DoctorContext,
): Promise<Finding[]> {
  if (pods.problem !== undefined) {
    return Promise.resolve([notLookedAt("pods", pods.problem)]);
  }
  if (view.nodeName === "") return Promise.resolve([NO_NODE_NAME]);
  const findings = (pods.value ?? []).flatMap((pod): Finding[] => {
    const { namespace, name, annotations } = pod;
    try {
      parseNetworks(annotations[NETWORKS_ANNOTATION] ?? "", namespace);
      return [];
    } catch (error) {
      return [{
        severity: "error",
        subject: `${namespace}/${name}`,
        message: error instanceof Error ? error.message : String(error),
        remedy:
          "Correct the annotation in what makes the pod, and delete the pod",
      }];
    }
  });
  return Promise.resolve(findings);
}
