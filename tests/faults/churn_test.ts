import { faultTest } from "./as_test.ts";
import { CHURNED } from "./churn.ts";

faultTest(CHURNED);
