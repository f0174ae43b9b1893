import assert from "node:assert/strict";
import { modeOf, type Problem, tellProblems } from "./auto_config_state.ts";

Deno.test("modeOf() tells the three ways apart", () => {
  assert.equal(modeOf({}), "off");
  assert.equal(modeOf({ multusConfigFile: "auto" }), "auto");
  assert.equal(modeOf({ multusConfigFile: "/tmp/auto" }), "copy");
});

Deno.test("tellProblems() tells each thing once, and when it is over", () => {
  const gone: Problem = { kind: "primary-missing", reason: "gone" };
  const broken: Problem = { kind: "primary-missing", reason: "broken" };
  const sorted: Problem = { kind: "not-effective", reason: "sorted" };
  const unready: Problem = { kind: "indicator-missing", reason: "unready" };
  const table: [before: Problem[], after: Problem[], told: string[]][] = [
    [[], [], []],
    [[], [gone], ["primary-missing: gone"]],
    [[gone], [gone], []],
    [[gone], [broken], ["primary-missing: broken"]],
    [[gone], [gone, sorted], ["not-effective: sorted"]],
    [[gone], [sorted], [
      "not-effective: sorted",
      "primary-back: The default network's configuration is there",
    ]],
    [[sorted, unready], [], [
      "effective: Runtimes use the configuration of Multus",
      "indicator-back: The readiness indicator is there",
    ]],
  ];
  for (const [before, after, told] of table) {
    const events = tellProblems(before, after);
    const shown = events.map(({ kind, message }) => `${kind}: ${message}`);
    assert.deepEqual(shown, told);
    for (const { kind, isWarning } of events) {
      assert.equal(isWarning, /missing|not-/.test(kind));
    }
  }
});
