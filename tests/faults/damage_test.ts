import { faultTest } from "./declare.ts";
import { DAMAGED, GO_RECORDS } from "./damage.ts";

faultTest(DAMAGED);
faultTest(GO_RECORDS);
