import { faultTest } from "./declare.ts";
import { FULL_DISK } from "./disk.ts";

faultTest(FULL_DISK);
