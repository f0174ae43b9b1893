import { faultTest } from "./declare.ts";
import { FUZZED } from "./fuzz.ts";

faultTest(FUZZED);
