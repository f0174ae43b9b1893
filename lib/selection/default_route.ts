/**
 * Who owns the pod's default route, per address family: what the selections ask
 * for becomes a role of each attachment before anything runs; once the results
 * are there, the roles become steps for the kernel and results that agree with
 * it. Taking the steps is left to others.
 *
 * An attachment that names gateways owns the default route of their family,
 * and the others lose theirs. One with an empty list keeps the default routes that its
 * plugins set, and the others lose theirs in just those families; a family in
 * which it has none stays as it is, so that an empty list never takes away a
 * pod's only way out.
 *
 * Multi-network standard, "default-route".
 *
 * @module
 */

import { familyOf, parseCidr } from "../cni/ip.ts";
import type { Result, Route } from "../cni/result.ts";
import { AnnotationError } from "./annotation_error.ts";
import type { NetworkSelection } from "./network_selection.ts";

/** An address family. */
export type Family = 4 | 6;

/** What is certain: the default route stays, goes, or leads through the gateways asked for. */
export type SettledFamilyRole =
  | { readonly kind: "keep" }
  | { readonly kind: "lose" }
  | { readonly kind: "own"; readonly gateways: readonly string[] };

/** Also what depends on results: `claim` keeps what its plugin sets, `yield` loses if the claimer has a default route. */
export type FamilyRole = SettledFamilyRole | { readonly kind: "claim" } | {
  readonly kind: "yield";
};

/** The part of one attachment in the pod's default routes, as it is known before anything runs. */
export interface DefaultRouteRole {
  /** IPv4. */
  readonly v4: FamilyRole;
  /** IPv6. */
  readonly v6: FamilyRole;
}

/** The same, once the results are known. */
export interface SettledRole {
  /** IPv4. */
  readonly v4: SettledFamilyRole;
  /** IPv6. */
  readonly v6: SettledFamilyRole;
}

/** A change of one interface's default route in the kernel. */
export type KernelStep =
  | { readonly family: Family; readonly action: "del" }
  | {
    readonly family: Family;
    readonly action: "add";
    readonly gateway: string;
  };

/** An attachment after its ADD. */
export interface RoutedAttachment {
  /** The interface in the pod. */
  readonly ifname: string;
  /** Its role as it was planned. */
  readonly defaultRoute: DefaultRouteRole;
  /** What its plugins answered. */
  readonly result: Result;
}

/** What must be done, in this order, and the results that are true afterwards, in the order of the attachments. */
export interface DefaultRouteChanges {
  /** For the kernel, in this order. */
  readonly steps: readonly (KernelStep & { readonly ifname: string })[];
  /** True once the steps are taken. */
  readonly results: readonly Result[];
}

/** What planning looks at. */
export interface RouteRequest {
  /** What the pod asked for. */
  readonly selection?: Pick<NetworkSelection, "place" | "defaultRoute">;
}

/** The role of an attachment when nobody asks for a default route. */
export const KEEP_DEFAULT_ROUTES: DefaultRouteRole = {
  v4: { kind: "keep" },
  v6: { kind: "keep" },
};

const MAIN_TABLE = 254;
const ANYWHERE: Readonly<Record<Family, string>> = {
  4: "0.0.0.0/0",
  6: "::/0",
};

/**
 * The role of each attachment, in their order.
 *
 * @throws {AnnotationError} If two attachments ask for the default route of one family.
 */
export function planDefaultRoutes(
  requests: readonly RouteRequest[],
): DefaultRouteRole[] {
  const v4 = planFamily(requests, 4);
  const v6 = planFamily(requests, 6);
  return requests.map((request) => ({ v4: v4(request), v6: v6(request) }));
}

/** Decides what depends on results; the roles come in the order of the attachments. */
export function settleDefaultRoutes(
  attachments: readonly Pick<RoutedAttachment, "defaultRoute" | "result">[],
): SettledRole[] {
  const isClaimed = (family: Family): boolean =>
    attachments.some(({ defaultRoute, result }) =>
      roleIn(defaultRoute, family).kind === "claim" &&
      hasDefaultRoute(result, family)
    );
  const claimed = { 4: isClaimed(4), 6: isClaimed(6) };
  return attachments.map(({ defaultRoute }) => ({
    v4: settle(defaultRoute.v4, claimed[4]),
    v6: settle(defaultRoute.v6, claimed[6]),
  }));
}

