import assert from "node:assert/strict";
import fc from "fast-check";
import type { Result, Route } from "../cni/result.ts";
import { AnnotationError } from "./annotation_error.ts";
import {
  applyDefaultRoute,
  changeDefaultRoutes,
  defaultRouteFamily,
  kernelSteps,
  planDefaultRoutes,
  settleDefaultRoutes,
} from "./default_route.ts";
import type {
  DefaultRouteRole,
  FamilyRole,
  RouteRequest,
  SettledRole,
} from "./default_route.ts";

const V4 = "0.0.0.0/0";
const V6 = "::/0";

/** The default network, then one network for each list of gateways; undefined asks for nothing. */
function requestsOf(...asked: (string[] | undefined)[]): RouteRequest[] {
  const selected = asked.map((defaultRoute, index) => ({
    selection: {
      place: `networks[${index}]`,
      ...(defaultRoute === undefined ? {} : { defaultRoute }),
    },
  }));
  return [{}, ...selected];
}

function resultOf(...routes: Route[]): Result {
  return {
    interfaces: [{ name: "x" }],
    ips: [{ address: "10.0.0.2/24" }],
    routes,
  };
}

const NOTHING: Result = { interfaces: [], ips: [], routes: [] };

/** A role in short: `10.0.0.1` for the owner, else the kind. */
function short({ v4, v6 }: DefaultRouteRole): string {
  const inShort = (role: FamilyRole): string =>
    role.kind === "own" ? role.gateways.join("+") : role.kind;
  return `${inShort(v4)} ${inShort(v6)}`;
}

Deno.test("planDefaultRoutes() gives each family to the one who asks for it", async (t) => {
  const cases: [asked: (string[] | undefined)[], expected: string[]][] = [
    [[], ["keep keep"]],
    [[undefined, undefined], ["keep keep", "keep keep", "keep keep"]],
    [[["10.0.0.1"]], ["lose keep", "10.0.0.1 keep"]],
    [[["fd00::1"]], ["keep lose", "keep fd00::1"]],
    [[["10.0.0.1", "fd00::1"]], ["lose lose", "10.0.0.1 fd00::1"]],
    [[["10.0.0.1"], ["fd00::1"]], [
      "lose lose",
      "10.0.0.1 lose",
      "lose fd00::1",
    ]],
    [[["10.0.0.1", "10.0.0.9"], undefined], [
      "lose keep",
      "10.0.0.1+10.0.0.9 keep",
      "lose keep",
    ]],
    [[[], undefined], ["yield yield", "claim claim", "yield yield"]],
    [[[], ["10.0.0.1"]], ["lose yield", "lose claim", "10.0.0.1 yield"]],
    [[[], ["10.0.0.1", "fd00::1"]], [
      "lose lose",
      "lose lose",
      "10.0.0.1 fd00::1",
    ]],
  ];
  for (const [asked, expected] of cases) {
    await t.step(JSON.stringify(asked), () => {
      const roles = planDefaultRoutes(requestsOf(...asked));
      assert.deepEqual(roles.map(short), expected);
    });
  }
});

Deno.test("planDefaultRoutes() lets the default network ask as well", () => {
  const selection = {
    place: "default-network[0]",
    defaultRoute: ["10.0.0.1"],
  };
  assert.deepEqual(planDefaultRoutes([{ selection }, {}]).map(short), [
    "10.0.0.1 keep",
    "lose keep",
  ]);
});

Deno.test("planDefaultRoutes() refuses two who ask for one family", async (t) => {
  const cases: [asked: (string[] | undefined)[], message: string][] = [
    [
      [["10.0.0.1"], undefined, ["10.0.1.1"]],
      "networks[2].default-route: the IPv4 default route is already asked for by networks[0]",
    ],
    [
      [["10.0.0.1", "fd00::1"], ["fd00::1"]],
      "networks[1].default-route: the IPv6 default route is already asked for by networks[0]",
    ],
    [
      [[], []],
      "networks[1].default-route: the IPv4 default route is already asked for by networks[0]",
    ],
    [
      [[], ["10.0.0.1"], []],
      "networks[2].default-route: the IPv6 default route is already asked for by networks[0]",
    ],
  ];
  for (const [asked, message] of cases) {
    await t.step(JSON.stringify(asked), () => {
      assert.throws(() => planDefaultRoutes(requestsOf(...asked)), (error) => {
        assert.ok(error instanceof AnnotationError);
        assert.equal(error.message, message);
        return true;
      });
    });
  }
});

