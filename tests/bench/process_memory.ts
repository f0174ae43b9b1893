/**
 * What a process has in memory.
 *
 * Needs run of `cat`: Deno itself does not let a program read below `/proc` without all permissions.
 */
import { run } from "./node.ts";

/** Megabytes. */
export interface ProcessMemory {
  readonly residentMB: number;
  /** What goes when the process ends: not shared with others. */
  readonly privateMB: number;
}

/** Looks at a process. */
export async function memoryOf(pid: number): Promise<ProcessMemory> {
  const text = await run("cat", `/proc/${pid}/smaps_rollup`);
  const kilobytes = (name: string): number =>
    Number(new RegExp(`^${name}:\\s+(\\d+) kB`, "m").exec(text)?.[1] ?? 0);
  return {
    residentMB: kilobytes("Rss") / 1024,
    privateMB: (kilobytes("Private_Clean") + kilobytes("Private_Dirty")) / 1024,
  };
}
