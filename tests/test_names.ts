/**
 * Prints the names of all tests as JSON, by file, without running one: test
 * modules are loaded with a `Deno.test` that only writes down what it is given.
 * What stands there is what `deno test` would find, names made in loops included.
 *
 * Arguments: the test files. Needs read of the repository, and what the modules
 * ask for when they are loaded.
 */
import { relative } from "node:path";
import { pathToFileURL } from "node:url";
import { INSIDE } from "./isolation.ts";

type Given = Parameters<typeof Deno.test>;

/** The name in any of the forms that `Deno.test` takes. */
function nameOf(given: readonly unknown[]): string {
  for (const part of given) {
    if (typeof part === "string") return part;
    if (typeof part === "function" && part.name !== "") return part.name;
    if (typeof part === "object" && part !== null && "name" in part) {
      return String(part.name);
    }
  }
  throw new TypeError("A test has no name");
}

/** Loads modules and collects the tests that they declare. */
export async function collectTestNames(
  files: readonly string[],
): Promise<Record<string, string[]>> {
  // On a node of their own, tests have no words about being skipped in their names.
  Deno.env.set(INSIDE, "names");
  const names: Record<string, string[]> = {};
  let current: string[] = [];
  const collect = (...given: Given): void => void current.push(nameOf(given));
  const nothing = (): void => {};
  const original = Object.getOwnPropertyDescriptor(Deno, "test");
  Object.defineProperty(Deno, "test", {
    configurable: true,
    value: Object.assign(collect, {
      ignore: collect,
      only: collect,
      beforeAll: nothing,
      beforeEach: nothing,
      afterAll: nothing,
      afterEach: nothing,
    }),
  });
  try {
    for (const file of files) {
      current = names[relative(Deno.cwd(), file)] = [];
      await import(pathToFileURL(file).href);
    }
  } finally {
    if (original !== undefined) Object.defineProperty(Deno, "test", original);
  }
  return names;
}

if (import.meta.main) {
  const text = JSON.stringify(await collectTestNames(Deno.args), null, 1);
  await Deno.stdout.write(new TextEncoder().encode(`${text}\n`));
  Deno.exit(0);
}
