import { faultTest } from "./declare.ts";
import { API_FAULTS } from "./api.ts";

faultTest(API_FAULTS);
