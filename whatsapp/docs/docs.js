// The documentation page: openapi.json and asyncapi.json, readable. Only text, never markup.

import { element, line, members, prose, resolve, row } from "./schema.js";

const METHODS = ["get", "post", "put", "patch", "delete"];
const main = document.getElementById("main");
const links = document.getElementById("links");
const said = document.getElementById("said");

async function start() {
  const state = document.getElementById("state");
  try {
    const [rest, frames] = await Promise.all([load("openapi.json"), load("asyncapi.json")]);
    state.remove();
    introduction(rest);
    operations(rest);
    socket(frames);
    codes(rest["x-error-codes"]);
    closes(frames["x-close-codes"]);
    behave();
  } catch (error) {
    state.textContent = `The documents could not be loaded: ${error.message}. Reload the page.`;
  }
}

async function load(name) {
  const response = await fetch(name);
  if (!response.ok) throw new Error(`${name}: ${response.status}`);
  return response.json();
}

function introduction(rest) {
  heading("h1", "The API", "top");
  main.append(element("div", { class: "prose" }, prose(rest.info.description)));
  heading("h3", "The first minute", "start");
  const password = "a long sentence nobody guesses";
  const data = (value) => quoted(JSON.stringify(value));
  const json = "-H 'Content-Type: application/json'";
  main.append(
    sample(
      [
        `curl ${location.origin}/v1/users ${json} \\\n  -d ${data({ user: "alice", password })}`,
        `curl ${location.origin}/v1/login ${json} \\\n  -d ${data({ user: "alice", password })}`,
        "TOKEN=…   # from the answer",
        `curl ${location.origin}/v1/me -H "Authorization: Bearer $TOKEN"`,
        socketLine(),
      ].join("\n"),
      true,
    ),
  );
  contents("Start", [link("start", "The first minute")]);
}

function operations(rest) {
  heading("h2", "REST", "rest");
  for (const tag of rest.tags) {
    heading("h3", tag.name, `tag-${tag.name}`);
    const found = [];
    for (const [path, item] of Object.entries(rest.paths)) {
      for (const method of METHODS) {
        if (item[method]?.tags.includes(tag.name)) {
          main.append(operation(rest, path, method, item[method]));
          const id = `op-${item[method].operationId}`;
          found.push(link(id, path, badge(method)));
        }
      }
    }
    contents(tag.name, found);
  }
}

function operation(rest, path, method, described) {
  const parameters = described.parameters.map((parameter) =>
    row(parameter.name, { ...parameter.schema, description: parameter.description },
      { needed: parameter.required, root: rest }),
  );
  const body = described.requestBody?.content["application/json"];
  const [status, success] = Object.entries(described.responses).find(([code]) => code < "300");
  const answer = success.content?.["application/json"];
  const refusals = Object.values(described.responses).flatMap((response) => {
    const schema = resolve(response, rest).content?.["application/problem+json"]?.schema;
    return schema?.allOf[1].properties.code.enum ?? [];
  });
  const left = element("div", {},
    parameters.length ? [title("Parameters"), element("ul", { class: "members" }, parameters)] : [],
    body ? [title("Body"), members(body.schema, rest)] : [],
    title(`Answer ${status}`),
    answer ? members(answer.schema, rest, true) ?? element("p", {}, "A list of texts.") : element("p", {}, success.description),
  );
  const right = element("div", {},
    title("Request"), sample(curl(path, method, described, body), true),
    answer ? [title("Answer"), sample(pretty(answer.example))] : [],
    title("Errors"), codeList(refusals),
  );
  return item({
    id: `op-${described.operationId}`, mark: badge(method), name: path, gist: described.summary,
    note: described.security ? "no token" : "", text: described.description, parts: [left, right],
  });
}

function socket(frames) {
  heading("h2", "WebSocket", "websocket");
  const channel = frames.channels.ws;
  main.append(
    element("p", {}, element("code", {}, `GET ${channel.address}`)),
    element("div", { class: "prose" }, prose(frames.info.description.split("\n\nClose codes:")[0])),
    sample(socketLine(), true),
  );
  const all = Object.entries(frames.operations);
  const received = all.filter(([, one]) => one.action === "receive");
  const replies = received.flatMap(([, one]) => one.reply?.messages ?? []).map(last);
  const sent = all.filter(([, one]) => one.action === "send").map(([, one]) => last(one.messages[0]));
  direction(frames, "Client to server", "in",
    received.map(([, one]) => [last(one.messages[0]), (one.reply?.messages ?? []).map(last)]));
  direction(frames, "Server to client", "out",
    [...new Set([...replies, ...sent])].map((name) => [name, []]));
}

function direction(frames, label, tone, list) {
  heading("h3", label, `frames-${tone}`);
  const found = [];
  for (const [name, replies] of list) {
    const message = frames.components.messages[name];
    const answers = replies.map((reply) =>
      element("li", {}, element("a", { href: `#frame-${reply}` },
        element("code", {}, frames.components.messages[reply].name))));
    const left = element("div", {}, title("Members"), members(message.payload, frames, tone === "out"));
    const right = element("div", {},
      title("Example"), sample(pretty(message.examples[0].payload)),
      answers.length ? [title("Answered by"), element("ul", { class: "codes" }, answers)] : [],
    );
    const mark = element("span", { class: `method ${tone}` }, tone === "in" ? "send" : "receive");
    main.append(item({
      id: `frame-${name}`, mark, name: message.name, gist: message.summary.split("\n\n")[0],
      parts: [left, right],
    }));
    found.push(link(`frame-${name}`, message.name));
  }
  contents(`Frames, ${label.toLowerCase()}`, found);
}

