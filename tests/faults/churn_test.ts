import { faultTest } from "./declare.ts";
import { CHURNED } from "./churn.ts";

faultTest(CHURNED);
