/**
 * How many ADDs may run at once where the configuration does not say: worked
 * out from processors and memory, because every plugin runs inside the
 * daemon's own memory limit, and a daemon that is killed for memory blocks
 * every pod of its node.
 *
 * @module
 */
import process from "node:process";

/** What the number of places for ADDs is worked out from. */
export interface Machine {
  /** Processors that this process may use. */
  readonly cpus: number;
  /** The memory limit of the daemon's own group, if there is one. */
  readonly memoryLimitBytes?: number;
  /** The configuration's `connectionLimit`, if there is one. */
  readonly connectionLimit?: number;
}

const MEBIBYTE = 1024 * 1024;

// The daemon itself with two informers and some load, measured, with room above.
const DAEMON_BYTES = 150 * MEBIBYTE;

// The largest delegate seen in the field (an agent's plugin in Go) takes 55 MB.
const PLUGIN_BYTES = 56 * MEBIBYTE;

// Plugins wait more than they compute, mostly for the kernel's one lock on links: four to a
// processor keep it busy, more only stand in each other's way.
const SLOTS_PER_CPU = 4;
const SLOTS_MIN = 4;
const SLOTS_MAX = 32;

/**
 * Places for ADDs that processors and memory limit allow. A limit that is too small for even one
 * plugin still gives one place: then the limit is wrong, and the pods should not suffer more.
 * `connectionLimit` is what the Go daemon calls its limit, and counts as if set for ADDs.
 */
export function defaultAddSlots(machine: Machine): number {
  if (machine.connectionLimit !== undefined && machine.connectionLimit > 0) {
    return machine.connectionLimit;
  }
  const byCpu = Math.min(
    Math.max(machine.cpus * SLOTS_PER_CPU, SLOTS_MIN),
    SLOTS_MAX,
  );
  if (machine.memoryLimitBytes === undefined) return byCpu;
  // Two lanes of this width can be full at once, ADD and DEL.
  const byMemory = (machine.memoryLimitBytes - DAEMON_BYTES) /
    (2 * PLUGIN_BYTES);
  return Math.max(1, Math.min(byCpu, Math.floor(byMemory)));
}

/**
 * Reads processors and memory limit of this process. Needs `sys=systemMemoryInfo` to know the
 * limit; without it, no limit is assumed.
 */
export function readMachine(): Machine {
  const cpus = navigator.hardwareConcurrency;
  try {
    return { cpus, memoryLimitBytes: process.constrainedMemory() };
  } catch (error) {
    if (error instanceof Deno.errors.NotCapable) return { cpus };
    throw error;
  }
}
