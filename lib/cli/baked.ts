/**
 * What is baked into an executable, in whichever form it is shipped, what
 * should be, and the difference between the two. For `multusctl grants` and
 * for the build, which checks its own work with it.
 *
 * It compares values; the bytes are read in `launcher.ts` and `compiled.ts`.
 */
import {
  ALLOCATOR,
  type Executable,
  type Grant,
  grantsOf,
  type Profile,
  V8_FLAGS,
} from "../grants.ts";

/** What is baked into an executable. */
export interface Baked {
  /** Which of the two forms it has. */
  readonly form: "launcher" | "compiled";
  /** The deno program that a launcher starts; a compiled program has its own inside. */
  readonly deno?: string;
  /** The values granted for each kind; `undefined` means granted without limit. */
  readonly allowed: ReadonlyMap<string, readonly string[] | undefined>;
  /** Flags and settings that are neither grants nor ours; each is a finding. */
  readonly unexpected: readonly string[];
  /** Flags of ours that are not there; each is a finding. */
  readonly missing: readonly string[];
  /** The flags for V8. */
  readonly v8Flags: readonly string[];
  /** What a launcher tells the C library's allocator; a compiled program has no environment of its own. */
  readonly allocator: readonly string[];
}

/** What ought to be baked into an executable. */
export interface Expected {
  /** The deno program that a launcher starts. */
  readonly deno: string;
  /** The permissions, each with its reason. */
  readonly grants: readonly Grant[];
  /** The flags for V8. */
  readonly v8Flags: readonly string[];
  /** What a launcher tells the C library's allocator; nothing, if left out. */
  readonly allocator?: readonly string[];
}

/** One thing that is baked in and should not be, or the other way round. */
export interface Difference {
  /** Whether it is in the table only, or in the file only. */
  readonly change: "missing" | "extra";
  /** As it stands, or should stand, on the command line of deno. */
  readonly flag: string;
}

/** What the table says about `executable` on a node like `profile`. */
export function expectedOf(
  executable: Executable,
  profile: Profile,
): Expected {
  return {
    deno: executable === "multus-shim" ? profile.hostDeno : profile.deno,
    grants: grantsOf(executable, profile),
    v8Flags: V8_FLAGS[executable],
    allocator: ALLOCATOR[executable],
  };
}

/** What is in one list only, each value written as a flag. */
function compareLists(
  wanted: readonly string[],
  found: readonly string[],
  toFlag: (value: string) => string,
): Difference[] {
  const missing = wanted.filter((value) => !found.includes(value));
  const extra = found.filter((value) => !wanted.includes(value));
  return [
    ...missing.map((value): Difference => ({
      change: "missing",
      flag: toFlag(value),
    })),
    ...extra.map((value): Difference => ({
      change: "extra",
      flag: toFlag(value),
    })),
  ];
}

function compareKind(
  kind: string,
  wanted: readonly string[],
  baked: Baked,
): Difference[] {
  const found = baked.allowed.get(kind);
  if (found === undefined && baked.allowed.has(kind)) {
    return [{ change: "extra", flag: `--allow-${kind} (without any limit)` }];
  }
  return compareLists(
    wanted,
    found ?? [],
    (value) => `--allow-${kind}=${value}`,
  );
}

/** What differs between the table and what is baked in; empty when they are the same. */
export function compareBaked(expected: Expected, baked: Baked): Difference[] {
  const kinds = new Set<string>([
    ...expected.grants.map((grant) => grant.kind),
    ...baked.allowed.keys(),
  ]);
  const ofKinds = [...kinds].flatMap((kind) => {
    const wanted = expected.grants.filter((grant) => grant.kind === kind);
    return compareKind(kind, wanted.map((grant) => grant.value), baked);
  });
  const found = baked.deno === undefined ? [] : [baked.deno];
  const isLauncher = baked.form === "launcher";
  const wanted = isLauncher ? [expected.deno] : [];
  const allocator = isLauncher ? expected.allocator ?? [] : [];
  return [
    ...compareLists(wanted, found, (deno) => `starts ${deno}`),
    ...compareLists([], baked.unexpected, (flag) => flag),
    ...compareLists(baked.missing, [], (flag) => flag),
    ...ofKinds,
    ...compareLists(allocator, baked.allocator, (variable) => variable),
    ...compareLists(
      expected.v8Flags,
      baked.v8Flags,
      (flag) => `--v8-flags=${flag}`,
    ),
  ];
}
