import { faultTest } from "./declare.ts";
import { NODE_COMMANDS } from "./node_commands.ts";

faultTest(NODE_COMMANDS);
