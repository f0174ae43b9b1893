/**
 * The daemon killed at every step of an ADD and of a DEL with four delegates.
 * Afterwards the next daemon must have undone what was begun, alone or with the
 * runtime's DEL, which comes while nobody is there or when somebody is again.
 */
import { readKernel } from "../pods.ts";
import type { Fault, Size } from "./fault.ts";
import {
  DELEGATES,
  deletePods,
  deleteQuietly,
  endPods,
  type Ground,
  waitForRecovery,
} from "./ground.ts";
import { faultOf, type Trial } from "./trials.ts";

/** One step before each plugin, one after it. */
const STEPS = 2 * DELEGATES;

/** When the runtime sends its DEL after the daemon has died in an ADD. */
type WhenDeleted = "never" | "meanwhile" | "afterwards";

/** The daemon is killed at every step of an ADD. */
export const KILLED_IN_ADD: Fault = faultOf(
  "kill -9 of the daemon at every step of an ADD with four delegates",
  {
    startsDaemon: true,
    trials: (size) => [
      ...stepsOf(size).flatMap((step) =>
        whensOf(size, step).map((when): Trial => [
          `step ${step}, DEL ${when}`,
          (ground) => killInAdd(ground, step, when),
        ])
      ),
      ["after the answer", killAfterAdd],
    ],
  },
);

function whensOf(size: Size, step: number): WhenDeleted[] {
  if (size === "full") return ["never", "meanwhile", "afterwards"];
  return [step % 2 === 0 ? "never" : "meanwhile"];
}

/** The daemon is killed at every step of a DEL. */
export const KILLED_IN_DEL: Fault = faultOf(
  "kill -9 of the daemon at every step of a DEL with four delegates",
  {
    startsDaemon: true,
    trials: (size) =>
      stepsOf(size).map((step) => [
        `step ${step}`,
        (ground) => killInDel(ground, step),
      ]),
  },
);

function stepsOf(size: Size): number[] {
  const all = Array.from({ length: STEPS }, (_, index) => index + 1);
  return size === "full" ? all : all.filter((step) => step % 3 === 1);
}

async function killInAdd(
  ground: Ground,
  step: number,
  when: WhenDeleted,
): Promise<string[]> {
  const { node } = ground;
  const sandbox = await ground.createPod();
  await ground.startDaemon();
  await ground.killAt(step);
  const added = await node.cni("ADD", sandbox, { conf: impatient(ground) });
  await ground.killDaemon();
  await ground.killAt(0);
  const wrong = added.code === 0 || added.json?.code !== 11
    ? [`ADD answered ${added.code}: ${added.stdout}`]
    : [];
  if (when === "meanwhile") wrong.push(...await deleteQuietly(ground, sandbox));
  await ground.startDaemon();
  if (when === "afterwards") {
    wrong.push(...await deleteQuietly(ground, sandbox));
  }
  wrong.push(...await endPods(ground, [sandbox]));
  await ground.killDaemon();
  return wrong;
}

/** An ADD whose daemon has died waits for the next one, as long as it is told: here it must not. */
function impatient({ node }: Ground): string {
  return JSON.stringify({ ...node.runtimeConf, shimWaitSeconds: 0 });
}

/** What was answered is there, and stays. */
async function killAfterAdd(ground: Ground): Promise<string[]> {
  const { node } = ground;
  const sandbox = await ground.createPod();
  await ground.startDaemon();
  const { code, stdout } = await node.cni("ADD", sandbox);
  if (code !== 0) return [`ADD answered ${code}: ${stdout}`];
  await ground.killDaemon();
  await ground.startDaemon();
  await waitForRecovery(
    "records in order",
    () =>
      node.daemonLog.lastIndexOf("Records are in order") >
        node.daemonLog.lastIndexOf("Serving"),
  );
  const names = Object.keys(await readKernel(sandbox)).sort();
  const wrong = names.join() === "eth0,net1,net2,net3"
    ? []
    : [`interfaces after the restart: ${names.join()}`];
  const check = await node.cni("CHECK", sandbox);
  if (check.code !== 0) wrong.push(`CHECK: ${check.stdout}`);
  wrong.push(...await deletePods(ground, [sandbox]));
  await ground.killDaemon();
  return wrong;
}

async function killInDel(ground: Ground, step: number): Promise<string[]> {
  const { node } = ground;
  const sandbox = await ground.createPod();
  await ground.startDaemon();
  await ground.killAt(0);
  const added = await node.cni("ADD", sandbox);
  if (added.code !== 0) return [`ADD answered: ${added.stdout}`];
  await ground.killAt(step);
  const wrong = await deleteQuietly(ground, sandbox);
  await ground.killDaemon();
  const taken = (await ground.steps()).length;
  if (taken < step) wrong.push(`only ${taken} steps were taken`);
  await ground.killAt(0);
  await ground.startDaemon();
  wrong.push(...await endPods(ground, [sandbox]));
  await ground.killDaemon();
  return wrong;
}
