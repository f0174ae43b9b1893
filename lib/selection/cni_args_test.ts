import assert from "node:assert/strict";
import { formatCniArgs, parseCniArgs } from "../cni/args.ts";
import { CniError, ErrorCode } from "../cni/error.ts";
import { buildCniArgs } from "./cni_args.ts";
import { parseNetworks } from "./annotation.ts";

const POD = {
  namespace: "ns",
  name: "pod",
  uid: "u-1",
  containerId: "c1",
};
const IDENTITY =
  "IgnoreUnknown=true;K8S_POD_NAMESPACE=ns;K8S_POD_NAME=pod;K8S_POD_INFRA_CONTAINER_ID=c1;K8S_POD_UID=u-1";

Deno.test("buildCniArgs() puts the pod first, then the runtime's others, then the requests", async (t) => {
  const mac = `"mac":"02:00:00:00:00:01"`;
  const ips = `"ips":["10.0.0.1/24","fd00::1"]`;
  const cases: [name: string, runtime: string, asked: string, end: string][] = [
    ["nothing else", "", "", ""],
    ["the runtime's", "FOO=bar;BAZ=a=b", "", ";FOO=bar;BAZ=a=b"],
    ["the pod again", "K8S_POD_NAME=x;FOO=1;IgnoreUnknown=1", "", ";FOO=1"],
    ["mac", "", `,${mac}`, ";MAC=02:00:00:00:00:01"],
    ["ips", "", `,${ips}`, ";IP=10.0.0.1/24,fd00::1"],
    [
      "all",
      "FOO=1;MAC=runtime;IP=runtime",
      `,${mac},${ips}`,
      ";FOO=1;MAC=02:00:00:00:00:01;IP=10.0.0.1/24,fd00::1",
    ],
    [
      "the runtime's address",
      "IP=10.0.0.9",
      `,${mac}`,
      ";IP=10.0.0.9;MAC=02:00:00:00:00:01",
    ],
  ];
  for (const [name, runtime, asked, end] of cases) {
    await t.step(name, () => {
      const [selection] = parseNetworks(`[{"name":"n"${asked}}]`, "ns");
      assert.ok(selection);
      const args = buildCniArgs(POD, { selection }, parseCniArgs(runtime));
      assert.equal(formatCniArgs(args), IDENTITY + end);
    });
  }
});

Deno.test("buildCniArgs() needs no selection", () => {
  assert.equal(formatCniArgs(buildCniArgs(POD, {}, [])), IDENTITY);
});

Deno.test("buildCniArgs() refuses more than a plugin can be given", () => {
  const fill = 65_536 - IDENTITY.length - ";X=".length;
  const longest = buildCniArgs(POD, {}, [["X", "x".repeat(fill)]]);
  assert.equal(formatCniArgs(longest).length, 65_536);
  assert.throws(
    () => buildCniArgs(POD, {}, [["X", "x".repeat(fill - 1) + "ä"]]),
    (error) => {
      assert.ok(error instanceof CniError, String(error));
      assert.equal(error.code, ErrorCode.invalidEnvironment);
      assert.equal(
        error.message,
        "CNI_ARGS may have 65536 bytes at most, found 65537",
      );
      return true;
    },
  );
});
