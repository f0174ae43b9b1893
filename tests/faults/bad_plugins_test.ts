import { faultTest } from "./as_test.ts";
import { BAD_PLUGINS } from "./bad_plugins.ts";

faultTest(BAD_PLUGINS);
