/**
 * CNI_ARGS of a delegate: who the pod is, what the runtime passed, and the
 * address requests in the form that older plugins read.
 *
 * @module
 */

import { type CniArgs, formatCniArgs } from "../cni/args.ts";
import { CniError, ErrorCode } from "../cni/error.ts";
import type { Delegate, PodIdentity } from "./delegate.ts";

type CniArg = CniArgs[number];

/** What the kernel takes as one variable is 128 KiB; far more than anybody needs, and a plugin that cannot be started cannot undo anything either. */
const CNI_ARGS_BYTES_MAX = 65_536;

/**
 * The pairs of CNI_ARGS for one delegate: the pod first, then the runtime's others, then `MAC` and `IP` as asked for.
 *
 * @throws {CniError} Code 4, if they are too long to be given to a plugin.
 */
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
  const args = [
    ...identity,
    ...runtimeArgs.filter(([key]) => !ours.has(key)),
    ...requested,
  ];
  const { length } = new TextEncoder().encode(formatCniArgs(args));
  if (length <= CNI_ARGS_BYTES_MAX) return args;
  throw new CniError(
    ErrorCode.invalidEnvironment,
    `CNI_ARGS may have ${CNI_ARGS_BYTES_MAX} bytes at most, found ${length}`,
  );
}

function requestedArgs({ selection }: Pick<Delegate, "selection">): CniArg[] {
  const requested: CniArg[] = [];
  if (selection?.mac !== undefined) requested.push(["MAC", selection.mac]);
  if (selection?.ips !== undefined) {
    requested.push(["IP", selection.ips.join(",")]);
  }
  return requested;
}
