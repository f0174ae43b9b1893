import { equal } from "node:assert/strict";
import { laterNetns } from "./later_netns.ts";

for (
  const [recorded, later] of [
    ["/var/run/netns/cni-1", "/var/run/netns/cni-1"],
    ["/run/netns/cni-1", "/run/netns/cni-1"],
    ["/proc/4711/ns/net", ""],
    ["/proc/self/ns/net", ""],
    ["", ""],
    [undefined, ""],
  ] as const
) {
  Deno.test(`laterNetns() of ${recorded} is ${later === "" ? "none" : "the same"}`, () => {
    equal(laterNetns(recorded), later);
  });
}
