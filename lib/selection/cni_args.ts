/**
 * CNI_ARGS of a delegate: who the pod is, what the runtime passed, and the
 * address requests in the form that older plugins read.
 *
 * @module
 */

import type { CniArgs } from "../cni/args.ts";
import type { Delegate, PodIdentity } from "./delegate.ts";

type CniArg = CniArgs[number];

/** The pairs of CNI_ARGS for one delegate: the pod first, then the runtime's others, then `MAC` and `IP` as asked for. */
export function buildCniArgs(
  pod: PodIdentity,
  delegate: Pick<Delegate, "selection">,
  runtimeArgs: CniArgs,
): CniArgs {
  const identity: CniArg[] = [
    ["IgnoreUnknown", "true"],
    ["K8S_POD_NAMESPACE", pod.namespace],
    ["K8S_POD_NAME", pod.name],
    ["K8S_POD_INFRA_CONTAINER_ID", pod.containerId],
    ["K8S_POD_UID", pod.uid],
  ];
  const requested = requestedArgs(delegate);
  const ours = new Set([...identity, ...requested].map(([key]) => key));
  return [
    ...identity,
    ...runtimeArgs.filter(([key]) => !ours.has(key)),
    ...requested,
  ];
}

function requestedArgs({ selection }: Pick<Delegate, "selection">): CniArg[] {
  const requested: CniArg[] = [];
  if (selection?.mac !== undefined) requested.push(["MAC", selection.mac]);
  if (selection?.ips !== undefined) {
    requested.push(["IP", selection.ips.join(",")]);
  }
  return requested;
}
