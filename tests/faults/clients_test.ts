import { faultTest } from "./declare.ts";
import { CLIENTS, RESTARTS } from "./clients.ts";

faultTest(CLIENTS);
faultTest(RESTARTS);
