import { faultTest } from "./declare.ts";
import { BAD_PLUGINS } from "./bad_plugins.ts";

faultTest(BAD_PLUGINS);