Deno.test("defaultRouteFamily() knows the default routes of the main table", async (t) => {
  const cases: [route: Route, expected: 4 | 6 | undefined][] = [
    [{ dst: V4 }, 4],
    [{ dst: V6, gw: "fd00::1" }, 6],
    [{ dst: "10.0.0.0/0" }, 4],
    [{ dst: V4, table: 254 }, 4],
    [{ dst: V4, table: 0 }, 4],
    [{ dst: V4, table: 100 }, undefined],
    [{ dst: "0.0.0.0/1" }, undefined],
    [{ dst: "10.0.0.0/8", gw: "10.0.0.1" }, undefined],
  ];
  for (const [route, expected] of cases) {
    await t.step(JSON.stringify(route), () => {
      assert.equal(defaultRouteFamily(route), expected);
    });
  }
});

Deno.test("settleDefaultRoutes() takes away only where an empty list keeps something", async (t) => {
  const cases: [name: string, routes: Route[], expected: string[]][] = [
    ["v4", [{ dst: V4, gw: "10.0.0.1" }], [
      "lose keep",
      "keep keep",
      "lose keep",
    ]],
    ["v6", [{ dst: V6, gw: "fd00::1" }], [
      "keep lose",
      "keep keep",
      "keep lose",
    ]],
    ["dual stack", [{ dst: V4 }, { dst: V6 }], [
      "lose lose",
      "keep keep",
      "lose lose",
    ]],
    ["no default route", [{ dst: "10.0.0.0/8" }], [
      "keep keep",
      "keep keep",
      "keep keep",
    ]],
    ["another table only", [{ dst: V4, table: 9 }], [
      "keep keep",
      "keep keep",
      "keep keep",
    ]],
  ];
  const planned = planDefaultRoutes(requestsOf([], undefined));
  for (const [name, routes, expected] of cases) {
    await t.step(name, () => {
      const settled = settleDefaultRoutes(
        planned.map((defaultRoute, index) => ({
          defaultRoute,
          result: index === 1 ? resultOf(...routes) : resultOf({ dst: V4 }),
        })),
      );
      assert.deepEqual(settled.map(short), expected);
    });
  }
});

const KEEP: SettledRole = { v4: { kind: "keep" }, v6: { kind: "keep" } };
const LOSE_V4: SettledRole = { ...KEEP, v4: { kind: "lose" } };
const OWN: SettledRole = {
  v4: { kind: "own", gateways: ["10.0.0.1", "10.0.0.9"] },
  v6: { kind: "own", gateways: ["fd00::1"] },
};
const ROUTES: Route[] = [
  { dst: "192.0.2.0/24", gw: "10.0.0.3" },
  { dst: V4, gw: "10.0.0.3", mtu: 1400 },
  { dst: V6 },
  { dst: V4, table: 100 },
];

Deno.test("applyDefaultRoute() gives the result that is true afterwards", async (t) => {
  const others = [ROUTES[0], ROUTES[3]];
  const cases: [name: string, role: SettledRole, routes: unknown[]][] = [
    ["keep", KEEP, ROUTES],
    ["lose IPv4", LOSE_V4, [ROUTES[0], ROUTES[2], ROUTES[3]]],
    ["own", OWN, [
      ...others,
      { dst: V4, gw: "10.0.0.1" },
      { dst: V4, gw: "10.0.0.9" },
      { dst: V6, gw: "fd00::1" },
    ]],
  ];
  for (const [name, role, routes] of cases) {
    await t.step(name, () => {
      const result = resultOf(...ROUTES);
      assert.deepEqual(applyDefaultRoute(result, role), { ...result, routes });
      assert.deepEqual(
        result,
        resultOf(...ROUTES),
        "the given one is as it was",
      );
    });
  }
});

