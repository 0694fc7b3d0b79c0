// Rules for the scripts of the operator's page. The tools are in build/node: see .ci/run.
import { createRequire } from "node:module";

const require = createRequire(new URL("../build/node/", import.meta.url));
const js = require("@eslint/js");
const globals = require("globals");

export default [
  js.configs.recommended,
  {
    languageOptions: { ecmaVersion: 2024, sourceType: "module", globals: globals.browser },
    rules: {
      eqeqeq: "error",
      "no-eval": "error",
      "no-implied-eval": "error",
      "no-control-regex": "off", // The console's escape sequences begin with one.
      "no-restricted-properties": [
        "error",
        ...["innerHTML", "outerHTML", "insertAdjacentHTML"].map((property) => ({
          property,
          message: "text is never markup",
        })),
      ],
      "prefer-const": "error",
      "no-var": "error",
    },
  },
];
