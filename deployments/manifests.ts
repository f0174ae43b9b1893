/**
 * `deno task manifests`: writes the manifests of all kinds of nodes from
 * `kubernetes_objects.ts`, the profiles and the list of kinds. With `--check`
 * it writes nothing and exits 1 when a file is not what it would write.
 *
 * Needs: read of the tree; write of `deployments` unless it only checks.
 */
import { join } from "node:path";
import { type Document, Document as YamlDocument, isScalar } from "yaml";
import { parseProfile } from "../lib/cli/profile.ts";
import type { Profile } from "../lib/grants.ts";
import {
  CAPABILITIES,
  deploymentObjects,
  uninstallObjects,
} from "./kubernetes_objects.ts";
import { IMAGE, NODE_KINDS, type NodeKind } from "./node_kinds.ts";

/** Where this file is, and the manifests. */
const DEPLOYMENTS = import.meta.dirname ?? "";

/** A manifest that is generated. */
export interface Manifest {
  /** The file's name in `deployments`. */
  readonly name: string;
  /** The kind of nodes it is for. */
  readonly kind: NodeKind;
  /** What the programs in its image are built with. */
  readonly profile: Profile;
  /** The YAML. */
  readonly text: string;
}

/** The profile of a kind of node with the places that the image has. */
export async function imageProfile(kind: NodeKind): Promise<Profile> {
  const path = join(DEPLOYMENTS, "profiles", `${kind.profile}.json`);
  return parseProfile(await Deno.readTextFile(path), {
    ...IMAGE,
    // The probe runs the shim in the image; install makes it start the host's own deno.
    hostDeno: IMAGE.deno,
  });
}

/** All manifests. Needs read of the profiles. */
export async function renderManifests(): Promise<Manifest[]> {
  const manifests = await Promise.all(NODE_KINDS.map(async (kind) => {
    const profile = await imageProfile(kind);
    return [
      {
        name: `multus-daemonset-thick${kind.suffix}.yml`,
        kind,
        profile,
        text: render(deploymentObjects(kind, profile), headOf(kind)),
      },
      {
        name: `multus-uninstall${kind.suffix}.yml`,
        kind,
        profile,
        text: render(uninstallObjects(kind, profile), uninstallHeadOf(kind)),
      },
    ];
  }));
  return manifests.flat();
}

function headOf({ title, suffix }: NodeKind): string {
  return ` Multus for ${title}.
 Written by "deno task manifests" from kubernetes_objects.ts: change that.
 kubectl apply -f multus-daemonset-thick${suffix}.yml
 Applied where the Go Multus runs, it takes its place. To take it off again, see
 multus-uninstall${suffix}.yml.`;
}

function uninstallHeadOf({ title, suffix }: NodeKind): string {
  return ` Takes Multus off the nodes: ${title}.
 Written by "deno task manifests" from kubernetes_objects.ts: change that.
   kubectl -n kube-system delete daemonset kube-multus-ds --cascade=foreground
   kubectl apply -f multus-uninstall${suffix}.yml
   kubectl -n kube-system rollout status daemonset multus-uninstall --timeout=0
   kubectl delete -f multus-uninstall${suffix}.yml
 New pods get the primary network alone as soon as the second is done. The third
 waits for pods that still have further networks; the logs of a node's pod say
 which they are.`;
}

function render(objects: readonly object[], head: string): string {
  const documents = objects.map((object) => {
    const document = new YamlDocument(object, { aliasDuplicateObjects: false });
    explainCapabilities(document);
    return document.toString({ lineWidth: 0 });
  });
  const comment = head.split("\n").map((line) => `#${line}`).join("\n");
  return `${comment}\n---\n${documents.join("---\n")}`;
}

/** Puts the reason beside each capability: who reviews the manifest asks for it. */
function explainCapabilities(document: Document): void {
  const spec = ["spec", "template", "spec"];
  for (const list of ["containers", "initContainers"]) {
    const path = [...spec, list, 0, "securityContext", "capabilities", "add"];
    for (const index of Object.keys(CAPABILITIES).keys()) {
      const item = document.getIn([...path, index], KEEP_NODE);
      if (!isScalar(item)) continue;
      item.comment = ` ${CAPABILITIES[String(item.value)]}`;
    }
  }
}

const KEEP_NODE = true;

async function main(args: readonly string[]): Promise<number> {
  const say = (line: string): void =>
    void Deno.stderr.writeSync(new TextEncoder().encode(`${line}\n`));
  let code = 0;
  for (const { name, text } of await renderManifests()) {
    const path = join(DEPLOYMENTS, name);
    if (!args.includes("--check")) await Deno.writeTextFile(path, text);
    else if (await Deno.readTextFile(path).catch(() => "") !== text) {
      say(`Not up to date, run deno task manifests: ${name}`);
      code = 1;
    }
  }
  return code;
}

if (import.meta.main) Deno.exitCode = await main(Deno.args);
