import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { CniError, ErrorCode } from "../cni/error.ts";
import { createDefaultRoutes, type Family } from "./default_routes.ts";
import { renderDefaultRoute } from "./libexec.ts";

const SCRIPT = fileURLToPath(
  new URL("../../deployments/libexec/default-route", import.meta.url),
);
const never = new AbortController().signal;

async function ip(...args: string[]): Promise<string> {
  const { success, stdout, stderr } = await new Deno.Command("ip", { args })
    .output();
  assert.ok(
    success,
    `ip ${args.join(" ")}: ${new TextDecoder().decode(stderr)}`,
  );
  return new TextDecoder().decode(stdout);
}

interface PodNet extends AsyncDisposable {
  readonly name: string;
  readonly netns: string;
  /** The default routes of a family, as gateway and interface, in the kernel's order. */
  defaults(family: Family): Promise<string[]>;
}

/** A network namespace with net1 and net2, which both have two default routes in each family. */
async function createPodNet(): Promise<PodNet> {
  const name = `route-${crypto.randomUUID().slice(0, 8)}`;
  await ip("netns", "add", name);
  const inside = async (...args: string[]): Promise<string> =>
    await ip("-n", name, ...args);
  for (const [index, link] of ["net1", "net2"].entries()) {
    await inside(
      "link",
      "add",
      link,
      "type",
      "veth",
      "peer",
      "name",
      `peer${index}`,
    );
    await inside("link", "set", link, "up");
    await inside("link", "set", `peer${index}`, "up");
    await inside("addr", "add", `10.9.${index}.2/24`, "dev", link);
    await inside(
      "-6",
      "addr",
      "add",
      `fd00:${index}::2/64`,
      "dev",
      link,
      "nodad",
    );
    for (const metric of [10, 20]) {
      const [more, end] = [String(metric + index), metric / 10];
      await inside(
        "route",
        "add",
        "default",
        "via",
        `10.9.${index}.${end + 100}`,
        "dev",
        link,
        "metric",
        more,
      );
      await inside(
        "-6",
        "route",
        "add",
        "default",
        "via",
        `fd00:${index}::${end}00`,
        "dev",
        link,
        "metric",
        more,
      );
    }
  }
  await inside("route", "add", "10.77.0.0/16", "via", "10.9.0.1");
  await inside("route", "add", "0.0.0.0/1", "via", "10.9.0.1");
  return {
    name,
    netns: `/var/run/netns/${name}`,
    defaults: async (family) =>
      (await inside(`-${family}`, "route", "show", "default")).trim().split(
        "\n",
      ).flatMap((line) => {
        const [, via, dev] = /via (\S+) dev (\S+)/.exec(line) ?? [];
        return via === undefined ? [] : [`${via} ${dev}`];
      }),
    [Symbol.asyncDispose]: async () => {
      await ip("netns", "del", name);
    },
  };
}

const routes = createDefaultRoutes(SCRIPT);
const FAMILIES:
  readonly (readonly [Family, readonly string[], readonly string[], string])[] =
    [
      [4, ["10.9.0.101 net1", "10.9.0.102 net1"], [
        "10.9.1.101 net2",
        "10.9.1.102 net2",
      ], "10.9.1.7"],
      [6, ["fd00::100 net1", "fd00::200 net1"], [
        "fd00:1::100 net2",
        "fd00:1::200 net2",
      ], "fd00:1::7"],
    ];

for (const [family, ofNet1, ofNet2, gateway] of FAMILIES) {
  const other: Family = family === 4 ? 6 : 4;

  Deno.test(`remove() takes away all default routes of one interface in IPv${family}, and nothing else`, async () => {
    await using pod = await createPodNet();
    const before = await pod.defaults(other);
    assert.deepEqual(
      (await pod.defaults(family)).sort(),
      [...ofNet1, ...ofNet2].sort(),
    );
    await routes.remove(pod.netns, "net1", family, { signal: never });
    assert.deepEqual(await pod.defaults(family), ofNet2);
    await routes.remove(pod.netns, "net1", family, { signal: never }); // none left is no error
    assert.deepEqual(await pod.defaults(family), ofNet2);
    assert.deepEqual(await pod.defaults(other), before);
    const rest = await ip("-n", pod.name, "route");
    assert.match(rest, /^10\.77\.0\.0\/16 via/m);
    assert.match(rest, /^0\.0\.0\.0\/1 via/m);
  });

  Deno.test(`add() sets the default route of IPv${family}, and again`, async () => {
    await using pod = await createPodNet();
    for (const link of ["net1", "net2"]) {
      await routes.remove(pod.netns, link, family, { signal: never });
    }
    await routes.add(pod.netns, "net2", family, gateway.replace(/7$/, "9"), {
      signal: never,
    });
    for (let round = 0; round < 2; round++) {
      await routes.add(pod.netns, "net2", family, gateway, { signal: never });
      assert.deepEqual(await pod.defaults(family), [`${gateway} net2`]);
    }
  });
}

