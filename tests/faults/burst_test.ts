import { faultTest } from "./as_test.ts";
import { BURST } from "./burst.ts";

faultTest(BURST);
