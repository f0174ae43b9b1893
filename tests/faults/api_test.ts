import { faultTest } from "./as_test.ts";
import { API_FAULTS } from "./api.ts";

faultTest(API_FAULTS);
