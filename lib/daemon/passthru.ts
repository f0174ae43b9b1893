/**
 * The plugin `passthru` answered in this process: it hands on `prevResult` and
 * does nothing else, so there is no program to look for and no process to
 * start, and none has to be granted. Every other plugin goes to the Exec behind.
 *
 * CNI specification 1.1.0, section 2 "Execution Protocol".
 */
import type { Exec, PluginCall, PluginOutcome } from "../cni/exec.ts";
import { getMember } from "../cni/json_text.ts";
import { formatResult, parseResult } from "../cni/result.ts";
import { DEFAULT_VERSION, formatVersionDocument } from "../cni/version.ts";
import { PASSTHRU_TYPE } from "../selection/auxiliary_chain.ts";

/** In place of a path: nothing on a file system is called so. */
const IN_PROCESS = "passthru (in process)";

/** An Exec that answers for `passthru` by itself. */
export function withPassthru(exec: Exec): Exec {
  return {
    findInPath: (type, dirs) =>
      type === PASSTHRU_TYPE
        ? Promise.resolve(IN_PROCESS)
        : exec.findInPath(type, dirs),
    run: (call) =>
      call.path === IN_PROCESS
        ? Promise.resolve(
          {
            code: 0,
            signal: null,
            stdout: answer(call),
            stderr: "",
          } satisfies PluginOutcome,
        )
        : exec.run(call),
  };
}

function answer({ env, stdin }: PluginCall): string {
  const version: unknown = JSON.parse(getMember(stdin, "cniVersion") ?? "null");
  const cniVersion = typeof version === "string" ? version : DEFAULT_VERSION;
  if (env.CNI_COMMAND === "VERSION") return formatVersionDocument(cniVersion);
  if (env.CNI_COMMAND !== "ADD") return "";
  const previous = getMember(stdin, "prevResult");
  return JSON.stringify(
    previous === undefined
      ? { cniVersion }
      : formatResult(parseResult(previous, cniVersion), cniVersion),
  );
}
