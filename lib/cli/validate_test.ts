import { deepEqual, equal, match, ok } from "node:assert/strict";
import fc from "fast-check";
import { validateTexts } from "./validate.ts";
import { ValidationReportShape } from "./validate_schema.ts";

/** Findings as compilers write them, without the file. */
function findingsOf(text: string, file = "a.yaml"): string[] {
  const report = ValidationReportShape.parse(validateTexts([{ file, text }]));
  return report.findings.map(({ line, column, severity, message }) =>
    `${line}:${column} ${severity} ${message}`
  );
}

function definition(config: string): string {
  return `apiVersion: k8s.cni.cncf.io/v1
kind: NetworkAttachmentDefinition
metadata:
  name: net
spec:
  config: ${config}
`;
}

function pod(networks: string): string {
  return `kind: Pod
metadata:
  name: web
  annotations:
    k8s.v1.cni.cncf.io/networks: ${networks}
`;
}

interface Row {
  readonly name: string;
  readonly text: string;
  readonly file?: string;
  readonly expected: readonly RegExp[];
}

const ROWS: readonly Row[] = [
  {
    name: "a definition that is well",
    text: definition(`'{"cniVersion":"1.0.0","type":"bridge"}'`),
    expected: [],
  },
  {
    name: "JSON in single quotes",
    text: definition(`'{"cniVersion":"1.0.0","typ":"it''s",}'`),
    expected: [/^6:48 error spec\.config: not JSON from here on$/],
  },
  {
    name: "JSON in single quotes over several lines",
    text: definition(`'{
      "cniVersion": "1.0.0",

      "type": "bridge",,
    }'`),
    expected: [/^9:24 error spec\.config: not JSON/],
  },
  {
    name: "JSON in double quotes",
    text: definition(String.raw`"{\"cniVersion\":\"1.0.0\",\"type\":7}"`),
    expected: [
      /^6:47 error spec\.config: "type" .*must be a plain file name: 7$/,
    ],
  },
  {
    name: "JSON in a block",
    text: definition(`|-
    {
      "cniVersion": "1.0.0",
      "plugins": [{"type": "bridge"}, {"typ": "tuning"}]
    }`),
    expected: [/^9:39 error spec\.config: "plugins\[1\]\.type" .* is missing$/],
  },
  {
    name: "a version that nobody knows",
    text: definition(`'{"cniVersion":"9.0.0","type":"bridge"}'`),
    expected: [/^6:26 error spec\.config: .*9\.0\.0/],
  },
  {
    name: "no version",
    text: definition(`'{"type":"bridge"}'`),
    expected: [/^6:12 warning spec\.config: cniVersion is missing/],
  },
  {
    name: "Multus in itself",
    text: definition(`'{"cniVersion":"1.0.0","type":"multus"}'`),
    expected: [/^6:12 error spec\.config: It leads back to Multus itself/],
  },
  {
    name: "a configuration that is no string",
    text: definition(`{type: bridge}`),
    expected: [/^6:11 error spec\.config: expected a string/],
  },
  {
    name: "a definition without configuration",
    text: "kind: NetworkAttachmentDefinition\nmetadata: {name: A_B}\n",
    expected: [
      /^1:1 warning spec\.config is missing/,
      /^2:18 error metadata\.name: expected the name of a network/,
    ],
  },
  {
    name: "the text form of the annotation",
    text: pod("one, two@, three"),
    expected: [/^5:39 error networks\[1\]: expected an interface name/],
  },
  {
    name: "the JSON form of the annotation",
    text: pod(`'[{"name": "a"}, {"name": "b", "mac": "nonsense"}]'`),
    expected: [/^5:72 error networks\[1\]\.mac: /],
  },
  {
    name: "an annotation that is no JSON",
    text: pod(`'[{"name": "a"},, {"name": "b"}]'`),
    expected: [/^5:50 error networks: not valid JSON/],
  },
  {
    name: "two networks with one interface",
    text: pod("a@net7, b@net7"),
    expected: [
      /^5:42 error networks\[1\]\.interface: the interface name "net7"/,
    ],
  },
  {
    name: "two owners of the default route",
    text: pod(
      `'[{"name":"a","default-route":["10.0.0.1"]},{"name":"b","default-route":["10.0.0.2"]}]'`,
    ),
    expected: [
      /^5:106 error networks\[1\]\.default-route: the IPv4 default route/,
    ],
  },
  {
    name: "the template of a CronJob",
    text: `kind: CronJob
metadata: {name: nightly}
spec:
  jobTemplate:
    spec:
      template:
        metadata:
          annotations:
            v1.multus-cni.io/default-network: a,b
`,
    expected: [/^9:47 error default-network: expected one network, found 2$/],
  },
  {
    name: "the second of two documents, and a List in it",
    text: `kind: Service
---
kind: List
items:
- ${pod("[").trimEnd().replaceAll("\n", "\n  ")}
`,
    expected: [/^\d+:\d+ error (?:Not YAML|networks)/],
  },
  {
    name: "no YAML",
    text: "a: [1\nb: 2\n",
    expected: [/^\d+:\d+ error Not YAML: /],
  },
  {
    name: "an alias without its anchor",
    text: "kind: Pod\nmetadata: *nowhere\n",
    expected: [/^1:1 error Not YAML: Unresolved alias/],
  },
  {
    name: "no JSON",
    text: '{"type": "bridge",\n}',
    file: "10-net.conf",
    expected: [/^2:1 error Not JSON$/],
  },
  {
    name: "nothing",
    text: "",
    expected: [/^1:1 error There is nothing in it$/],
  },
  {
    name: "YAML that is no manifest",
    text: "type: bridge\n",
    expected: [/^1:1 error It is neither a manifest/],
  },
  {
    name: "a list under the name of a plugin",
    text: '{"cniVersion":"1.0.0","name":"a","plugins":[{"type":"bridge"}]}',
    file: "10-a.conf",
    expected: [/^1:1 error This is a list: name it \.conflist$/],
  },
  {
    name: "a plugin within a list",
    text: '{"cniVersion":"1.0.0","name":"a",\n\t"plugins":[{"type":"a/b"}]}',
    file: "10-a.conflist",
    expected: [
      /^2:21 error "plugins\[0\]\.type" .* must be a plain file name: "a\/b"$/,
    ],
  },
  {
    name: "a daemon's port as text",
    text: '{\n  "metricsPort": "9091"\n}',
    file: "daemon-config.json",
    expected: [/^2:18 error metricsPort: expected a whole number/],
  },
  {
    name: "a key that nobody knows, and a level",
    text: '{"metricPort": 9091,\n "logLevel": "chatty"}',
    file: "daemon-config.json",
    expected: [
      /^1:16 warning metricPort: no key of this daemon, it has no effect$/,
      /^2:14 warning logLevel: taken as "panic"/,
    ],
  },
  {
    name: "a Multus configuration without a default network",
    text: '{"type": "multus-shim", "cniVersion": "1.0.0"}',
    file: "00-multus.conf",
    expected: [/^1:1 error there is no default network/],
  },
  {
    name: "a delegate of a Multus configuration",
    text:
      '{"type": "multus", "delegates": [\n {"type":"bridge","name":"a"},\n {"type":"multus","name":"b"}]}',
    file: "00-multus.conf",
    expected: [/^3:2 error delegates\[1\] leads back to Multus itself/],
  },
];

