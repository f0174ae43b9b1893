/** All faults, in the order in which they are shown. */
import { API_FAULTS } from "./api.ts";
import { BAD_PLUGINS } from "./bad_plugins.ts";
import { BURST } from "./burst.ts";
import { CHURNED } from "./churn.ts";
import { CLIENTS, RESTARTS } from "./clients.ts";
import { DAMAGED, GO_RECORDS } from "./damage.ts";
import { FULL_DISK } from "./disk.ts";
import type { Fault } from "./fault.ts";
import { FUZZED } from "./fuzz.ts";
import { KILLED_IN_ADD, KILLED_IN_DEL } from "./kill_steps.ts";
import { NODE_COMMANDS } from "./node_commands.ts";
import { NOBODY_THERE, NOBODY_TO_ASK, PLUGIN_FAILS } from "./teardown.ts";

/** All of them. */
export const FAULTS: readonly Fault[] = [
  KILLED_IN_ADD,
  KILLED_IN_DEL,
  DAMAGED,
  GO_RECORDS,
  NOBODY_TO_ASK,
  PLUGIN_FAILS,
  NOBODY_THERE,
  NODE_COMMANDS,
  BAD_PLUGINS,
  FULL_DISK,
  CLIENTS,
  RESTARTS,
  BURST,
  API_FAULTS,
  CHURNED,
  FUZZED,
];
