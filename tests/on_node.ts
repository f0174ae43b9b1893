/**
 * Declares tests that make real interfaces. They run on a node of their own
 * (`tests/isolation.ts`); elsewhere they are skipped, and say so in their name.
 */
import { isOnTestNode } from "./node.ts";

const REASON = "skipped: not on a node of its own, use deno task test";

/** Declares a test that runs on a test node only. */
export function nodeTest(
  name: string,
  fn: (t: Deno.TestContext) => Promise<void>,
): void {
  const isOn = isOnTestNode();
  Deno.test({ name: isOn ? name : `${name} (${REASON})`, ignore: !isOn, fn });
}

/**
 * Runs one step of a test whose node goes on working beside it: what the
 * daemon says and what the API server is asked would look like leaks of the
 * step. The whole test is watched for them as usual.
 */
export async function step(
  t: Deno.TestContext,
  name: string,
  fn: () => Promise<void>,
): Promise<boolean> {
  return await t.step({
    name,
    fn,
    sanitizeOps: false,
    sanitizeResources: false,
  });
}
