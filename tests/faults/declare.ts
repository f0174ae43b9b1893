/** Declares the bounded form of a fault as a test. */
import { deepEqual, equal, ok } from "node:assert/strict";
import { nodeTest } from "../on_node.ts";
import type { Fault } from "./fault.ts";

/** The bounded form of a fault, as a test: something was tried, and nothing is left over. */
export function faultTest(fault: Fault): void {
  nodeTest(`the daemon survives: ${fault.name}`, async () => {
    const { tried, survived, leftOver } = await fault.run("bounded", () => {});
    deepEqual(leftOver, []);
    ok(tried > 0);
    equal(survived, tried);
  });
}
