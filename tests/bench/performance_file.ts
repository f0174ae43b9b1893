/**
 * `deployments/PERFORMANCE.md`: the table of the last run stands between two
 * marks, everything around it is written by hand.
 */
import { join } from "node:path";
import { run } from "./node.ts";

const FILE = join(
  import.meta.dirname ?? ".",
  "..",
  "..",
  "deployments",
  "PERFORMANCE.md",
);
const BEGIN = "<!-- written by deno task bench --write -->";
const END = "<!-- end of what is written -->";

/** Puts a table into the file, and the file into its format. */
export async function writePerformanceFile(table: string): Promise<void> {
  const text = await Deno.readTextFile(FILE);
  const begin = text.indexOf(BEGIN);
  const end = text.indexOf(END);
  if (begin < 0 || end < begin) {
    throw new SyntaxError(`The marks of the table are missing: ${FILE}`);
  }
  const before = text.slice(0, begin + BEGIN.length);
  await Deno.writeTextFile(FILE, `${before}\n\n${table}\n\n${text.slice(end)}`);
  await run(Deno.execPath(), "fmt", "--quiet", FILE);
}