function codes(list) {
  heading("h2", "Error codes", "errors");
  const rows = Object.entries(list).map(([code, { status, retryable, text }]) =>
    element("tr", { id: code },
      element("td", {}, element("code", {}, code)), element("td", {}, String(status)),
      element("td", {}, line(text), retryable ? " Retryable." : "")));
  main.append(table(["Code", "Status", "What to do"], rows));
}

function closes(list) {
  heading("h2", "Close codes", "closes");
  const rows = Object.entries(list).map(([code, text]) =>
    element("tr", { id: `close-${code}` },
      element("td", {}, element("code", {}, code)), element("td", {}, line(text))));
  main.append(table(["Code", "What it says"], rows));
  contents("Codes", [link("errors", "Error codes"), link("closes", "Close codes")]);
}

// The pieces.

function item({ id, mark, name, gist, note = "", text = "", parts }) {
  return element("details", { class: "item", id },
    element("summary", {}, mark, element("span", { class: "name" }, name),
      element("span", { class: "gist" }, line(gist)), element("span", { class: "open" }, note)),
    element("div", { class: "inside" },
      text ? element("div", { class: "prose" }, prose(text)) : null, parts));
}

function sample(text, wrapped = false) {
  const button = element("button", { class: "copy", type: "button" }, "Copy");
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(text);
      tell(button, "Copied");
    } catch {
      // Without TLS a browser has no clipboard for pages: select, so that one key copies.
      getSelection().selectAllChildren(button.previousElementSibling);
      tell(button, "Selected");
    }
  });
  const pre = element("pre", { class: wrapped ? "wrapped" : "", tabindex: "0" }, text);
  return element("div", { class: "sample" }, pre, button);
}

function tell(button, word) {
  button.textContent = said.textContent = word;
  setTimeout(() => { button.textContent = "Copy"; said.textContent = ""; }, 1500);
}

function curl(path, method, described, body) {
  const filled = path.replace(/{(\w+)}/g, (_, name) => {
    const example = described.parameters.find((parameter) => parameter.name === name).example;
    return encodeURIComponent(example).replaceAll("%3A", ":");
  });
  const query = new URLSearchParams(described.parameters
    .filter((parameter) => parameter.in === "query" && parameter.example != null)
    .map((parameter) => [parameter.name, parameter.example])).toString();
  const url = location.origin + filled + (query ? `?${query}` : "");
  const parts = ["curl", method === "get" ? "" : `-X ${method.toUpperCase()}`, quoted(url)];
  if (!described.security) parts.push('-H "Authorization: Bearer $TOKEN"');
  if (body) parts.push("-H 'Content-Type: application/json'", `-d ${quoted(JSON.stringify(body.example))}`);
  return [parts.slice(0, 3).filter(Boolean).join(" "), ...parts.slice(3)].join(" \\\n  ");
}

function socketLine() {
  const url = `${location.origin.replace(/^http/, "ws")}/v1/ws`;
  return `websocat --protocol whatsapp.v1.json -H "Authorization: Bearer $TOKEN" ${url}`;
}

function quoted(text) {
  return `'${text.replaceAll("'", "'\\''")}'`;
}

function pretty(value) {
  return JSON.stringify(value, null, 2);
}

function last(reference) {
  return reference.$ref.split("/").pop();
}

function title(text) {
  return element("h4", {}, text);
}

function heading(level, text, id) {
  main.append(element(level, { id }, text));
}

function badge(method) {
  return element("span", { class: `method ${method}` }, method === "delete" ? "DEL" : method.toUpperCase());
}

function codeList(list) {
  return element("ul", { class: "codes" }, list.map((code) =>
    element("li", {}, element("a", { href: `#${code}` }, element("code", {}, code)))));
}

function table(heads, rows) {
  const head = element("tr", {}, heads.map((text) => element("th", { scope: "col" }, text)));
  return element("div", { class: "wide" },
    element("table", {}, element("thead", {}, head), element("tbody", {}, rows)));
}

function link(id, text, mark = null) {
  return element("li", {}, element("a", { href: `#${id}` }, mark, element("span", {}, breakable(text))));
}

/** A path that may go on in a new line after a slash. */
function breakable(text) {
  return text.split(/(?=\/)/).flatMap((part) => [part, element("wbr")]);
}

function contents(label, list) {
  links.append(element("section", {}, element("h2", {}, label), element("ul", {}, list)));
}

// What the page does once it is there.

function behave() {
  const filter = document.getElementById("filter");
  filter.addEventListener("input", () => narrow(filter.value.trim().toLowerCase()));
  addEventListener("hashchange", reveal);
  addEventListener("keydown", (event) => {
    if (event.key === "/" && !event.ctrlKey && !event.metaKey && event.target !== filter) {
      event.preventDefault();
      filter.focus();
    }
  });
  const contentsBox = document.getElementById("contents");
  const narrowScreen = matchMedia("(max-width: 62rem)");
  const fold = () => { contentsBox.open = !narrowScreen.matches; };
  narrowScreen.addEventListener("change", fold);
  fold();
  links.addEventListener("click", () => { if (narrowScreen.matches) contentsBox.open = false; });
  reveal();
}

function narrow(wanted) {
  for (const shown of document.querySelectorAll(".item")) {
    shown.hidden = !shown.textContent.toLowerCase().includes(wanted);
  }
  for (const entry of links.querySelectorAll("li")) {
    const target = document.getElementById(entry.firstChild.hash.slice(1));
    entry.hidden = Boolean(target?.hidden);
  }
  for (const section of links.children) {
    section.hidden = [...section.querySelectorAll("li")].every((entry) => entry.hidden);
  }
}

function reveal() {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (!target) return;
  if (target instanceof HTMLDetailsElement) target.open = true;
  // The browser looked for it before it was there.
  target.scrollIntoView();
  target.querySelector("summary")?.focus({ preventScroll: true });
}

await start();