Deno.test("validateTexts() names the place of what is wrong", async (t) => {
  for (const { name, text, file, expected } of ROWS) {
    await t.step(name, () => {
      const found = findingsOf(text, file);
      equal(found.length, expected.length, found.join("\n"));
      for (const [index, pattern] of expected.entries()) {
        match(found[index] ?? "", pattern);
      }
    });
  }
});

Deno.test("validateTexts() tells what it has looked at", () => {
  const text = `${definition(`'{"cniVersion":"1.0.0","type":"bridge"}'`)}---
${pod("net")}---
kind: ConfigMap
metadata: {name: c, namespace: n}
`;
  deepEqual(
    validateTexts([{ file: "a.yaml", text }]).checked.map(({ line, what }) =>
      `${line} ${what}`
    ),
    [
      "1 NetworkAttachmentDefinition default/net",
      "8 Pod default/web",
      "14 ConfigMap n/c (nothing to check in it)",
    ],
  );
});

Deno.test("validateTexts() throws for no text, and stays within it", () => {
  const piece = fc.constantFrom(
    "kind: Pod\n",
    "kind: NetworkAttachmentDefinition\n",
    "metadata:\n  annotations:\n    k8s.v1.cni.cncf.io/networks: ",
    "spec:\n  config: |\n    ",
    '{"type":"',
    '"plugins":[',
    "- a",
    "'",
    '"',
    "{",
    "}",
    "\n---\n",
    "null",
    "[1",
  );
  const text = fc.array(fc.oneof(piece, fc.string({ maxLength: 4 })), {
    maxLength: 12,
  }).map((pieces) => pieces.join(""));
  fc.assert(fc.property(text, (given) => {
    const lines = given.split("\n").length;
    for (
      const { line, column } of validateTexts([{ file: "-", text: given }])
        .findings
    ) {
      ok(line >= 1 && line <= lines && column >= 1, `${line}:${column}`);
    }
  }));
});
