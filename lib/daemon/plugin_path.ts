/**
 * CNI_PATH as plugins get it outside a pod. A plugin runs as root, outside of
 * the permissions of this process, and looks there for the plugins that it
 * starts itself (IPAM); the shim's owner says what stands in it, and may write
 * where DELs are left. So only directories stay that this process may read and
 * nobody writes through it. Inside a pod, `delegate-exec` sees to that.
 *
 * CNI specification 1.1.0, section 2 "Execution Protocol".
 */
import { isAbsolute, relative, resolve } from "node:path";
import type { Exec } from "../cni/exec.ts";

/** A runtime has one CNI_PATH, which is told with each request. */
const KNOWN_MAX = 16;

/** An Exec that tells plugins of no directory that a plugin could have been slipped into. `stateDir` is `cniDir`. */
export function withOwnPath(exec: Exec, stateDir: string): Exec {
  // This process gives no grant back: what was its own stays so.
  const known = new Map<string, string>();
  const ownPart = (path: string): string => {
    const present = known.get(path);
    if (present !== undefined) return present;
    const dirs = path.split(":").filter((dir) => isOwn(dir, stateDir));
    const own = dirs.join(":");
    if (known.size < KNOWN_MAX) known.set(path, own);
    return own;
  };
  return {
    findInPath: (type, dirs) => exec.findInPath(type, dirs),
    run: (call) =>
      exec.run({
        ...call,
        env: { ...call.env, CNI_PATH: ownPart(call.env.CNI_PATH ?? "") },
      }),
  };
}

function isOwn(dir: string, stateDir: string): boolean {
  if (!isAbsolute(dir)) return false;
  const path = resolve(dir);
  const [step] = relative(stateDir, path).split("/");
  return step === ".." && isGranted("read", path) &&
    (isBoundless() || !isGranted("write", path));
}

/** In a process that may write everywhere, as when it is being developed, that says nothing of a directory. */
function isBoundless(): boolean {
  return Deno.permissions.querySync({ name: "write" }).state === "granted";
}

function isGranted(name: "read" | "write", path: string): boolean {
  return Deno.permissions.querySync({ name, path }).state === "granted";
}
