/** All faults, in the order in which they are shown. */
import { DAMAGED, GO_RECORDS } from "./damage.ts";
import type { Fault } from "./fault.ts";
import { KILLED_IN_ADD, KILLED_IN_DEL } from "./kill_steps.ts";

/** All of them. */
export const FAULTS: readonly Fault[] = [
  KILLED_IN_ADD,
  KILLED_IN_DEL,
  DAMAGED,
  GO_RECORDS,
];
