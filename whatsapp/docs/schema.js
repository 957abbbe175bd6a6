// How a JSON schema is shown: its members with their types, bounds and meaning, expanded.

const DEPTH_MAX = 6;

/** A new element with these children; strings become text, never markup. */
export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === true) made.setAttribute(key, "");
    else if (value !== false && value != null) made.setAttribute(key, value);
  }
  made.append(...children.flat().filter((child) => child != null));
  return made;
}

/** A line of text in which `these` are code. */
export function line(text) {
  return text.split("`").map((part, index) => (index % 2 ? element("code", {}, part) : part));
}

/** Paragraphs and lists, as they stand in a description. */
export function prose(text) {
  const blocks = (text ?? "").split(/\n\n+/).filter(Boolean);
  return blocks.map((block) => {
    if (!block.startsWith("* ")) return element("p", {}, line(block));
    const items = block.split(/\n?\* /).filter(Boolean);
    return element("ul", {}, items.map((item) => element("li", {}, line(item))));
  });
}

/** What a `$ref` of this document stands for. */
export function resolve(schema, root) {
  if (!schema?.$ref) return schema ?? {};
  const found = schema.$ref.slice(2).split("/").reduce((at, key) => at?.[key], root) ?? {};
  const { $ref, ...beside } = schema;
  return { ...found, ...beside };
}

/** The members of an object, or of the objects in an array; null where there is none inside. */
export function members(schema, root, sent = false, depth = 0) {
  const inner = object(schema, root);
  if (!inner || depth > DEPTH_MAX) return null;
  const needed = new Set(inner.required ?? []);
  const rows = Object.entries(inner.properties).map(([name, member]) =>
    row(name, member, { needed: needed.has(name), sent, root, depth }),
  );
  return rows.length ? element("ul", { class: "members" }, rows) : null;
}

/** One member or parameter; of what is `sent` by the server, what may be missing is marked. */
export function row(name, schema, { needed, sent = false, root, depth = 0 }) {
  const whole = resolve(schema, root);
  const below = members(schema, root, sent, depth + 1);
  const mark = sent ? (needed ? "" : "may be missing") : needed ? "required" : "";
  return element(
    "li",
    {},
    element("span", { class: "name" }, name),
    element("span", { class: "type" }, type(schema, root)),
    mark ? element("span", { class: sent ? "maybe" : "needed" }, mark) : null,
    said(whole),
    below && element("details", { open: depth < 1 }, element("summary", {}, "Its members"), below),
  );
}

/** A type in words: "list of text", "number or null". */
export function type(schema, root) {
  const whole = resolve(schema, root);
  if ("const" in whole) return JSON.stringify(whole.const);
  if (whole.enum) return whole.enum.map((value) => JSON.stringify(value)).join(" or ");
  if (whole.anyOf) return whole.anyOf.map((choice) => type(choice, root)).join(" or ");
  if (whole.type === "array") return `list of ${type(whole.items, root)}`;
  if (whole.type === "object" && !whole.properties) {
    return `map to ${type(whole.additionalProperties, root)}`;
  }
  const names = { string: "text", integer: "whole number", boolean: "true or false" };
  return (names[whole.type] ?? whole.type ?? "any") + bounds(whole);
}

function bounds(schema) {
  const low = schema.minimum ?? schema.minLength;
  const high = schema.maximum ?? schema.maxLength;
  const unit = schema.type === "string" ? " characters" : "";
  // Patterns and bytes say the length already; 2^53 - 1 is only "an exact number".
  if (schema.pattern || /bytes/.test(schema.description) || high === Number.MAX_SAFE_INTEGER) return "";
  if (low != null && high != null) return `, ${low} to ${high}${unit}`;
  if (high != null) return `, at most ${high}${unit}`;
  return low == null ? "" : `, ${low}${unit} or more`;
}

function said(whole) {
  // What may be null says the rest of itself in its other choice.
  const schema = { ...whole.anyOf?.[0], ...whole };
  const parts = [];
  if (schema.description && !schema.properties) parts.push(...line(schema.description));
  if (schema.pattern) parts.push(parts.length ? ": " : "", element("code", {}, schema.pattern));
  if (schema.default != null) parts.push(parts.length ? " " : "", `Default: ${schema.default}.`);
  return parts.length ? element("p", {}, parts) : null;
}

function object(schema, root) {
  const whole = resolve(schema, root);
  if (whole.properties) return whole;
  if (whole.type === "array") return object(whole.items, root);
  for (const choice of whole.anyOf ?? []) {
    const found = object(choice, root);
    if (found) return found;
  }
  return null;
}
