import { faultTest } from "./as_test.ts";
import { FUZZED } from "./fuzz.ts";

faultTest(FUZZED);
