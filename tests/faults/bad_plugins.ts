/**
 * Plugins that misbehave: that hang, leave children with the pipe open, print
 * without end, or are replaced while they run. What the runtime hears names the
 * plugin, what they began is undone, and none of their processes stays.
 */
import { join } from "node:path";
import { installNoopPlugin } from "../noop_plugin.ts";
import { runProgram, type ShimOutcome } from "../node.ts";
import { putDefinition } from "../pods.ts";
import type { Fault } from "./fault.ts";
import { deletePods, type Ground, prepareGround } from "./ground.ts";
import { faultOf, type Trial } from "./trials.ts";

const TYPE = "misbehaving";
const PLUGIN_SECONDS = 1;

/** What a plugin may take until it is ended, and what an answer may take then, on a busy machine. */
const ANSWER_MS_MAX = 20_000;

interface Case {
  readonly name: string;
  readonly script: string;
  /** What the ADD comes to: a result, or an error with words of it. */
  readonly wanted: "result" | RegExp;
}

const RESULT =
  'print "{\\"cniVersion\\":\\"1.0.0\\",\\"interfaces\\":[],\\"ips\\":[]}"';

const CASES: readonly Case[] = [
  { name: "hangs", script: "hang", wanted: /misbehaving/ },
  { name: "hangs with children", script: "brood; hang", wanted: /misbehaving/ },
  {
    name: "leaves a child with the pipe open",
    script: `leave 1000; ${RESULT}`,
    wanted: "result",
  },
  { name: "prints 10 MB", script: "flood 10", wanted: /misbehaving/ },
  {
    name: "logs 10 MB",
    script: `flood_log 10; ${RESULT}`,
    wanted: "result",
  },
  { name: "crashes", script: "crash SEGV", wanted: /misbehaving.*SEGV/ },
  { name: "prints rubbish", script: 'print "<html>"', wanted: /misbehaving/ },
];

/** Plugins that misbehave. */
export const BAD_PLUGINS: Fault = faultOf(
  "plugins that hang, fork, flood, crash, are replaced while they run",
  {
    prepare,
    trials: () => [
      ...CASES.map((one): Trial => [
        one.name,
        (ground) => runCase(ground, one),
      ]),
      ["is being replaced", replaceWhileAdding],
    ],
  },
);

async function prepare(): Promise<Ground> {
  const ground = await prepareGround({
    plugins: [TYPE],
    daemonConf: { pluginTimeoutSeconds: PLUGIN_SECONDS },
  });
  putDefinition(ground.node, "bad", {
    cniVersion: "1.0.0",
    name: "bad",
    type: TYPE,
  });
  return ground;
}

async function runCase(ground: Ground, one: Case): Promise<string[]> {
  const { node } = ground;
  await installNoopPlugin(node.binDir, TYPE, { ADD: one.script, DEL: "" });
  const sandbox = await ground.createPod("bad,one");
  const added = await node.cni("ADD", sandbox);
  const wrong = judge(added, one);
  wrong.push(...await deletePods(ground, [sandbox]));
  // What a plugin that came to its end has left behind is its own; what was ended leaves nothing.
  if (one.wanted !== "result") wrong.push(...await listProcesses());
  else await endProcesses();
  return wrong;
}

function judge({ code, stdout, durationMs }: ShimOutcome, one: Case): string[] {
  const wrong: string[] = [];
  const isGood = one.wanted === "result"
    ? code === 0
    : code !== 0 && one.wanted.test(stdout) && stdout.length < 1_024;
  if (!isGood) wrong.push(`ADD answered ${code}: ${stdout.slice(0, 300)}`);
  if (durationMs > ANSWER_MS_MAX) wrong.push(`ADD took ${durationMs} ms`);
  return wrong;
}

/** Processes of the plugin, by the argument that is its path and nothing else. */
async function listProcesses(): Promise<string[]> {
  const { stdout } = await runProgram([
    "sh",
    "-c",
    `grep -lzE '^/[^ ]*/${TYPE}$' /proc/[0-9]*/cmdline 2>/dev/null`,
  ]);
  return stdout.split("\n").filter((path) => path !== "")
    .map((path) => `process ${path}`);
}

async function endProcesses(): Promise<void> {
  for (const line of await listProcesses()) {
    const pid = Number(line.split("/")[2]);
    try {
      Deno.kill(pid, "SIGKILL");
    } catch {
      // It has ended by itself.
    }
  }
}

/** The plugin's file is open for writing while it is wanted, as an installer that copies has it. */
async function replaceWhileAdding(ground: Ground): Promise<string[]> {
  const { node } = ground;
  const path = join(node.binDir, TYPE);
  await installNoopPlugin(node.binDir, TYPE, { ADD: RESULT, DEL: "" });
  const sandbox = await ground.createPod("bad,one");
  const writer = await Deno.open(path, { write: true });
  const adding = node.cni("ADD", sandbox);
  const early = await Promise.race([
    adding,
    new Promise<undefined>((resolve) => setTimeout(resolve, 300, undefined)),
  ]);
  writer.close();
  const { code, stdout } = early ?? await adding;
  const wrong = code === 0 ? [] : [`ADD answered ${code}: ${stdout}`];
  wrong.push(...await deletePods(ground, [sandbox]));
  return wrong;
}
