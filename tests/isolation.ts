/**
 * A node of our own to play on: a command run in new network, mount and
 * process namespaces, with the loopback up and a private `/run/netns`. When
 * the command ends, however it ends, interfaces, rules, mounts and processes
 * that it left are gone with the namespaces, so nothing of the machine is touched.
 *
 * As root, or in a user namespace where that is allowed.
 * Needs: run of `unshare`.
 */

/** Environment variable that is set inside; what it names is the node's name. */
export const INSIDE = "MULTUS_TEST_NODE";

/**
 * Runs as the first process of the namespaces; it stays, because it is the one that reaps what loses its
 * parent, and hands the signals on that end the demo or the tests.
 */
const SETUP = `
set -e
ip link set lo up
mkdir -p /run/netns
mount -t tmpfs -o size=1m netns /run/netns
set +e
"$@" &
child=$!
trap 'kill -TERM $child' TERM
trap 'kill -INT $child' INT
wait $child; status=$?
while kill -0 $child 2> /dev/null; do wait $child; status=$?; done
exit $status
`;

/** The words of a command that runs `command` isolated. */
export function isolated(command: readonly string[]): [string, ...string[]] {
  const user = Deno.uid() === 0 ? [] : ["--user", "--map-root-user"];
  return [
    "unshare",
    ...user,
    "--net",
    "--mount",
    "--pid",
    "--fork",
    "--kill-child",
    "--mount-proc",
    "sh",
    "-c",
    SETUP,
    "sh",
    ...command,
  ];
}

/** Whether this machine lets us isolate a command. */
export async function canIsolate(): Promise<boolean> {
  const [program, ...args] = isolated(["true"]);
  try {
    const outcome = await new Deno.Command(program, {
      args,
      stdin: "null",
      stdout: "null",
      stderr: "null",
    }).output();
    return outcome.success;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}
