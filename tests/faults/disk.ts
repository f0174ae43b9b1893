/**
 * The state directory on a disk that is full, or that cannot be written. What
 * cannot be recorded is not begun; what is attached can be undone, now or when
 * there is room again.
 */
import { runProgram, type Sandbox } from "../node.ts";
import { readKernel } from "../pods.ts";
import { createTally, type Fault, type Outcome } from "./fault.ts";
import {
  addQuietly,
  deletePods,
  deleteQuietly,
  endPods,
  type Ground,
  prepareGround,
} from "./ground.ts";

/** Room for a few pods' records, and filled at once. */
const DISK_KB = 512;

const IO_FAILURE = 5;

/** A small disk for the state. */
export const FULL_DISK: Fault = {
  name: "the state's disk full, or read-only",
  async run(size, say): Promise<Outcome> {
    await using ground = await prepareGround();
    const dir = ground.node.profile.cniStateDir;
    await run("mount", "-t", "tmpfs", "-o", `size=${DISK_KB}k`, "state", dir);
    await using _mounted = { [Symbol.asyncDispose]: () => run("umount", dir) };
    await ground.startDaemon();
    // Its open files would keep the disk.
    await using _stopped = {
      [Symbol.asyncDispose]: () => ground.killDaemon(),
    };
    const tally = createTally(say);
    for (let round = size === "full" ? 5 : 1; round > 0; round--) {
      await tally.trial("full", () => tryFull(ground, dir));
      await tally.trial(
        "filled between two ADDs",
        () => tryNoRoom(ground, dir),
      );
      await tally.trial("read-only", () => tryReadOnly(ground, dir));
    }
    return tally.outcome();
  },
};

async function run(...command: [string, ...string[]]): Promise<void> {
  const { code, stderr } = await runProgram(command);
  if (code !== 0) throw new Deno.errors.InvalidData(stderr);
}

/** Fills the disk to the last byte; the file goes when the answer is disposed of. */
async function fill(dir: string): Promise<AsyncDisposable> {
  const path = `${dir}/.filling`;
  await runProgram(["dd", "if=/dev/zero", `of=${path}`, "bs=1k"]);
  return { [Symbol.asyncDispose]: () => Deno.remove(path) };
}

async function tryFull(ground: Ground, dir: string): Promise<string[]> {
  const [attached, refused] = [
    await ground.createPod(),
    await ground.createPod(),
  ];
  const wrong = await addQuietly(ground, attached);
  {
    await using _full = await fill(dir);
    wrong.push(...await addInVain(ground, refused));
    wrong.push(...await deleteQuietly(ground, attached));
    wrong.push(...await namesOf(attached));
    wrong.push(...await deleteQuietly(ground, refused));
  }
  wrong.push(...await endPods(ground, [attached, refused]));
  return wrong;
}

/** An ADD that fails with the reason, and has run nothing. */
async function addInVain(
  ground: Ground,
  sandbox: Sandbox,
): Promise<string[]> {
  await ground.killAt(0);
  const { json, stdout } = await ground.node.cni("ADD", sandbox);
  const wrong = json?.code === IO_FAILURE ? [] : [`ADD answered: ${stdout}`];
  wrong.push(...(await ground.steps()).map((step) => `ran ${step}`));
  return wrong;
}

async function namesOf(sandbox: Sandbox): Promise<string[]> {
  const names = Object.keys(await readKernel(sandbox));
  return names.map((name) => `interface ${name} is still there`);
}

/** Room for the record, none for the results: what was begun is undone. */
async function tryNoRoom(ground: Ground, dir: string): Promise<string[]> {
  const sandbox = await ground.createPod();
  const wrong: string[] = [];
  {
    await using _full = await fill(dir);
    // The record of four attachments takes three or four pages of 4 kB.
    await Deno.truncate(`${dir}/.filling`, (DISK_KB - 20) * 1_024);
    const { code, stdout } = await ground.node.cni("ADD", sandbox);
    const names = Object.keys(await readKernel(sandbox)).length;
    const isWhole = code === 0 && names === 4;
    const isUndone = code !== 0 && names === 0;
    if (!isWhole && !isUndone) wrong.push(`ADD with ${names}: ${stdout}`);
  }
  wrong.push(...await deletePods(ground, [sandbox]));
  return wrong;
}

async function tryReadOnly(ground: Ground, dir: string): Promise<string[]> {
  const [attached, refused] = [
    await ground.createPod(),
    await ground.createPod(),
  ];
  const wrong = await addQuietly(ground, attached);
  await run("mount", "-o", "remount,ro", dir);
  try {
    wrong.push(...await addInVain(ground, refused));
    // It cannot be written down that it is undone, so the runtime has to come again.
    const { code } = await ground.node.cni("DEL", attached);
    if (code === 0) wrong.push("DEL answered 0, and nobody will know");
    wrong.push(...await namesOf(attached));
  } finally {
    await run("mount", "-o", "remount,rw", dir);
  }
  wrong.push(...await deleteQuietly(ground, attached));
  wrong.push(...await endPods(ground, [attached, refused]));
  return wrong;
}
