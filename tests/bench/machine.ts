/**
 * What machine a run was made on.
 *
 * Needs run of `cat`, `sys` of the memory and the kernel.
 */
import { run } from "./node.ts";

/** One line: processors, memory, kernel, Deno, and how busy it was. */
export async function describeMachine(): Promise<string> {
  const cpus = await run("cat", "/proc/cpuinfo");
  const model = /^model name\s*:\s*(.*)$/m.exec(cpus)?.[1] ?? "unknown";
  const gigabytes = Deno.systemMemoryInfo().total / 1e9;
  const load = Deno.loadavg().map((value) => value.toFixed(1)).join(" ");
  return [
    `${navigator.hardwareConcurrency} x ${model}`,
    `${gigabytes.toFixed(0)} GB`,
    `Linux ${Deno.osRelease()}`,
    `Deno ${Deno.version.deno}`,
    `load ${load}`,
  ].join(", ");
}
