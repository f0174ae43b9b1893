/**
 * Plugins are looked for once in a request: an ADD wants to know before it
 * begins that all are there, and then runs one after the other, many of them
 * several times. The next request looks again. A plugin that goes away in
 * between fails when it is started, which names it as well.
 */
import type { Exec } from "../cni/exec.ts";

/** An Exec for one request, which remembers what it has found. */
export function withFoundPlugins(exec: Exec): Exec {
  const found = new Map<string, string>();
  return {
    async findInPath(type, dirs): Promise<string> {
      const key = JSON.stringify([type, ...dirs]);
      const path = found.get(key) ?? await exec.findInPath(type, dirs);
      found.set(key, path);
      return path;
    },
    run: (call) => exec.run(call),
  };
}
