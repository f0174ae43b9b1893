/**
 * From a call to the operation that it names. What each does is in
 * `operations.ts`, `hotplug.ts` and `node_operations.ts`.
 */
import { CniError, ErrorCode } from "../cni/error.ts";
import type { Result } from "../cni/result.ts";
import {
  addInterface,
  checkInterface,
  deleteInterface,
  statusOfDelegate,
} from "./hotplug.ts";
import { collectGarbage, status } from "./node_operations.ts";
import { add, check, del, type OperationParts } from "./operations.ts";
import type { Call, Check, Operations } from "./server.ts";

function unknownCommand(call: Call): CniError {
  return new CniError(
    ErrorCode.invalidEnvironment,
    `The daemon does not do CNI_COMMAND ${call.args.command}`,
  );
}

/** An operation that answers with nothing. */
async function silent(done: Promise<void>): Promise<Result | undefined> {
  await done;
  return undefined;
}

/** The operations of the daemon, by the names that the protocol has for them. */
export function createDispatch(
  parts: OperationParts,
  readiness: () => readonly Check[],
): Operations {
  return {
    cni(call): Promise<Result | undefined> {
      switch (call.args.command) {
        case "ADD":
          return add(parts, call);
        case "DEL":
          return silent(del(parts, call));
        case "CHECK":
          return silent(check(parts, call));
        case "GC":
          return silent(collectGarbage(parts, call));
        case "STATUS":
          return silent(status(parts, call, readiness));
        default:
          return Promise.reject(unknownCommand(call));
      }
    },
    delegate(call): Promise<Result | undefined> {
      switch (call.args.command) {
        case "ADD":
          return addInterface(parts, call);
        case "DEL":
          return silent(deleteInterface(parts, call));
        case "CHECK":
          return silent(checkInterface(parts, call));
        case "STATUS":
          return silent(statusOfDelegate(parts, call));
        default:
          return Promise.reject(unknownCommand(call));
      }
    },
  };
}
