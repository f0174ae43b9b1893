import assert from "node:assert/strict";
import { CniError, ErrorCode } from "../cni/error.ts";
import { assertNamespaceAllowed, parseGlobalNamespaces } from "./isolation.ts";

const SELECTION = { place: "networks[1]", namespace: "other", name: "net" };

Deno.test("parseGlobalNamespaces() splits at commas", async (t) => {
  const cases: [text: string, expected: string[]][] = [
    ["default", ["default"]],
    ["a,b", ["a", "b"]],
    [" a , b ,", ["a", "b"]],
    ["", []],
  ];
  for (const [text, expected] of cases) {
    await t.step(JSON.stringify(text), () => {
      assert.deepEqual(parseGlobalNamespaces(text), expected);
    });
  }
});

Deno.test("assertNamespaceAllowed() lets pass what is open to the pod", async (t) => {
  const cases: [why: string, namespaceIsolation: boolean, open: string[]][] = [
    ["isolation is off", false, []],
    ["the namespace is open to all", true, ["default", "other"]],
  ];
  for (const [why, namespaceIsolation, globalNamespaces] of cases) {
    await t.step(why, () => {
      const policy = { namespaceIsolation, globalNamespaces };
      assertNamespaceAllowed(SELECTION, "mine", policy);
    });
  }
  await t.step("it is the pod's own", () => {
    const policy = { namespaceIsolation: true, globalNamespaces: [] };
    assertNamespaceAllowed(SELECTION, "other", policy);
  });
});

Deno.test("assertNamespaceAllowed() names both namespaces and the option when it refuses", () => {
  const policy = {
    namespaceIsolation: true,
    globalNamespaces: ["default", "shared"],
  };
  assert.throws(
    () => assertNamespaceAllowed(SELECTION, "mine", policy),
    (error) => {
      assert.ok(error instanceof CniError);
      assert.equal(error.code, ErrorCode.invalidNetworkConfig);
      assert.equal(
        error.message,
        'networks[1]: a pod of namespace "mine" may not use NetworkAttachmentDefinition "net" of namespace "other": ' +
          'namespaceIsolation is on, and globalNamespaces are "default,shared"',
      );
      return true;
    },
  );
});
