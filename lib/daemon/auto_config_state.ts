/**
 * How it stands with the configuration that runtimes use, and what is told of
 * it: an event when something happens or goes wrong, one when that is over, and
 * nothing in between. Pure.
 *
 * @module
 */
import type { DaemonConf } from "./configuration.ts";

/** What keeps the node from giving pods their networks. */
export type ProblemKind =
  | "primary-missing"
  | "not-effective"
  | "indicator-missing";

/** One thing that is wrong; at most one of each kind. */
export interface Problem {
  /** What is wrong, for programs. */
  readonly kind: ProblemKind;
  /** What is wrong, for people. */
  readonly reason: string;
}

/** What happened; each is told once. */
export interface AutoConfigEvent {
  /** What happened, for programs. */
  readonly kind:
    | ProblemKind
    /** The default network's file was chosen, or another one than before. */
    | "chosen"
    /** Our file was written because its content was to be another. */
    | "written"
    /** Our file was put back after another agent took it away. */
    | "repaired"
    /** A problem is over. */
    | "primary-back"
    | "effective"
    | "indicator-back";
  /** One sentence for people. */
  readonly message: string;
  /** Whether the node is worse off than it should be. */
  readonly isWarning: boolean;
}

/** Whether a configuration is generated, a file is copied, or neither. */
export type AutoConfigMode = "auto" | "copy" | "off";

/** How it stands. */
export interface AutoConfigState {
  /** What the daemon's configuration asks for. */
  readonly mode: AutoConfigMode;
  /** Where our file lies; absent if none is written. */
  readonly file?: string;
  /** Our file is there as it should be, and the first that runtimes find. */
  readonly effective: boolean;
  /** The file that was chosen or copied; it may be missing meanwhile. */
  readonly chosen?: string;
  /** Why that one was chosen, or all that is wrong. */
  readonly reason: string;
  /** All that is wrong; empty when the node is ready as far as this goes. */
  readonly problems: readonly Problem[];
  /** Of the content that was put into our file, in hexadecimal. */
  readonly sha256?: string;
  /** When our file's content last changed, in milliseconds since 1970. */
  readonly changedAt?: number;
  /** How often our file had to be put back since the daemon started. */
  readonly repairs: number;
}

const OVER: readonly (readonly [ProblemKind, AutoConfigEvent])[] = [
  ["primary-missing", {
    kind: "primary-back",
    message: "The default network's configuration is there",
    isWarning: false,
  }],
  ["not-effective", {
    kind: "effective",
    message: "Runtimes use the configuration of Multus",
    isWarning: false,
  }],
  ["indicator-missing", {
    kind: "indicator-back",
    message: "The readiness indicator is there",
    isWarning: false,
  }],
];

/** What the daemon's configuration asks for. */
export function modeOf(
  conf: Pick<DaemonConf, "multusConfigFile">,
): AutoConfigMode {
  if (conf.multusConfigFile === undefined) return "off";
  return conf.multusConfigFile === "auto" ? "auto" : "copy";
}

/** What is to be told when these problems have taken the place of those. */
export function tellProblems(
  before: readonly Problem[],
  after: readonly Problem[],
): AutoConfigEvent[] {
  const isKnown = (problem: Problem): boolean =>
    before.some(({ kind, reason }) =>
      kind === problem.kind && reason === problem.reason
    );
  const has = (problems: readonly Problem[], kind: ProblemKind): boolean =>
    problems.some((problem) => problem.kind === kind);
  return [
    ...after.filter((problem) => !isKnown(problem))
      .map(({ kind, reason }) => ({ kind, message: reason, isWarning: true })),
    ...OVER.filter(([kind]) => has(before, kind) && !has(after, kind))
      .map(([, event]) => event),
  ];
}