Deno.test("default-route finds a namespace by the host's links when the host's root is a directory", async () => {
  await using pod = await createPodNet();
  const dir = await Deno.realPath(
    await Deno.makeTempDir({ prefix: "hostroot" }),
  );
  const mount = async (...args: string[]): Promise<void> => {
    const { success, stderr } = await new Deno.Command("mount", { args })
      .output();
    assert.ok(success, new TextDecoder().decode(stderr));
  };
  for (const name of ["var", "run/netns", "proc"]) {
    await Deno.mkdir(`${dir}/${name}`, { recursive: true });
  }
  await Deno.symlink("/run", `${dir}/var/run`); // absolute: it would lead into this root
  await Deno.writeTextFile(`${dir}/run/netns/pod`, "");
  await Deno.symlink("pod", `${dir}/run/netns/linked`);
  await Deno.symlink("/run/netns/circle", `${dir}/run/netns/circle`);
  const script = `${dir}/default-route`;
  const text = renderDefaultRoute(await Deno.readTextFile(SCRIPT), {
    hostRoot: dir,
  });
  await Deno.writeTextFile(script, text, { mode: 0o755 });
  await mount("--bind", pod.netns, `${dir}/run/netns/pod`);
  await mount("--bind", "/proc", `${dir}/proc`);
  const holder = new Deno.Command("ip", {
    args: ["netns", "exec", pod.name, "/bin/sh", "-c", "echo up; exec cat"],
    stdin: "piped",
    stdout: "piped",
  }).spawn();
  const reader = holder.stdout.getReader();
  try {
    await reader.read(); // It is in the namespace now.
    const inPod = createDefaultRoutes(script);
    await inPod.remove("/var/run/netns/pod", "net1", 4, { signal: never });
    await inPod.remove("/var/run/netns/linked", "net2", 4, { signal: never });
    assert.deepEqual(await pod.defaults(4), []);
    await inPod.remove(`/proc/${holder.pid}/ns/net`, "net1", 6, {
      signal: never,
    });
    assert.deepEqual(await pod.defaults(6), [
      "fd00:1::100 net2",
      "fd00:1::200 net2",
    ]);
    await assert.rejects(
      inPod.remove("/var/run/netns/circle", "net1", 4, { signal: never }),
      /too many links/,
    );
    await assert.rejects(
      inPod.remove(pod.netns, "net1", 4, { signal: never }),
      /no such network namespace/,
    );
    await assert.rejects(
      inPod.remove("/proc/1/ns/net", "net1", 4, { signal: never }),
      CniError,
    );
  } finally {
    await reader.cancel();
    await holder.stdin.close();
    await holder.status;
    await new Deno.Command("umount", {
      args: [`${dir}/run/netns/pod`, `${dir}/proc`],
    }).output();
    await Deno.remove(dir, { recursive: true });
  }
});

Deno.test("default-route refuses when it cannot tell the namespace from the node's own", async () => {
  await using pod = await createPodNet();
  const before = await pod.defaults(4);
  // Without this capability nobody may look at the namespaces of the first process, which has it.
  const { code, stderr } = await new Deno.Command("/usr/bin/setpriv", {
    args: [
      "--bounding-set=-sys_ptrace",
      "--inh-caps=-sys_ptrace",
      SCRIPT,
      pod.netns,
      "net1",
      "4",
      "del",
    ],
  }).output();
  assert.equal(code, 1);
  assert.equal(
    new TextDecoder().decode(stderr),
    "default-route: cannot be compared with a namespace of the node's: /proc/1/ns/net\n",
  );
  assert.deepEqual(await pod.defaults(4), before);
});

Deno.test("remove() and add() say what was to be done and why it was not", async (t) => {
  await using pod = await createPodNet();
  await t.step("an interface that is not there", async () => {
    await assert.rejects(
      routes.remove(pod.netns, "net9", 4, { signal: never }),
      {
        code: ErrorCode.ioFailure,
        message:
          `IPv4 default route of net9 could not be removed in ${pod.netns}: Cannot find device "net9"`,
      },
    );
  });
  await t.step("a gateway that cannot be reached", async () => {
    await assert.rejects(
      routes.add(pod.netns, "net1", 4, "192.0.2.1", { signal: never }),
      {
        message:
          `IPv4 default route of net1 could not be set in ${pod.netns}: Nexthop has invalid gateway.`,
      },
    );
  });
  await t.step("a file that is no namespace", async () => {
    await assert.rejects(
      routes.remove("/etc/passwd", "net1", 4, { signal: never }),
      {
        message:
          /^IPv4 default route of net1 could not be removed in \/etc\/passwd: nsenter: .*Invalid argument$/,
      },
    );
  });
  await t.step("a script that is not there", async () => {
    await assert.rejects(
      createDefaultRoutes("/nonexistent/x").remove(pod.netns, "net1", 4, {
        signal: never,
      }),
      {
        code: ErrorCode.ioFailure,
        message: /could not be removed in .*No such file/,
      },
    );
  });
  await t.step("the time was up", async () => {
    await assert.rejects(
      routes.remove(pod.netns, "net1", 4, { signal: AbortSignal.abort() }),
      {
        code: ErrorCode.tryAgainLater,
        message:
          `IPv4 default route of net1 could not be removed in ${pod.netns}: was ended before it was done`,
      },
    );
  });
});

