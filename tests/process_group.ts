/**
 * Looks at process groups. A shell does the looking, because Deno reads /proc only with all permissions.
 */

/** SIGKILL needs a moment for each process; on a busy machine a long one. */
const GONE_WAIT_MS = 10_000;

/** The processes of a group that live; what has ended and waits for its parent does not. */
export async function membersOf(group: number): Promise<number[]> {
  const { stdout } = await new Deno.Command("/bin/sh", {
    args: ["-c", "cat /proc/[0-9]*/stat 2>/dev/null"],
  }).output();
  return new TextDecoder().decode(stdout).split("\n").flatMap((stat) => {
    const [state, , pgrp] = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    return Number(pgrp) === group && state !== "Z" ? [parseInt(stat)] : [];
  });
}

/** Whether a process is there, even if only as one that has ended. */
export async function isThere(pid: number): Promise<boolean> {
  const { success } = await new Deno.Command("/bin/sh", {
    args: ["-c", `test -e /proc/${pid}`],
  }).output();
  return success;
}

/** Returns when nobody of the group lives any more. */
export async function groupGone(group: number): Promise<void> {
  const end = performance.now() + GONE_WAIT_MS;
  let members = await membersOf(group);
  while (members.length > 0) {
    if (performance.now() > end) {
      throw new DOMException(
        `Still there: ${members.join(", ")}`,
        "TimeoutError",
      );
    }
    members = await membersOf(group);
  }
}
