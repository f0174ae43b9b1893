import assert from "node:assert/strict";
import fc from "fast-check";
import { AnnotationError } from "./annotation_error.ts";
import { assignInterfaceNames } from "./interface_names.ts";
import type { NameRequest } from "./interface_names.ts";

/** The default network, then one network for each name asked for; undefined asks for none. */
function requestsOf(...asked: (string | undefined)[]): NameRequest[] {
  const selected = asked.map((name, index) => ({
    displayName: `ns/n${index}`,
    selection: {
      place: `networks[${index}]`,
      namespace: "ns",
      name: `n${index}`,
      ...(name === undefined ? {} : { interface: name }),
    },
  }));
  return [{ displayName: "default" }, ...selected];
}

Deno.test("assignInterfaceNames() numbers by the place in the whole list", async (t) => {
  const cases: [asked: (string | undefined)[], expected: string[]][] = [
    [[], ["eth0"]],
    [[undefined, undefined], ["eth0", "net1", "net2"]],
    [["x", undefined, "y"], ["eth0", "x", "net2", "y"]],
    [["net2", "net1"], ["eth0", "net2", "net1"]],
  ];
  for (const [asked, expected] of cases) {
    await t.step(asked.join(), () => {
      assert.deepEqual(
        assignInterfaceNames(requestsOf(...asked), "eth0"),
        expected,
      );
    });
  }
});

Deno.test("assignInterfaceNames() gives the default network the runtime's name, whatever it asks for", () => {
  const selection = {
    place: "default-network[0]",
    namespace: "ns",
    name: "n",
    interface: "other",
  };
  assert.deepEqual(
    assignInterfaceNames([{ displayName: "d", selection }], "eth7"),
    ["eth7"],
  );
});

Deno.test("assignInterfaceNames() counts networks of every pod", () => {
  const every = { displayName: "storage" };
  const [cluster, ...selected] = requestsOf(undefined);
  assert.ok(cluster);
  assert.deepEqual(
    assignInterfaceNames([cluster, every, ...selected, every], "eth0"),
    ["eth0", "net1", "net2", "net3"],
  );
});

Deno.test("assignInterfaceNames() refuses a name that is taken, at the request", async (t) => {
  const cases: [asked: (string | undefined)[], ifname: string, text: string][] =
    [
      [
        ["x", "x"],
        "eth0",
        'networks[1].interface: the interface name "x" is already that of networks[0], network "ns/n0"',
      ],
      [
        ["eth0"],
        "eth0",
        'networks[0].interface: the interface name "eth0" is already that of the default network',
      ],
      [
        ["net2", undefined],
        "eth0",
        'networks[0].interface: the interface name "net2" is already that of networks[1], network "ns/n1"',
      ],
      [
        [undefined, "net1"],
        "eth0",
        'networks[1].interface: the interface name "net1" is already that of networks[0], network "ns/n0"',
      ],
      [
        ["lo"],
        "eth0",
        'networks[0].interface: the interface name "lo" is already that of the loopback interface',
      ],
      [
        [undefined],
        "net1",
        'networks[0].interface: the interface name "net1" is already that of the default network',
      ],
    ];
  for (const [asked, ifname, text] of cases) {
    await t.step(`${asked} beside ${ifname}`, () => {
      assert.throws(
        () => assignInterfaceNames(requestsOf(...asked), ifname),
        (error) => {
          assert.ok(error instanceof AnnotationError);
          assert.equal(error.message, text);
          return true;
        },
      );
    });
  }
});

Deno.test("assignInterfaceNames() names a network of every pod when it is in the way", () => {
  const [cluster, ...selected] = requestsOf("net1");
  assert.ok(cluster);
  const requests = [
    cluster,
    { displayName: "kube-system/storage" },
    ...selected,
  ];
  assert.throws(
    () => assignInterfaceNames(requests, "eth0"),
    /^AnnotationError: networks\[0\]\.interface: .* network "kube-system\/storage"$/,
  );
  assert.throws(
    () => assignInterfaceNames([cluster, { displayName: "a" }], "net1"),
    /^AnnotationError: networks: the interface name "net1" is already that of the default network$/,
  );
});

Deno.test("assignInterfaceNames() never gives one name twice", () => {
  const name = fc.constantFrom("net1", "net2", "net3", "x", "eth0", undefined);
  fc.assert(fc.property(fc.array(name, { maxLength: 5 }), (asked) => {
    try {
      const names = assignInterfaceNames(requestsOf(...asked), "eth0");
      assert.equal(new Set(names).size, asked.length + 1);
    } catch (error) {
      assert.ok(error instanceof AnnotationError, String(error));
    }
  }));
});