const NETNS = "/var/run/netns/none";
const REFUSED: readonly (readonly [
  reason: string,
  cases: readonly (readonly string[])[],
])[] = [
  ["needs NETNS", [
    [],
    [NETNS],
    [NETNS, "net1", "4"],
    [NETNS, "net1", "4", "flush"],
    [NETNS, "net1", "4", "del", "10.0.0.1"],
    [NETNS, "net1", "4", "add"],
    [NETNS, "net1", "4", "add", "10.0.0.1", "dev"],
    ["--help"],
  ]],
  ["not a path of a network namespace", [
    ["", "net1", "4", "del"],
    ["netns", "net1", "4", "del"],
    ["--user", "net1", "4", "del"],
    ["/var/run/netns/../x", "net1", "4", "del"],
    ["/var/run/netns/..", "net1", "4", "del"],
    ["/var/run/netns/", "net1", "4", "del"],
    ["/a b", "net1", "4", "del"],
    ["/a\n", "net1", "4", "del"],
    ["/$(id)", "net1", "4", "del"],
    ["/a*", "net1", "4", "del"],
  ]],
  ["not an interface name", [
    [NETNS, "", "4", "del"],
    [NETNS, ".", "4", "del"],
    [NETNS, "..", "4", "del"],
    [NETNS, "-batch", "4", "del"],
    [NETNS, "a/b", "4", "del"],
    [NETNS, "a:b", "4", "del"],
    [NETNS, "a b", "4", "del"],
    [NETNS, "a\n", "4", "del"],
    [NETNS, "a\x01", "4", "del"],
    [NETNS, "a".repeat(16), "4", "del"],
    [NETNS, "é".repeat(8), "4", "del"],
  ]],
  ["not 4 or 6", [
    [NETNS, "net1", "", "del"],
    [NETNS, "net1", "46", "del"],
    [NETNS, "net1", "*", "del"],
    [NETNS, "net1", "4 -batch x", "del"],
  ]],
  ["not an IPv4 address", [
    [NETNS, "net1", "4", "add", "10.0.0.0/8"],
    [NETNS, "net1", "4", "add", "10.0.0.1.2"],
    [NETNS, "net1", "4", "add", "fd00::1"],
    [NETNS, "net1", "4", "add", "10.0.0.1 dev lo"],
    [NETNS, "net1", "4", "add", "10.0.0.1\n"],
  ]],
  ["not an IPv6 address", [
    [NETNS, "net1", "6", "add", "fe80::1%eth0"],
    [NETNS, "net1", "6", "add", "fd00::/8"],
    [NETNS, "net1", "6", "add", "-::-"],
  ]],
  ["not a gateway address", [
    [NETNS, "net1", "4", "add", ""],
    [NETNS, "net1", "4", "add", "10"],
    [NETNS, "net1", "4", "add", "10.1"],
    [NETNS, "net1", "4", "add", "..."],
    [NETNS, "net1", "6", "add", "10.0.0.1"],
    [NETNS, "net1", "6", "add", "dead"],
  ]],
  ["no such network namespace", [
    [NETNS, "net1", "4", "del"],
    [NETNS, "a".repeat(15), "6", "add", "fd00::1"],
    [NETNS, "@net1!", "4", "add", "10.0.0.1"],
  ]],
  ["not a pod's network namespace", [
    ["/proc/self/ns/net", "lo", "4", "del"],
    ["/proc/thread-self/ns/net", "lo", "6", "add", "fd00::1"],
  ]],
];

Deno.test("default-route refuses what it cannot mean, whatever the environment", async (t) => {
  const env = {
    PATH: "/nonexistent",
    IFS: "n",
    ENV: "/x",
    HOST_ROOT: "/x",
    IP_PROGRAM: "/bin/false",
    netns: "/proc/1",
  };
  for (const [reason, cases] of REFUSED) {
    for (const args of cases) {
      await t.step(`${reason}: ${JSON.stringify(args)}`, async () => {
        const { code, stdout, stderr } = await new Deno.Command(SCRIPT, {
          args: [...args],
          env,
        }).output();
        assert.deepEqual([code, stdout.length], [1, 0]);
        const said = new TextDecoder().decode(stderr);
        assert.ok(said.startsWith(`default-route: ${reason}`), said);
      });
    }
  }
});
