import { faultTest } from "./as_test.ts";
import { NODE_COMMANDS } from "./node_commands.ts";

faultTest(NODE_COMMANDS);