Deno.test("kernelSteps() changes what the role says, told by the plugin or not", async (t) => {
  const cases: [name: string, result: Result, role: SettledRole, unknown[]][] =
    [
      ["keep", resultOf(...ROUTES), KEEP, []],
      ["lose", resultOf(...ROUTES), LOSE_V4, [{ family: 4, action: "del" }]],
      ["lose what is not told", resultOf(), LOSE_V4, [
        { family: 4, action: "del" },
      ]],
      ["nothing was made", NOTHING, LOSE_V4, []],
      ["own", resultOf(), OWN, [
        { family: 4, action: "del" },
        { family: 4, action: "add", gateway: "10.0.0.1" },
        { family: 4, action: "add", gateway: "10.0.0.9" },
        { family: 6, action: "del" },
        { family: 6, action: "add", gateway: "fd00::1" },
      ]],
    ];
  for (const [name, result, role, expected] of cases) {
    await t.step(name, () => {
      assert.deepEqual(kernelSteps(result, role), expected);
    });
  }
});

Deno.test("changeDefaultRoutes() takes away before it adds", () => {
  const roles = planDefaultRoutes(requestsOf(["10.1.0.1"], undefined));
  const names = ["eth0", "net1", "net2"];
  const { steps, results } = changeDefaultRoutes(
    roles.map((defaultRoute, index) => ({
      ifname: names[index] ?? "",
      defaultRoute,
      result: resultOf({ dst: V4, gw: "10.0.0.1" }, { dst: V6 }),
    })),
  );
  assert.deepEqual(steps, [
    { ifname: "eth0", family: 4, action: "del" },
    { ifname: "net1", family: 4, action: "del" },
    { ifname: "net2", family: 4, action: "del" },
    { ifname: "net1", family: 4, action: "add", gateway: "10.1.0.1" },
  ]);
  assert.deepEqual(results.map(({ routes }) => routes), [
    [{ dst: V6 }],
    [{ dst: V6 }, { dst: V4, gw: "10.1.0.1" }],
    [{ dst: V6 }],
  ]);
});

Deno.test("changeDefaultRoutes() touches nothing when nobody asks", () => {
  const roles = planDefaultRoutes(requestsOf(undefined));
  const attachments = roles.map((defaultRoute, index) => ({
    ifname: `net${index}`,
    defaultRoute,
    result: resultOf(...ROUTES),
  }));
  const { steps, results } = changeDefaultRoutes(attachments);
  assert.deepEqual(steps, []);
  assert.deepEqual(results, attachments.map(({ result }) => result));
});

Deno.test("changeDefaultRoutes() leaves one owner in each family that was asked for, and never takes the last route for an empty list", () => {
  const asked = fc.array(
    fc.option(
      fc.subarray(["10.0.0.1", "fd00::1"]).map((list) => [...list]),
      { nil: undefined },
    ),
    { minLength: 1, maxLength: 4 },
  );
  const routes = fc.array(fc.subarray([V4, V6]), {
    minLength: 5,
    maxLength: 5,
  });
  fc.assert(fc.property(asked, routes, (gateways, set) => {
    const requests = requestsOf(...gateways);
    const roles = planOrUndefined(requests);
    if (roles === undefined) return;
    const attachments = roles.map((defaultRoute, index) => ({
      ifname: `net${index}`,
      defaultRoute,
      result: resultOf(...(set[index] ?? []).map((dst) => ({ dst }))),
    }));
    const { results } = changeDefaultRoutes(attachments);
    for (const family of [4, 6] as const) {
      const owns = ({ routes }: Result): boolean =>
        routes.some((route) => defaultRouteFamily(route) === family);
      const before = attachments.filter(({ result }) => owns(result)).length;
      const after = results.filter(owns).length;
      const isAsked = gateways.flat().some((gateway) =>
        gateway !== undefined && gateway.includes(":") === (family === 6)
      );
      if (isAsked) assert.equal(after, 1);
      else assert.equal(after > 0, before > 0);
    }
  }));
});

function planOrUndefined(
  requests: RouteRequest[],
): DefaultRouteRole[] | undefined {
  try {
    return planDefaultRoutes(requests);
  } catch (error) {
    assert.ok(error instanceof AnnotationError, String(error));
    return undefined;
  }
}
