/**
 * Plugins in a trace: each run is a span of its own, and the plugin is told of
 * it by `TRACEPARENT`, as the CNI specification has it for tracing.
 */
import { basename } from "node:path";
import type { Exec, PluginCall } from "../cni/exec.ts";
import type { Span } from "../wire/tracing.ts";

/** An Exec whose plugins each run in a span of their own, and are told of it by `TRACEPARENT`. */
export function withSpans(exec: Exec, parent: Span): Exec {
  return {
    findInPath: (type, dirs) => exec.findInPath(type, dirs),
    async run(call): ReturnType<Exec["run"]> {
      const span = parent.child(nameOf(call), {
        "cni.command": call.env.CNI_COMMAND ?? "",
        "cni.ifname": call.env.CNI_IFNAME ?? "",
      });
      const env = { ...call.env, TRACEPARENT: span.traceparent };
      try {
        const outcome = await exec.run({ ...call, env });
        span.end(
          outcome.code === 0 ? undefined : `exit status ${outcome.code}`,
        );
        return outcome;
      } catch (error) {
        span.end(error);
        throw error;
      }
    },
  };
}

function nameOf({ env, path }: PluginCall): string {
  return `${env.CNI_COMMAND} ${basename(path)}`;
}
