import { faultTest } from "./as_test.ts";
import { FULL_DISK } from "./disk.ts";

faultTest(FULL_DISK);