/** The result as it is true once the kernel follows the role. */
export function applyDefaultRoute(result: Result, role: SettledRole): Result {
  return {
    ...result,
    routes: applyFamily(applyFamily(result.routes, 4, role.v4), 6, role.v6),
  };
}

/** What must be done to the attachment's interface, in this order. */
export function kernelSteps(result: Result, role: SettledRole): KernelStep[] {
  return [
    ...familySteps(result, 4, role.v4),
    ...familySteps(result, 6, role.v6),
  ];
}

/** All changes of a pod: routes are taken away first, since the kernel takes no second default route beside an equal one. */
export function changeDefaultRoutes(
  attachments: readonly RoutedAttachment[],
): DefaultRouteChanges {
  const roles = settleDefaultRoutes(attachments);
  const changes = attachments.map(({ ifname, result }, index) => {
    const role = roles[index] ?? { v4: { kind: "keep" }, v6: { kind: "keep" } };
    const steps = kernelSteps(result, role).map((step) => ({
      ...step,
      ifname,
    }));
    return { steps, result: applyDefaultRoute(result, role) };
  });
  const steps = changes.flatMap((change) => change.steps);
  return {
    steps: [
      ...steps.filter(({ action }) => action === "del"),
      ...steps.filter(({ action }) => action === "add"),
    ],
    results: changes.map(({ result }) => result),
  };
}

/** The family of a default route of the main table; undefined for every other route. */
export function defaultRouteFamily(route: Route): Family | undefined {
  if (
    route.table !== undefined && route.table !== 0 && route.table !== MAIN_TABLE
  ) return undefined;
  const destination = parseCidr(route.dst);
  return destination?.prefixLength === 0 ? destination.family : undefined;
}

function planFamily(
  requests: readonly RouteRequest[],
  family: Family,
): (request: RouteRequest) => FamilyRole {
  const gateways = (request: RouteRequest): string[] =>
    (request.selection?.defaultRoute ?? []).filter((gateway) =>
      familyOf(gateway) === family
    );
  const owner = pickOne(
    requests.filter((request) => gateways(request).length > 0),
    family,
  );
  if (owner !== undefined) {
    return (request) =>
      request === owner
        ? { kind: "own", gateways: gateways(request) }
        : { kind: "lose" };
  }
  const claimer = pickOne(
    requests.filter(({ selection }) => selection?.defaultRoute?.length === 0),
    family,
  );
  if (claimer === undefined) return () => ({ kind: "keep" });
  return (request) => ({ kind: request === claimer ? "claim" : "yield" });
}

function pickOne(
  requests: readonly RouteRequest[],
  family: Family,
): RouteRequest | undefined {
  const [first, second] = requests;
  if (second === undefined) return first;
  throw new AnnotationError(
    `${second.selection?.place}.default-route`,
    `the IPv${family} default route is already asked for by ${first?.selection?.place}`,
  );
}

function settle(role: FamilyRole, isClaimed: boolean): SettledFamilyRole {
  if (role.kind === "claim") return { kind: "keep" };
  if (role.kind === "yield") return { kind: isClaimed ? "lose" : "keep" };
  return role;
}

function roleIn(role: DefaultRouteRole, family: Family): FamilyRole {
  return family === 4 ? role.v4 : role.v6;
}

function hasDefaultRoute(result: Result, family: Family): boolean {
  return result.routes.some((route) => defaultRouteFamily(route) === family);
}

function applyFamily(
  routes: readonly Route[],
  family: Family,
  role: SettledFamilyRole,
): Route[] {
  if (role.kind === "keep") return [...routes];
  const others = routes.filter((route) => defaultRouteFamily(route) !== family);
  const gateways = role.kind === "own" ? role.gateways : [];
  return [...others, ...gateways.map((gw) => ({ dst: ANYWHERE[family], gw }))];
}

function familySteps(
  result: Result,
  family: Family,
  role: SettledFamilyRole,
): KernelStep[] {
  if (role.kind === "keep") return [];
  if (role.kind === "own") {
    return [
      { family, action: "del" },
      ...role.gateways.map((gateway) =>
        ({ family, action: "add", gateway }) as const
      ),
    ];
  }
  // Not every plugin tells of the routes that it sets, so this does not look for one in the result.
  return isEmpty(result) ? [] : [{ family, action: "del" }];
}

/** A chain that made nothing has no interface that could be touched. */
function isEmpty({ interfaces, ips, routes }: Result): boolean {
  return interfaces.length + ips.length + routes.length === 0;
}
