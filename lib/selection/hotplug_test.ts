import assert from "node:assert/strict";
import { parseConf } from "../cni/conf.ts";
import { CniError } from "../cni/error.ts";
import { parseInterfaceAttributes } from "./annotation.ts";
import { buildCapabilityArgs, buildCniArgs } from "./delegate.ts";
import { createHotplugDelegate } from "./hotplug.ts";

const OPTIONS = { pod: { namespace: "ns" }, ifname: "net7" };

Deno.test("createHotplugDelegate() takes the configuration as it was sent", () => {
  const list = parseConf(`{"name":"a","type":"bridge","n":1.0}`);
  const delegate = createHotplugDelegate(list, OPTIONS);
  assert.equal(delegate.list.text, list.text);
  assert.deepEqual({ ...delegate, list: undefined }, {
    list: undefined,
    displayName: "a",
    ifname: "net7",
    isDefault: false,
    source: "hotplug",
    selection: {
      place: "interfaceAttributes",
      namespace: "ns",
      name: "a",
      interface: "net7",
    },
    defaultRoute: { v4: { kind: "keep" }, v6: { kind: "keep" } },
  });
});

Deno.test("createHotplugDelegate() passes the attributes on in every way that plugins read", () => {
  const attributes = parseInterfaceAttributes(
    `{"ips":["10.0.0.1/24"],"mac":"02:00:00:00:00:01","cni-args":{"n":1.0}}`,
  );
  const delegate = createHotplugDelegate(
    parseConf(`{"name":"a","type":"bridge"}`),
    { ...OPTIONS, attributes },
  );
  assert.equal(
    delegate.list.text,
    `{"name":"a","type":"bridge","args":{"cni":{"n":1.0}}}`,
  );
  assert.deepEqual(buildCapabilityArgs(delegate), {
    ips: `["10.0.0.1/24"]`,
    mac: `"02:00:00:00:00:01"`,
  });
  const pod = { namespace: "ns", name: "p", uid: "u", containerId: "c" };
  assert.deepEqual(buildCniArgs(pod, delegate, []).slice(-2), [
    ["MAC", "02:00:00:00:00:01"],
    ["IP", "10.0.0.1/24"],
  ]);
});

Deno.test("createHotplugDelegate() refuses Multus itself", () => {
  assert.throws(
    () =>
      createHotplugDelegate(
        parseConf(`{"name":"a","type":"multus-shim"}`),
        OPTIONS,
      ),
    CniError,
  );
});
