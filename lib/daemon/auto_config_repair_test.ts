import assert from "node:assert/strict";
import {
  describeHabit,
  nextRepairAt,
  recentRepairs,
} from "./auto_config_repair.ts";

const PACE = { minMs: 1_000, maxMs: 30_000 };

Deno.test("nextRepairAt() allows the first at once, the others ever later", () => {
  assert.equal(nextRepairAt([], PACE), -Infinity);
  const waits = [1, 2, 3, 4, 5, 6, 7, 100].map((count) =>
    nextRepairAt(Array(count).fill(50_000), PACE) - 50_000
  );
  const expected = [1, 2, 4, 8, 16, 30, 30, 30].map((s) => s * 1_000);
  assert.deepEqual(waits, expected);
});

Deno.test("recentRepairs() forgets what is long ago", () => {
  assert.deepEqual(recentRepairs([0, 1, 600_000], 600_000), [1, 600_000]);
  assert.deepEqual(recentRepairs([0, 1], 6_000_000), []);
});

Deno.test("describeHabit() tells apart what happens once and what keeps happening", () => {
  assert.equal(describeHabit([1, 2], "renamed"), "");
  const told = (["renamed", "deleted", "changed"] as const).map((tampering) =>
    describeHabit([1, 2, 3], tampering)
  );
  assert.deepEqual(told, [
    "another agent keeps renaming us: repaired 3 times in 10 minutes",
    "another agent keeps deleting us: repaired 3 times in 10 minutes",
    "another agent keeps changing our file: repaired 3 times in 10 minutes",
  ]);
});
