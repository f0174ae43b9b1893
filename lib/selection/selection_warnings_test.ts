import assert from "node:assert/strict";
import { parseConf } from "../cni/conf.ts";
import { parseNetworks } from "./annotation.ts";
import { KEEP_DEFAULT_ROUTES } from "./default_route.ts";
import type { Delegate } from "./delegate.ts";
import {
  limitWarnings,
  listWarnings,
  type Warning,
} from "./selection_warnings.ts";

function delegateOf(
  conf: string,
  asked: string,
  parts: Partial<Delegate> = {},
): Delegate {
  const [, selection] = parseNetworks(
    `[{"name":"z"},{"name":"a"${asked}}]`,
    "ns",
  );
  assert.ok(selection);
  return {
    list: parseConf(conf, { defaultName: "a" }),
    displayName: "ns/a",
    ifname: "net2",
    isDefault: false,
    source: "annotation",
    selection,
    defaultRoute: KEEP_DEFAULT_ROUTES,
    ...parts,
  };
}

const PLAIN = `{"type":"bridge"}`;
const ABLE =
  `{"type":"bridge","capabilities":{"ips":true,"mac":true,"bandwidth":true,"portMappings":true}}`;
const STATIC =
  `{"type":"bridge","capabilities":{"ips":true},"ipam":{"type":"static"}}`;

Deno.test("listWarnings() tells what nobody will hear, with its place", async (t) => {
  const cases: [name: string, delegate: Delegate, expected: string[]][] = [
    ["nothing asked", delegateOf(PLAIN, ""), []],
    [
      "all heard",
      delegateOf(ABLE, `,"ips":["10.0.0.1"],"mac":"02:00:00:00:00:01"`),
      [],
    ],
    ["mac", delegateOf(PLAIN, `,"mac":"02:00:00:00:00:01"`), [
      'RequestUnheard networks[1].mac: no plugin of "ns/a" (net2) declares the capability "mac", ' +
      "only a plugin that reads CNI_ARGS will follow it",
    ]],
    ["ips", delegateOf(PLAIN, `,"ips":["10.0.0.1"]`), [
      'RequestUnheard networks[1].ips: no plugin of "ns/a" (net2) declares the capability "ips", ' +
      "only a plugin that reads CNI_ARGS will follow it",
    ]],
    ["bandwidth", delegateOf(PLAIN, `,"bandwidth":{"ingressRate":1}`), [
      'RequestUnheard networks[1].bandwidth: no plugin of "ns/a" (net2) declares the capability "bandwidth", it has no effect',
    ]],
    [
      "portMappings",
      delegateOf(PLAIN, `,"portMappings":[{"hostPort":1,"containerPort":1}]`),
      [
        'RequestUnheard networks[1].portMappings: no plugin of "ns/a" (net2) declares the capability "portMappings", it has no effect',
      ],
    ],
    [
      "infiniband-guid",
      delegateOf(ABLE, `,"infiniband-guid":"24:8a:07:03:00:8d:ae:2e"`),
      [
        'RequestUnheard networks[1].infiniband-guid: no plugin of "ns/a" (net2) declares the capability "infinibandGUID", it has no effect',
      ],
    ],
    [
      "static IPAM without prefix",
      delegateOf(STATIC, `,"ips":["10.0.0.1/24","fd00::1"]`),
      [
        'PrefixMissing networks[1].ips[1]: the IPAM plugin static of "ns/a" (net2) needs a prefix length, found "fd00::1"',
      ],
    ],
    [
      "static IPAM with many addresses without prefix",
      delegateOf(
        STATIC,
        `,"ips":["10.0.0.1/24","fd00::1","fd00::2","fd00::3"]`,
      ),
      [
        'PrefixMissing networks[1].ips[1]: the IPAM plugin static of "ns/a" (net2) needs a prefix length, found "fd00::1" and 2 more',
      ],
    ],
    [
      "an interface name for the default network",
      delegateOf(PLAIN, `,"interface":"x"`, {
        isDefault: true,
        ifname: "eth0",
      }),
      [
        'InterfaceNameUnused networks[1].interface: the default network has the name that the runtime gave, "eth0"',
      ],
    ],
    ["its own interface name", delegateOf(PLAIN, `,"interface":"net2"`), []],
  ];
  for (const [name, delegate, expected] of cases) {
    await t.step(name, () => {
      const warnings = listWarnings(delegate);
      assert.deepEqual(
        warnings.map(({ reason, message }) => `${reason} ${message}`),
        expected,
      );
      for (const { network, ifname } of warnings) {
        assert.deepEqual([network, ifname], ["ns/a", delegate.ifname]);
      }
    });
  }
});

Deno.test("listWarnings() tells of a device that is missing", () => {
  const delegate = delegateOf(PLAIN, "", { resourceName: "x/nic" });
  assert.deepEqual(listWarnings(delegate, { isShort: false }), []);
  assert.deepEqual(listWarnings(delegate, { isShort: true }), [{
    reason: "DeviceMissing",
    network: "ns/a",
    ifname: "net2",
    message:
      'The kubelet gave the pod too few devices of "x/nic": none is left for "ns/a" (net2)',
  }]);
});

Deno.test("limitWarnings() keeps a few, and says how many there are", () => {
  const warnings = Array.from({ length: 25 }, (_, index): Warning => ({
    reason: "RequestUnheard",
    network: "ns/a",
    ifname: `net${index}`,
    message: `warning ${index}`,
  }));
  assert.deepEqual(limitWarnings(warnings.slice(0, 10)), warnings.slice(0, 10));
  const limited = limitWarnings(warnings);
  assert.deepEqual(limited.slice(0, 9), warnings.slice(0, 9));
  assert.deepEqual(
    limited.slice(9).map(({ message }) => message),
    ["warning 9 (and 15 more warnings)"],
  );
});
