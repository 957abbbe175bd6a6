// Reads an AsyncAPI document from standard input and tells what AsyncAPI's own parser thinks of it:
// a JSON list of its findings, the errors among them with severity 0.

import { createRequire } from "node:module";
import { readFileSync } from "node:fs";

// `require`, unlike `import`, looks into NODE_PATH.
const { Parser } = createRequire(import.meta.url)("@asyncapi/parser");

const { document, diagnostics } = await new Parser().parse(readFileSync(0, "utf-8"));
const findings = diagnostics.map(({ severity, code, message, path }) => ({ severity, code, message, path }));
console.log(JSON.stringify({ parsed: document !== undefined, findings }));
