/**
 * A strict reader of Prometheus' text format 0.0.4, for tests: what a lenient
 * scraper would let pass (a sample without type, a metric in two places, a
 * histogram that does not add up) is an error here.
 *
 * https://prometheus.io/docs/instrumenting/exposition_formats/
 */

/** One line with a value. */
export interface Sample {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

/** One metric with all its samples. */
export interface MetricFamily {
  readonly name: string;
  readonly type: string;
  readonly help: string;
  readonly samples: readonly Sample[];
}

interface Draft {
  readonly name: string;
  type: string | undefined;
  help: string | undefined;
  readonly samples: Sample[];
}

const NAME = "[a-zA-Z_:][a-zA-Z0-9_:]*";
const COMMENT = new RegExp(`^# (HELP|TYPE) (${NAME}) (.*)$`);
const SAMPLE = new RegExp(`^(${NAME})(?:\\{(.*)\\})? (\\S+)( -?\\d+)?$`);
const LABEL = /([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\\\|\\"|\\n)*)"(,|$)/y;
const TYPES = ["counter", "gauge", "histogram", "summary", "untyped"];
const SUFFIXES = ["", "_bucket", "_sum", "_count"];

function fail(what: string, line: string): never {
  throw new SyntaxError(`${what}: ${line}`);
}

function parseLabels(text: string, line: string): Record<string, string> {
  const labels: Record<string, string> = {};
  for (LABEL.lastIndex = 0; LABEL.lastIndex < text.length;) {
    const match = LABEL.exec(text);
    if (match === null) fail("Labels cannot be read", line);
    const [, name = "", value = "", separator] = match;
    if (Object.hasOwn(labels, name)) fail("Label stands twice", line);
    labels[name] = value.replace(
      /\\([\\"n])/g,
      (_, escaped) => escaped === "n" ? "\n" : escaped,
    );
    if (separator === "" && LABEL.lastIndex === 0) break;
  }
  return labels;
}

function parseValue(text: string, line: string): number {
  if (text === "+Inf") return Infinity;
  if (text === "-Inf") return -Infinity;
  if (text === "NaN") return NaN;
  if (!/^[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?$/.test(text)) {
    fail("Value is no number", line);
  }
  return Number(text);
}

/**
 * Reads a page.
 *
 * @throws {SyntaxError} when anything in it is not as the format has it; the message ends with the line.
 */
export function parsePrometheusText(text: string): MetricFamily[] {
  if (!text.endsWith("\n")) fail("The last line has no end", text.slice(-80));
  const families = new Map<string, Draft>();
  let current: Draft | undefined;
  const open = (name: string, line: string): Draft => {
    if (current?.name === name) return current;
    if (families.has(name)) fail("Metric stands in two places", line);
    current = { name, type: undefined, help: undefined, samples: [] };
    families.set(name, current);
    return current;
  };
  for (const line of text.slice(0, -1).split("\n")) {
    if (line === "") continue;
    if (line.startsWith("#")) readComment(line, open);
    else readSample(line, current);
  }
  return [...families.values()].map(finish);
}

function readComment(
  line: string,
  open: (name: string, line: string) => Draft,
): void {
  const [, kind, name = "", rest = ""] = COMMENT.exec(line) ??
    fail("Comment that is neither HELP nor TYPE", line);
  const draft = open(name, line);
  if (draft.samples.length > 0) fail("Comes after the samples", line);
  if (kind === "HELP") {
    if (draft.help !== undefined) fail("Second HELP", line);
    draft.help = rest;
    return;
  }
  if (draft.type !== undefined) fail("Second TYPE", line);
  if (!TYPES.includes(rest)) fail("Unknown type", line);
  draft.type = rest;
}

function readSample(line: string, draft: Draft | undefined): void {
  const [, name = "", labelText = "", valueText = ""] = SAMPLE.exec(line) ??
    fail("Neither comment nor sample", line);
  if (draft?.type === undefined) fail("Sample without type", line);
  const suffix = name.slice(draft.name.length);
  const suffixes = draft.type === "histogram" ? SUFFIXES.slice(1) : [""];
  if (!name.startsWith(draft.name) || !suffixes.includes(suffix)) {
    fail(`Sample does not belong to ${draft.name}`, line);
  }
  const labels = parseLabels(labelText, line);
  const value = parseValue(valueText, line);
  if (draft.type !== "gauge" && !(value >= 0)) fail("Below zero", line);
  const key = keyOf({ name, labels });
  if (draft.samples.some((sample) => keyOf(sample) === key)) {
    fail("Sample stands twice", line);
  }
  draft.samples.push({ name, labels, value });
}

function keyOf({ name, labels }: Pick<Sample, "name" | "labels">): string {
  return name + JSON.stringify(Object.entries(labels).sort());
}

function finish({ name, type, help, samples }: Draft): MetricFamily {
  if (type === undefined) fail("Metric without TYPE", name);
  if (help === undefined || help === "") fail("Metric without HELP", name);
  if (type === "histogram") checkHistogram(name, samples);
  return { name, type, help, samples };
}

/** Every histogram of the family: buckets that grow, the last one for all, sum and count beside them. */
function checkHistogram(name: string, samples: readonly Sample[]): void {
  const groups = Map.groupBy(samples, ({ labels: { le: _, ...rest } }) => {
    return JSON.stringify(Object.entries(rest).sort());
  });
  for (const [key, group] of groups) {
    const buckets = group.filter((sample) => sample.name.endsWith("_bucket"));
    const bounds = buckets.map(({ labels }) =>
      parseValue(labels.le ?? "", `${name} ${key}`)
    );
    const counts = buckets.map(({ value }) => value);
    const isSorted = (values: readonly number[]): boolean =>
      values.every((value, at) => at === 0 || value >= (values[at - 1] ?? 0));
    if (!isSorted(bounds) || !isSorted(counts)) {
      fail("Buckets do not grow", `${name} ${key}`);
    }
    const [count] = group.filter((sample) => sample.name.endsWith("_count"));
    const sums = group.filter((sample) => sample.name.endsWith("_sum"));
    if (sums.length !== 1 || bounds.at(-1) !== Infinity) {
      fail("No sum, or no bucket for all", `${name} ${key}`);
    }
    if (count === undefined || counts.at(-1) !== count.value) {
      fail("The last bucket is not the count", `${name} ${key}`);
    }
  }
}
