/**
 * Looks at process groups, and at who else was started for something. A shell does the looking, because Deno reads /proc only with all permissions.
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

/**
 * The processes that live with `text` in their command line or environment: a name of its own there,
 * such as a temporary directory's, is handed down to children, whoever their parent is by now.
 */
export async function processesWith(text: string): Promise<number[]> {
  const grep = new Deno.Command("/bin/sh", {
    args: [
      "-c",
      "grep -lsaFf - /proc/[0-9]*/cmdline /proc/[0-9]*/environ",
    ],
    stdin: "piped",
    stdout: "piped",
  }).spawn();
  const writer = grep.stdin.getWriter();
  await writer.write(new TextEncoder().encode(text));
  await writer.close();
  const { stdout } = await grep.output();
  const pids = new TextDecoder().decode(stdout).matchAll(/^.proc.(\d+)/gm);
  return [...new Set([...pids].map(([, pid]) => Number(pid)))];
}

/** Returns when nobody of the group lives any more. */
export function groupGone(group: number): Promise<void> {
  return gone(() => membersOf(group));
}

/** Returns when no process with `text` lives any more. */
export function processesGone(text: string): Promise<void> {
  return gone(() => processesWith(text));
}

async function gone(look: () => Promise<number[]>): Promise<void> {
  const end = performance.now() + GONE_WAIT_MS;
  let members = await look();
  while (members.length > 0) {
    if (performance.now() > end) {
      throw new DOMException(
        `Still there: ${members.join(", ")}`,
        "TimeoutError",
      );
    }
    members = await look();
  }
}
