/**
 * Which CNI configuration of a directory becomes the default network, and
 * which file keeps ours from being the one that runtimes use. Pure: what the
 * files hold comes in as values (`auto_config_files.ts` reads them), and the
 * same files give the same answer in whatever order they came.
 *
 * @module
 */
import { isMultusType, type NetConfList } from "../cni/conf.ts";
import { CniError, quote } from "../cni/error.ts";
import { getMember } from "../cni/json_text.ts";
import { assertNotMultus } from "../selection/definition_checks.ts";

/** A file that may be the default network's configuration. */
export interface Candidate {
  /** The file's name in its directory. */
  readonly name: string;
  /** The whole path, as the daemon sees it. */
  readonly path: string;
  /** Absent if the file holds no valid CNI configuration. */
  readonly list?: NetConfList;
  /** Why the file cannot be the default network; absent if it can. */
  readonly fault?: string;
}

/** What was chosen, or why nothing was. */
export type Choice =
  | {
    readonly kind: "chosen";
    readonly name: string;
    readonly path: string;
    readonly list: NetConfList;
    readonly reason: string;
  }
  | { readonly kind: "missing"; readonly reason: string };

/** What a choice depends on besides the files. */
export interface ChoiceOptions {
  /** The directory, for messages. */
  readonly dir: string;
  /** The only file that may be chosen. */
  readonly pinned?: string;
}

/** A choice that is held to although its file may have gone an instant ago. */
export interface HeldChoice {
  /** What holds. */
  readonly choice: Choice;
  /** Since when the chosen file cannot be used any more. */
  readonly lostAt?: number;
}

/** When it is, and for how long a lost file is waited for. */
export interface HoldOptions {
  /** In milliseconds, on a clock that is never set back. */
  readonly now: number;
  /** How long a lost file is waited for. */
  readonly graceMs: number;
}

/** A reason shows this many of the files that were passed over. */
const PASSED_OVER_MAX = 3;

/** What is wrong with one file takes no more room than this in a reason. */
const FAULT_LENGTH_MAX = 160;

/** Makes a candidate of a valid configuration: one that leads back to Multus has a fault. */
export function toCandidate(
  file: Pick<Candidate, "name" | "path">,
  list: NetConfList,
): Candidate {
  const fault = findMultusFault(list);
  return { ...file, list, ...(fault !== undefined && { fault }) };
}

/** The pinned file, else the lexically first one that can be the default network. */
export function chooseConf(
  candidates: readonly Candidate[],
  options: ChoiceOptions,
): Choice {
  const { dir, pinned } = options;
  if (pinned !== undefined) return choosePinned(candidates, pinned, dir);
  const ordered = inOrder(candidates);
  const index = ordered.findIndex((candidate) => isUsable(candidate));
  const passedOver = index < 0 ? ordered : ordered.slice(0, index);
  const chosen = toChosen(
    ordered[index],
    `lexically first CNI configuration of ${dir}${describe(passedOver)}`,
  );
  return chosen ?? {
    kind: "missing",
    reason: `No CNI configuration for the default network in ${dir}${
      describe(passedOver)
    }`,
  };
}

/**
 * What holds when a new choice is seen: a better file at once; but a file that
 * vanishes or breaks is waited for, because writers replace files by removing
 * or truncating them first, and a node must not change its network for that.
 */
export function holdChoice(
  held: HeldChoice | undefined,
  seen: Choice,
  { now, graceMs }: HoldOptions,
): HeldChoice {
  if (held === undefined || held.choice.kind === "missing") {
    return { choice: seen };
  }
  const isLost = seen.kind === "missing" || seen.name > held.choice.name;
  if (!isLost) return { choice: seen };
  const { choice, lostAt = now } = held;
  return now - lostAt < graceMs ? { choice, lostAt } : { choice: seen };
}

/** The first CNI configuration that sorts before ours, Multus' or not: runtimes use that one. */
export function findOutSorting(
  candidates: readonly Candidate[],
  ownName: string,
): Candidate | undefined {
  return inOrder(candidates).find(({ name, list }) =>
    name < ownName && list !== undefined
  );
}

function choosePinned(
  candidates: readonly Candidate[],
  pinned: string,
  dir: string,
): Choice {
  const candidate = candidates.find(({ name }) => name === pinned);
  const reason = `pinned by multusMasterCNI in ${dir}`;
  const chosen = toChosen(candidate, reason);
  if (chosen !== undefined) return chosen;
  const problem = candidate === undefined
    ? "is not there"
    : `cannot be used (${shorten(candidate.fault ?? "")})`;
  return {
    kind: "missing",
    reason:
      `The default network's file ${problem}, and multusMasterCNI allows no other: ${
        quote(pinned)
      } in ${dir}`,
  };
}

function toChosen(
  candidate: Candidate | undefined,
  reason: string,
): Choice | undefined {
  if (candidate?.list === undefined || !isUsable(candidate)) return undefined;
  const { name, path, list } = candidate;
  return { kind: "chosen", name, path, list, reason };
}

function isUsable({ list, fault }: Candidate): boolean {
  return list !== undefined && fault === undefined;
}

function inOrder(candidates: readonly Candidate[]): Candidate[] {
  return candidates.toSorted((a, b) =>
    a.name < b.name ? -1 : a.name > b.name ? 1 : 0
  );
}

function describe(passedOver: readonly Candidate[]): string {
  if (passedOver.length === 0) return "";
  const shown = passedOver.slice(0, PASSED_OVER_MAX).map(({ name, fault }) =>
    `${quote(name)} (${shorten(fault ?? "")})`
  );
  const more = passedOver.length > PASSED_OVER_MAX ? ", …" : "";
  return `; passed over: ${shown.join(", ")}${more}`;
}

function shorten(fault: string): string {
  return fault.length > FAULT_LENGTH_MAX
    ? `${fault.slice(0, FAULT_LENGTH_MAX).toWellFormed()}…`
    : fault;
}

function findMultusFault(list: NetConfList): string | undefined {
  const ownType: unknown = JSON.parse(getMember(list.text, "type") ?? "null");
  const isOwn = [ownType, list.plugins[0]?.type].some((type) =>
    typeof type === "string" && isMultusType(type)
  );
  if (isOwn) return "Multus itself";
  try {
    assertNotMultus(list, "It");
    return undefined;
  } catch (error) {
    if (!(error instanceof CniError)) throw error;
    return error.message;
  }
}
