import { faultTest } from "./declare.ts";
import { NOBODY_THERE, NOBODY_TO_ASK, PLUGIN_FAILS } from "./teardown.ts";

faultTest(NOBODY_TO_ASK);
faultTest(PLUGIN_FAILS);
faultTest(NOBODY_THERE);
