import { faultTest } from "./as_test.ts";
import { CLIENTS, RESTARTS } from "./clients.ts";

faultTest(CLIENTS);
faultTest(RESTARTS);
