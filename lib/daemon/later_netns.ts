/**
 * Network namespaces that were written down, for when they are needed later.
 */

/**
 * The path of a recorded network namespace as it may be used later. One that
 * goes by a process (`/proc/<pid>/ns/net`) may by then be another pod's, or
 * the node's own, because process numbers are used again: then it is empty,
 * which to a plugin says that the namespace is gone, and the rest is undone.
 * Only a request of the runtime's own says what such a path means now.
 */
export function laterNetns(recorded: string | undefined): string {
  if (recorded === undefined || recorded.startsWith("/proc/")) return "";
  return recorded;
}
