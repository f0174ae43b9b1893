import { faultTest } from "./declare.ts";
import { BURST } from "./burst.ts";

faultTest(BURST);
