/**
 * More pods at once than there is memory for, if all plugins ran at once: the
 * daemon runs a few at a time, the others wait in order of arrival, and all
 * succeed. Meanwhile DEL and health checks do not wait.
 */
import { installNoopPlugin, waitForFile } from "../noop_plugin.ts";
import type { Sandbox } from "../node.ts";
import { createPod } from "../pods.ts";
import { createTally, type Fault, type Outcome } from "./fault.ts";
import { askDaemon, type Ground, prepareGround } from "./ground.ts";

const TYPE = "heavy";
const SLOTS = 8;
const PLUGIN_MB = 55;

/** What the daemon and the shells around the plugins may take beside the plugins. */
const REST_MB = 150;

/** A health check or the DEL of an unknown container, while everything waits. */
const ASIDE_MS_MAX = 5_000;

/**
 * Holds 52 MB for a while: `tail` keeps what it will print, and its reader is
 * late. With its own pages it comes to what the largest plugin in the field takes.
 */
function heavyScript(seconds: number): string {
  const bytes = 52 * 1024 * 1024;
  return `/usr/bin/head -c ${bytes} /dev/zero | /usr/bin/tail -c ${bytes} | (/bin/sleep ${seconds}; /bin/cat > /dev/null)
mark started
print "{\\"cniVersion\\":\\"1.0.0\\",\\"interfaces\\":[],\\"ips\\":[]}"`;
}

/** 200 ADDs at once. */
export const BURST: Fault = {
  name: "200 ADDs at once, each with a plugin of 55 MB and 2 s",
  async run(size, say): Promise<Outcome> {
    const [count, seconds] = size === "full" ? [200, 2] : [24, 1];
    await using ground = await prepareGround({
      plugins: [TYPE],
      daemonConf: { addConcurrency: SLOTS },
    });
    const { node } = ground;
    await installNoopPlugin(node.binDir, TYPE, {
      ADD: heavyScript(seconds),
      DEL: "",
    });
    node.runtimeConf = {
      ...node.runtimeConf,
      clusterNetwork: undefined,
      delegates: [{ cniVersion: "1.0.0", name: "heavy", type: TYPE }],
    };
    await ground.startDaemon();
    const sandboxes = await Array.fromAsync(
      { length: count },
      (_, index) => createPod(node, `burst-${index}`),
    );
    const tally = createTally(say);
    await using sampler = startSampler(node.daemonPid);
    const adding = Promise.all(
      sandboxes.map((sandbox) =>
        tally.trial(
          `ADD of ${sandbox.name}`,
          () => call(ground, "ADD", sandbox),
        )
      ),
    );
    await waitForFile(`${node.binDir}/${TYPE}.mark.started`);
    await tally.trial("DEL meanwhile", () => deleteMeanwhile(ground));
    await adding;
    const peakMb = await sampler.peakMb();
    await tally.trial("memory", () => {
      const mostMb = SLOTS * PLUGIN_MB + REST_MB;
      // Less than one plugin would be a sampler that sees nothing.
      const isGood = peakMb < mostMb && peakMb > 2 * PLUGIN_MB;
      return Promise.resolve(isGood ? [] : [`${peakMb} of ${mostMb} MB`]);
    });
    for (const sandbox of sandboxes) {
      await tally.trial("DEL", () => call(ground, "DEL", sandbox));
    }
    await tally.trial("afterwards", () => ground.leftOver([]));
    return tally.outcome();
  },
};

/** A call without a shim: two hundred of those would be the load that is measured. */
async function call(
  ground: Ground,
  command: string,
  sandbox: Sandbox,
): Promise<string[]> {
  const { status, body } = await askDaemon(ground, command, sandbox);
  return status === 200 ? [] : [`answered ${status}: ${body}`];
}

async function deleteMeanwhile(ground: Ground): Promise<string[]> {
  const start = performance.now();
  const sandbox = await ground.createPod("");
  const wrong = await call(ground, "DEL", sandbox);
  const ms = performance.now() - start;
  if (ms > ASIDE_MS_MAX) wrong.push(`took ${Math.round(ms)} ms`);
  return wrong;
}

interface Sampler extends AsyncDisposable {
  /** Ends it; the most memory that the process and all below it had at once. */
  peakMb(): Promise<number>;
}

/**
 * Adds up the memory of a process and its descendants, again and again, shared
 * pages by their share. A shell looks, because Deno reads /proc only with all
 * permissions; it ends when the file in its second argument has gone.
 */
const SAMPLER = `
while :; do
  cat /proc/[0-9]*/stat 2>/dev/null | awk -v root="$1" '
    { pid = $1; sub(/.*\\) /, ""); parent[pid] = $2 }
    END {
      for (pid in parent) {
        for (at = pid; at in parent && at != root; at = parent[at]);
        if (at == root) print pid
      }
    }' | while read -r pid; do
      grep -s '^Pss:' "/proc/$pid/smaps_rollup"
    done | awk '{ sum += $2 } END { print int(sum / 1024) }'
  [ -e "$2" ] || exit 0
done`;

function startSampler(pid: number): Sampler {
  const stopFile = Deno.makeTempFileSync();
  const child = new Deno.Command("sh", {
    args: ["-c", SAMPLER, "sh", String(pid), stopFile],
    stdin: "null",
    stdout: "piped",
    stderr: "null",
  }).spawn();
  const output = child.output();
  let stopped: Promise<void> | undefined;
  const stop = (): Promise<void> => stopped ??= Deno.remove(stopFile);
  return {
    async peakMb(): Promise<number> {
      await stop();
      const { stdout } = await output;
      const samples = new TextDecoder().decode(stdout).trim().split("\n");
      return Math.max(...samples.map(Number));
    },
    async [Symbol.asyncDispose](): Promise<void> {
      await stop();
      await output;
    },
  };
}
