import { deepEqual, equal, match } from "node:assert/strict";
import {
  findFaults,
  findForgotten,
  readReport,
  renderConformance,
} from "./conformance.ts";
import { CONFORMANCE } from "./conformance_items.ts";

const FILES = new Map([
  ["a test", ["a_test.ts"]],
  ["b | test", ["b_test.ts"]],
  ["twice", ["a_test.ts", "b_test.ts"]],
]);

Deno.test("readReport() tells passed, failed and skipped tests, steps apart", () => {
  const outcomes = readReport(`<testsuites><testsuite>
    <testcase name="a &lt;b&gt; &amp;lt; &quot;c&apos;" time="1">
    </testcase>
    <testcase name="failed" time="1">
      <failure message="x">y</failure>
    </testcase>
    <testcase name="skipped" time="0"><skipped/></testcase>
    <testcase name="a &gt; step" time="0"/>
  </testsuite></testsuites>`);
  deepEqual([...outcomes], [
    ["a <b> &lt; \"c'", "passed"],
    ["failed", "failed"],
    ["skipped", "skipped"],
    ["a > step", "passed"],
  ]);
});

Deno.test("findFaults() finds rows without a test, and tests that are not there or not one", () => {
  const items = [
    { item: "good", tests: ["a test", "b | test"] },
    { item: "bare", tests: [] },
    { item: "wrong", tests: ["a test", "gone"] },
    { item: "unclear", tests: ["twice"] },
  ];
  deepEqual(findFaults([{ title: "T", items }], FILES), [
    "T: bare: no test",
    "T: wrong: there is no such test: gone",
    "T: unclear: the name is not one test's: twice",
  ]);
});

Deno.test("findForgotten() names keys and flags that no row is about", () => {
  deepEqual(findForgotten(CONFORMANCE), []);
  const without = CONFORMANCE.map((section) => ({
    ...section,
    items: section.items.filter(({ item }) =>
      !item.includes("`binDir`") && !item.includes("`socket-dir`")
    ),
  }));
  deepEqual(findForgotten(without), [
    "No row is about binDir",
    "No row is about socket-dir",
  ]);
});

Deno.test("renderConformance() says the worst of a row's tests", () => {
  const items = [
    { item: "`x`", tests: ["a test", "b | test"] },
    { item: "`y`", tests: ["a test"] },
  ];
  const outcomes = new Map([["a test", "passed"]] as const);
  const text = renderConformance([{ title: "T", items }], {
    files: FILES,
    outcomes,
  });
  match(text, /^# Conformance\n/);
  equal(
    text.slice(text.indexOf("| `x`")),
    "| `x` | a test (`a_test.ts`)<br>b \\| test (`b_test.ts`) | not run |\n" +
      "| `y` | a test (`a_test.ts`) | passed |\n",
  );
});
