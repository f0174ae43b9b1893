/**
 * Which pod a call is about: what the runtime says of it in CNI_ARGS. Whether
 * that pod exists is the API server's to say.
 */
import type { CmdArgs, CniArgs } from "../cni/args.ts";
import { parseCniArgs } from "../cni/args.ts";
import { CniError, ErrorCode } from "../cni/error.ts";
import type { PodIdentity } from "../selection/delegate.ts";

/** The pod of a call, and all of CNI_ARGS. */
export interface PodArgs {
  /** The pod, by what the runtime knows of it. */
  readonly pod: PodIdentity;
  /** All of CNI_ARGS, in order. */
  readonly cniArgs: CniArgs;
}

function valueOf(args: CniArgs, key: string): string {
  return args.findLast(([name]) => name === key)?.[1] ?? "";
}

/**
 * The pod that CNI_ARGS name. A runtime that gives no UID is an old one: then it stays empty.
 *
 * @throws {CniError} 4 when they name no pod.
 */
export function readPodArgs(args: CmdArgs): PodArgs {
  const cniArgs = parseCniArgs(args.args);
  const pod: PodIdentity = {
    namespace: valueOf(cniArgs, "K8S_POD_NAMESPACE"),
    name: valueOf(cniArgs, "K8S_POD_NAME"),
    uid: valueOf(cniArgs, "K8S_POD_UID"),
    containerId: args.containerId,
  };
  if (pod.namespace !== "" && pod.name !== "") return { pod, cniArgs };
  throw new CniError(
    ErrorCode.invalidEnvironment,
    "CNI_ARGS names no pod: K8S_POD_NAMESPACE and K8S_POD_NAME are needed",
  );
}
