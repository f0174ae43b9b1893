import { faultTest } from "./declare.ts";
import { KILLED_IN_ADD, KILLED_IN_DEL } from "./kill_steps.ts";

faultTest(KILLED_IN_ADD);
faultTest(KILLED_IN_DEL);
