import { deepEqual, equal, throws } from "node:assert/strict";
import { parsePrometheusText } from "./prometheus_text.ts";

const HEAD = "# HELP a A\n# TYPE a gauge\n";
const HISTOGRAM = "# HELP h H\n# TYPE h histogram\n";

Deno.test("parsePrometheusText() reads what the format allows", () => {
  const [family, ...others] = parsePrometheusText(
    `${HEAD}a{b="c\\"\\\\\\n,}",d=""} -1.5e3\n\na +Inf\n`,
  );
  deepEqual(others, []);
  equal(family?.type, "gauge");
  deepEqual(family?.samples, [
    { name: "a", labels: { b: 'c"\\\n,}', d: "" }, value: -1500 },
    { name: "a", labels: {}, value: Infinity },
  ]);
  const [histogram] = parsePrometheusText(
    `${HISTOGRAM}h_bucket{le="1"} 1\nh_bucket{le="+Inf"} 2\nh_sum 3\nh_count 2\n`,
  );
  equal(histogram?.samples.length, 4);
});

const WRONG: readonly [string, string, RegExp][] = [
  ["the last line has no end", `${HEAD}a 1`, /no end/],
  ["a sample has no type", "a 1\n", /without type/],
  ["a metric has no help", "# TYPE a gauge\na 1\n", /without HELP/],
  ["a type is unknown", "# TYPE a gage\n", /Unknown type/],
  ["a metric has two types", `${HEAD}# TYPE a gauge\n`, /Second TYPE/],
  [
    "the type comes late",
    `# HELP a A\n# TYPE a gauge\na 1\n# HELP a B\n`,
    /after/,
  ],
  [
    "a metric is in two places",
    `${HEAD}a 1\n${HEAD.replaceAll(" a ", " b ")}${HEAD}`,
    /two places/,
  ],
  [
    "a sample stands twice",
    `${HEAD}a{b="1",c="2"} 1\na{c="2",b="1"} 2\n`,
    /twice/,
  ],
  ["a label stands twice", `${HEAD}a{b="1",b="2"} 1\n`, /Label stands twice/],
  ["a label has no quotes", `${HEAD}a{b=1} 1\n`, /Labels/],
  ["a label has a wrong escape", `${HEAD}a{b="\\x"} 1\n`, /Labels/],
  ["a value is none", `${HEAD}a one\n`, /no number/],
  ["a line has no value", `${HEAD}a\n`, /Neither/],
  ["a comment is something else", `${HEAD}# hello\n`, /HELP nor TYPE/],
  [
    "a counter falls below zero",
    "# HELP a A\n# TYPE a counter\na -1\n",
    /Below/,
  ],
  ["a sample is of another metric", `${HEAD}b 1\n`, /belong/],
  [
    "buckets shrink",
    `${HISTOGRAM}h_bucket{le="1"} 2\nh_bucket{le="+Inf"} 1\nh_sum 3\nh_count 1\n`,
    /grow/,
  ],
  [
    "no bucket is for all",
    `${HISTOGRAM}h_bucket{le="1"} 2\nh_sum 3\nh_count 2\n`,
    /bucket for all/,
  ],
  [
    "the count is another",
    `${HISTOGRAM}h_bucket{le="+Inf"} 2\nh_sum 3\nh_count 3\n`,
    /not the count/,
  ],
];

Deno.test("parsePrometheusText() refuses a page when", async (t) => {
  for (const [name, text, expected] of WRONG) {
    await t.step(
      name,
      () =>
        throws(
          () => parsePrometheusText(text),
          (error: unknown) =>
            error instanceof SyntaxError && expected.test(error.message),
        ),
    );
  }
});
