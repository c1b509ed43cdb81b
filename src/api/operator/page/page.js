
"use strict";
// The rest of the page is not far below, also for who goes by keyboard.
const SHOWN_AT_FIRST = 25;
// The same from which the sentence at the top tells of it.
const LAGGING_SECONDS = 600;
const COLLECTIONS_EVERY_MS = 10_000;
const OUTCOME_WORDS = {
  applied: "applied", held: "held until their repo is fetched", fetch: "caused a fetch",
  passed_over: "changed nothing", rejected: "refused",
};
const at = (id) => document.getElementById(id);
const count = (n) => Number(n).toLocaleString("en");
const hosts = new Map();
let status = null;
let shown = SHOWN_AT_FIRST;
let collectionsShown = { of: "", at: -COLLECTIONS_EVERY_MS };
let sort = { key: "trouble", descending: true };
let token = sessionStorage.getItem("signpost-admin-token");

// An element; texts are never markup.
function make(name, properties = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (key === "class") made.className = value;
    else if (key === "on") for (const [kind, listener] of Object.entries(value)) made.addEventListener(kind, listener);
    else if (value !== null && value !== undefined && value !== false) made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

// Sets what differs: a page that is read aloud must not be read anew every two seconds.
function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function rate(n) {
  return n >= 10 ? count(Math.round(n)) : n === 0 ? "0" : n.toFixed(1);
}

function bytes(n) {
  if (n === null || n === undefined) return "?";
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  while (n >= 1024 && unit < units.length - 1) { n /= 1024; unit += 1; }
  return `${n >= 10 || unit === 0 ? Math.round(n) : n.toFixed(1)} ${units[unit]}`;
}

function span(milliseconds) {
  const seconds = Math.max(0, Math.round(milliseconds / 1000));
  if (seconds < 90) return `${seconds} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  if (seconds < 172800) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86400)} days`;
}

const now = () => (status ? status.now + (performance.now() - status.heard) : Date.now());
const ago = (time) => (time ? `${span(now() - time)} ago` : "never");

// ---- is it well

function showStatus() {
  const { health, hosts: h, repos, queue, database, rates } = status;
  at("health").className = health.level;
  document.title = health.level === "good" ? "signpost" : `(!) signpost: ${health.sentence}`;
  say(at("sentence"), health.sentence);
  if (at("advice").dataset.shown !== JSON.stringify(health.advice)) {
    at("advice").dataset.shown = JSON.stringify(health.advice);
    at("advice").replaceChildren(...health.advice.map((advice) => make("li", {}, advice)));
  }
  say(at("about"), `${status.version}, running for ${span(status.now - status.started_at)}, indexes ${status.filter.join(", ")}`);
  const numbers = [
    ["Hosts followed", count(h.followed), `of ${count(h.total)}${h.blocked ? `, ${count(h.blocked)} blocked` : ""}`],
    ["Accounts", count(repos.active), repos.inactive ? `and ${count(repos.inactive)} inactive` : "active"],
    ["Records", count(status.records), `in ${count(status.collections)} ${status.collections === 1 ? "collection" : "collections"}`],
    ["Events a second", rate(rates.events), "last minute"],
    ["Waiting to be fetched", count(queue.pending + queue.in_progress), queue.failed ? `and ${count(queue.failed)} for another try` : "repos and hosts"],
    ["Database", bytes(database.bytes + database.wal_bytes), database.free_bytes === null ? "" : `${bytes(database.free_bytes)} free`],
  ];
  const rows = at("numbers");
  numbers.forEach(([name, value, more], index) => {
    let row = rows.children[index];
    if (!row) {
      row = make("div", {}, make("dt", {}, name), make("dd", {}, make("span"), " ", make("small")));
      rows.append(row);
    }
    say(row.querySelector("span"), value);
    say(row.querySelector("small"), more);
  });
  showCrawls();
  at("collection-empty").hidden = status.records > 0;
  // They are counted row by row: only when something has changed, and not at every turn.
  const changed = `${status.collections} ${status.records}`;
  if (changed !== collectionsShown.of && performance.now() >= collectionsShown.at + COLLECTIONS_EVERY_MS) {
    collectionsShown = { of: changed, at: performance.now() };
    showCollections();
  }
}

// ---- what is being crawled

function showCrawls() {
  const crawls = status.crawling.map((crawl) => {
    const left = crawl.waiting + crawl.in_progress;
    const done = Math.max(0, crawl.repos - left - crawl.failed);
    const words = [];
    if (crawl.listing) words.push(`its repos are being listed, ${count(crawl.repos)} so far`);
    if (left || !crawl.listing) words.push(`${count(done)} of ${count(crawl.repos)} repos done, ${count(crawl.in_progress)} at this moment`);
    if (crawl.failed) words.push(`${count(crawl.failed)} failed and are tried again later`);
    if (left) words.push(crawl.seconds_left === null ? "nothing tells yet how long it takes" : `about ${span(crawl.seconds_left * 1000)} left`);
    return make("li", {}, hostLink(crawl.hostname), `: ${words.join("; ")}`,
      make("progress", { max: Math.max(1, crawl.repos), value: done, "aria-label": `${crawl.hostname}: repos done` }));
  });
  if (crawls.length === 0) crawls.push(make("li", {}, "Nothing: every repo that is known has been taken in."));
  keepFocus(at("crawls"), () => at("crawls").replaceChildren(...crawls));
}

// Rows are made anew: who stands on one stays on it.
function keepFocus(within, change) {
  const key = within.contains(document.activeElement) ? document.activeElement.dataset.key : null;
  change();
  if (key) within.querySelector(`[data-key="${CSS.escape(key)}"]`)?.focus();
}

function hostLink(hostname) {
  return make("button", { type: "button", class: "link", "data-key": hostname, on: { click: () => openHost(hostname) } }, hostname);
}

// ---- hosts

// Words for a host's state, how bad it is, and since when.
function judge(host) {
  if (host.blocked) return ["blocked", "", 1, host.state_since];
  if (host.slowed_since) return ["followed, slowed by its limits", "warn", 2, host.slowed_since];
  if (host.connected && host.waiting) return ["followed, at its limit", "warn", 2, host.connected_since];
  if (host.connected && host.lag?.seconds > LAGGING_SECONDS) return ["followed, behind", "warn", 2, host.connected_since];
  if (host.connected) return ["followed", "good", 0, host.connected_since];
  if (host.state === "new") return [host.last_error ? "never reached" : "new", host.last_error ? "bad" : "warn", host.last_error ? 3 : 1, host.state_since];
  return ["not followed", "bad", 4, host.state_since];
}

// How far behind its host a firehose is, in time and in events.
function lagWords({ lag, connected }) {
  if (!connected || !lag) return "–";
  if (lag.seconds === null) return "no event yet";
  const events = lag.events ? `${count(lag.events)}${lag.more ? " or more" : ""} events` : lag.more && lag.seconds ? "more to read" : null;
  return [lag.seconds ? span(lag.seconds * 1000) : null, events].filter(Boolean).join(", ") || "none";
}

const COLUMNS = [
  { key: "hostname", name: "Host", value: (host) => host.hostname },
  { key: "trouble", name: "State", value: (host) => host.judged[2] },
  { key: "since", name: "Since", number: true, value: (host) => host.judged[3] ?? 0, text: (host) => span(now() - host.judged[3]) },
  { key: "lag", name: "Lag", number: true, value: (host) => (host.lag ? (host.lag.seconds ?? -1) + host.lag.events / 1e6 : -2), text: lagWords },
  { key: "event", name: "Last event", number: true, value: (host) => host.last_event_at ?? 0, text: (host) => ago(host.last_event_at) },
  { key: "repos", name: "Accounts", number: true, value: (host) => host.repos, text: (host) => count(host.repos) },
  { key: "records", name: "Records", number: true, value: (host) => host.records, text: (host) => count(host.records) },
  { key: "queue", name: "Waiting", number: true, value: (host) => host.queue.pending + host.queue.in_progress + host.queue.failed, text: (host) => count(host.queue.pending + host.queue.in_progress + host.queue.failed) },
  { key: "error", name: "Last error", value: (host) => host.last_error ?? "" },
];

function wanted() {
  const name = at("host-filter").value.trim().toLowerCase();
  const state = at("host-state").value;
  const rows = [...hosts.values()].filter((host) => {
    if (name && !host.hostname.includes(name)) return false;
    if (state === "trouble") return host.judged[2] >= 2;
    if (state === "followed") return host.connected && !host.blocked;
    if (state === "down") return !host.connected && !host.blocked;
    if (state === "blocked") return host.blocked;
    return true;
  });
  const { value } = COLUMNS.find((column) => column.key === sort.key);
  const sign = sort.descending ? -1 : 1;
  return rows.sort((a, b) => {
    const [x, y] = [value(a), value(b)];
    return x < y ? -sign : x > y ? sign : a.hostname < b.hostname ? -1 : 1;
  });
}

function showHeads() {
  at("host-table").tHead.rows[0].replaceChildren(...COLUMNS.map((column) => make("th", {
    scope: "col", class: column.number ? "number" : "",
    "aria-sort": sort.key === column.key ? (sort.descending ? "descending" : "ascending") : null,
  }, make("button", { type: "button", "data-key": `sort-${column.key}`, on: { click: () => {
    sort = { key: column.key, descending: sort.key === column.key ? !sort.descending : column.number === true };
    keepFocus(at("host-table").tHead, showHeads);
    showHosts();
  } } }, column.name))));
}

function showHosts() {
  const rows = wanted();
  const some = rows.slice(0, shown);
  keepFocus(at("host-table").tBodies[0], () => at("host-table").tBodies[0].replaceChildren(...some.map((host) => {
    const [words, level] = host.judged;
    return make("tr", {}, ...COLUMNS.map((column) => {
      if (column.key === "hostname") return make("td", { class: "host" }, hostLink(host.hostname));
      if (column.key === "trouble") return make("td", {}, make("span", { class: `state ${level}` }, words));
      if (column.key === "error") return make("td", { class: host.last_error ? "error" : "error empty", "data-label": column.name }, host.last_error ?? "");
      return make("td", { class: "number", "data-label": column.name }, column.text(host));
    }));
  })));
  say(at("host-count"), rows.length === hosts.size ? `${count(hosts.size)} hosts` : `${count(rows.length)} of ${count(hosts.size)} hosts`);
  at("host-empty").hidden = rows.length > 0;
  at("host-table").hidden = rows.length === 0;
  say(at("host-empty"), hosts.size ? "No host is like that." : "No host has announced itself yet. A host does it by com.atproto.sync.requestCrawl; you can do it for one by signpost admin add HOST.");
  at("host-more").hidden = rows.length <= shown;
  say(at("host-more"), `Show ${count(Math.min(500, rows.length - shown))} more of ${count(rows.length)}`);
}

let hostsDue = false;
function showHostsSoon() {
  if (hostsDue) return;
  hostsDue = true;
  requestAnimationFrame(() => { hostsDue = false; showHosts(); });
}

function takeHosts({ rows, gone }) {
  for (const name of gone) hosts.delete(name);
  for (const row of rows) { row.judged = judge(row); hosts.set(row.hostname, row); }
  showHostsSoon();
}

// ---- the chart

function showChart({ step_seconds, ended_at, outcomes, counts }) {
  const [width, height, left, bottom] = [Math.max(300, at("chart").clientWidth - 16), 176, 64, 18];
  const steps = 3600 / step_seconds;
  const sums = counts[0].map((_, step) => counts.reduce((sum, series) => sum + series[step], 0));
  const most = Math.max(1, ...sums.map((sum) => sum / step_seconds));
  const svg = document.createElementNS("http:" + "//www.w3.org/2000/svg", "svg");
  const draw = (name, properties, text) => {
    const drawn = document.createElementNS(svg.namespaceURI, name);
    for (const [key, value] of Object.entries(properties)) drawn.setAttribute(key, value);
    if (text) drawn.textContent = text;
    svg.append(drawn);
  };
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  svg.setAttribute("role", "img");
  const all = sums.reduce((sum, n) => sum + n, 0);
  svg.setAttribute("aria-label", `${count(all)} events in the last ${span(sums.length * step_seconds * 1000)}, at most ${most.toFixed(1)} a second`);
  const x = (step) => left + ((width - left) * (steps - sums.length + step)) / steps;
  const y = (rate) => height - bottom - ((height - bottom - 8) * rate) / most;
  const below = sums.map(() => 0);
  counts.forEach((series, index) => {
    if (!series.some((n) => n > 0)) return;
    const top = series.map((n, step) => below[step] + n / step_seconds);
    const line = (values, order) => order.map((step) => `${x(step).toFixed(1)},${y(values[step]).toFixed(1)} ${x(step + 1).toFixed(1)},${y(values[step]).toFixed(1)}`);
    const back = (values) => [...values.keys()].reverse().map((step) => `${x(step + 1).toFixed(1)},${y(values[step]).toFixed(1)} ${x(step).toFixed(1)},${y(values[step]).toFixed(1)}`);
    draw("polygon", { class: `c${index}`, points: [...line(top, [...top.keys()]), ...back(below)].join(" ") });
    top.forEach((value, step) => { below[step] = value; });
  });
  draw("line", { class: "axis", x1: left, x2: width, y1: height - bottom, y2: height - bottom });
  if (all === 0) {
    draw("text", { x: (left + width) / 2, y: (height - bottom) / 2, "text-anchor": "middle" }, "No event came in this time.");
  } else {
    draw("text", { x: 0, y: 14 }, rate(most));
    draw("text", { x: 0, y: 27 }, "a second");
  }
  draw("text", { x: left, y: height - 4 }, "an hour ago");
  draw("text", { x: width, y: height - 4, "text-anchor": "end" }, "now");
  at("chart").replaceChildren(svg);
  at("legend").replaceChildren(...outcomes.map((outcome, index) => {
    const key = document.createElementNS(svg.namespaceURI, "svg");
    key.setAttribute("viewBox", "0 0 10 10");
    const square = document.createElementNS(svg.namespaceURI, "rect");
    for (const [name, value] of Object.entries({ class: `c${index}`, width: 10, height: 10 })) square.setAttribute(name, value);
    key.append(square);
    return make("li", {}, key, `${count(counts[index].reduce((sum, n) => sum + n, 0))} ${OUTCOME_WORDS[outcome]}`);
  }));
}

// ---- collections and search

async function get(path) {
  const answer = await fetch(path);
  const json = await answer.json();
  if (!answer.ok) throw new Error(json.message);
  return json;
}

async function showCollections() {
  try {
    const { collections } = await get("/collections");
    at("collection-table").hidden = collections.length === 0;
    at("collection-table").tBodies[0].replaceChildren(...collections.map((it) => make("tr", {},
      make("td", {}, it.collection), make("td", { class: "number" }, count(it.repos)), make("td", { class: "number" }, count(it.records)))));
  } catch { /* The sentence at the top says what is wrong. */ }
}

async function search(event) {
  event.preventDefault();
  const query = at("query").value.trim();
  if (!query) return at("found").replaceChildren();
  try {
    const found = await get(`/search?q=${encodeURIComponent(query)}`);
    const rows = [
      ...found.hosts.map((name) => make("li", {}, "Host ", hostLink(name))),
      ...found.repos.map((did) => make("li", {}, "Account ", make("button", { type: "button", class: "link", on: { click: () => openRepo(did) } }, did))),
      ...found.collections.map((it) => make("li", {}, `Collection ${it.collection}: ${count(it.records)} records in ${count(it.repos)} repos`)),
    ];
    at("found").replaceChildren(rows.length ? make("ul", {}, ...rows) : make("p", {}, "Nothing here is called that. An account is found by the beginning of its DID."));
  } catch (error) {
    at("found").replaceChildren(make("p", {}, error.message));
  }
}

// ---- details, and what can be done

function facts(rows) {
  return make("dl", {}, ...rows.filter(([, value]) => value !== null && value !== undefined && value !== "").flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, String(value))]));
}

function openDetail(title, body, actions) {
  say(at("detail-title"), title);
  say(at("detail-said"), "");
  at("detail-body").replaceChildren(...body);
  at("detail-actions").replaceChildren(...actions.map(({ name, danger, perform }) => make("button", {
    type: "button", class: danger ? "danger" : "", on: { click: perform },
  }, name)));
  if (!at("detail").open) at("detail").showModal();
}

function openHost(hostname) {
  const host = hosts.get(hostname);
  if (!host) return;
  const [words] = host.judged;
  const parameter = `?host=${encodeURIComponent(hostname)}`;
  openDetail(hostname, [facts([
    ["State", `${words}, for ${span(now() - host.judged[3])}`],
    ["Last error", host.last_error],
    ["Accounts", `${count(host.repos)} of at most ${count(host.account_limit)}${host.waiting ? `; ${count(host.waiting)} more wait` : ""}`],
    ["Records", `${count(host.records)}, ${bytes(host.record_bytes)} as JSON`],
    ["Truncated repos", host.truncated_repos || null],
    ["Events", `${count(host.events_since_start)} since signpost was started, the last one ${ago(host.last_event_at)}`],
    ["Lag", lagWords(host)],
    ["Cursor", host.cursor === null ? "none yet" : host.cursor],
    ["Jobs", `${count(host.queue.pending)} wait, ${count(host.queue.in_progress)} in progress, ${count(host.queue.failed)} failed and are tried again`],
    ["Waiting accounts", host.waiting_accounts.join(", ")],
  ])], [
    { name: "Fetch all its accounts again", perform: () => ask(`Fetch every account of ${hostname} again?`, "What is indexed stays listed meanwhile. It costs the host a request for each account.", "Fetch them", `/admin/pds/resync${parameter}`) },
    host.blocked
      ? { name: "Let it in again", perform: () => ask(`Let ${hostname} in again?`, "It is crawled and followed from now on.", "Let it in", `/admin/pds/unblock${parameter}`) }
      : { name: "Block it", danger: true, perform: () => ask(`Block ${hostname}?`, "Its firehose closes now, and nothing more of it is taken in. What is indexed stays listed.", "Block it", `/admin/pds/block${parameter}`) },
    { name: "Set its limits", perform: () => askLimits(host) },
  ]);
}

async function openRepo(did) {
  try {
    const repo = await get(`/repo?did=${encodeURIComponent(did)}`);
    const listed = repo.taken_down ? "no: taken down here" : repo.active ? "yes" : `no: ${repo.status ?? "not active"}`;
    openDetail(did, [facts([
      ["Host", repo.hostname],
      ["Listed", listed],
      ["State", [repo.desynchronized ? "out of step with its host, to be fetched again" : null, repo.truncated ? "a limit keeps some of its records out" : null, repo.verified ? null : "not verified yet"].filter(Boolean).join("; ") || "in step with its host"],
      ["Job", repo.job ? `${repo.job}${repo.last_error ? `: ${repo.last_error}` : ""}` : null],
      ["Rev", repo.rev], ["Commit", repo.head], ["Signing key", repo.signing_key],
      ["Records", count(repo.records)],
    ]), ...repo.indexed_records.map((record) => make("details", {}, make("summary", {}, `${record.collection}/${record.rkey}`),
      make("p", {}, `${record.cid}, indexed ${ago(record.indexed_at)}`), make("pre", {}, pretty(record.record)))),
    ...(repo.records > repo.indexed_records.length ? [make("p", {}, `and ${count(repo.records - repo.indexed_records.length)} more`)] : []),
    ], [
      { name: "Fetch it again", perform: () => ask(`Fetch ${did} again?`, "What is indexed stays listed meanwhile.", "Fetch it", "/admin/repo/resync", { did }) },
      repo.taken_down
        ? { name: "Show it again", perform: () => ask(`Show ${did} again?`, "It is listed from now on, if its host says that it is active.", "Show it", "/admin/repo/reverseTakedown", { did }) }
        : { name: "Take it down", danger: true, perform: () => ask(`Take ${did} down?`, "It is in no list from now on. It is kept up to date unseen, and can be shown again.", "Take it down", "/admin/repo/takeDown", { did }) },
    ]);
  } catch (error) {
    openDetail(did, [make("p", {}, error.message)], []);
  }
}

function pretty(json) {
  try { return JSON.stringify(JSON.parse(json), null, 2); } catch { return json; }
}

// What waits for each dialog's answer. It is given where the person gives it: a dialog's `close` event comes later, when the same dialog may stand open again for something else.
const answers = { question: () => {}, token: () => {} };

// Resolves to the fields' values, or to null.
function question(title, text, yes, fields = []) {
  say(at("question-title"), title);
  say(at("question-text"), text);
  say(at("question-yes"), yes);
  const inputs = fields.map(([name, label, value]) => [name, label, make("input", { type: "number", min: 0, value, placeholder: "the default" })]);
  at("question-fields").replaceChildren(...inputs.map(([, label, input]) => make("label", {}, `${label} `, input)));
  at("question").showModal();
  return new Promise((resolve) => {
    answers.question = (agreed) => resolve(agreed ? Object.fromEntries(inputs.map(([name, , input]) => [name, input.value])) : null);
  });
}

async function ask(title, text, yes, path, body) {
  if (!(await withToken())) return;
  if (!(await question(title, text, yes))) return;
  await perform(path, body);
}

async function askLimits(host) {
  if (!(await withToken())) return;
  const values = await question(`Limits of ${host.hostname}`, "An empty field sets the default again.", "Set them", [
    ["repo_limit", "Accounts", host.account_limit], ["per_second", "Events a second", ""], ["per_hour", "Events an hour", ""], ["per_day", "Events a day", ""],
  ]);
  if (!values) return;
  const limits = Object.fromEntries(Object.entries(values).map(([name, text]) => [name, text === "" ? null : Number(text)]));
  await perform("/admin/pds/changeLimits", { host: host.hostname, ...limits });
}

async function perform(path, body) {
  say(at("detail-said"), "…");
  const headers = { Authorization: `Bearer ${token}` };
  if (body) headers["Content-Type"] = "application/json";
  try {
    const answer = await fetch(path, { method: "POST", headers, body: body ? JSON.stringify(body) : undefined });
    const json = await answer.json().catch(() => ({}));
    if (answer.status === 401) forgetToken();
    say(at("detail-said"), answer.ok ? "Done." : `Not done: ${json.message ?? answer.status}`);
  } catch (error) {
    say(at("detail-said"), `Not done: ${error.message}`);
  }
}

// ---- the token

function forgetToken() {
  token = null;
  sessionStorage.removeItem("signpost-admin-token");
  showToken();
}

function showToken() {
  say(at("token-button"), token ? "Forget the admin token" : "Enter the admin token");
}

// Whether there is one now.
function withToken() {
  if (token) return Promise.resolve(true);
  say(at("token-said"), "");
  at("token").value = "";
  at("token-dialog").showModal();
  return new Promise((resolve) => { answers.token = resolve; });
}

async function tryToken(event) {
  event.preventDefault();
  const entered = at("token").value.trim();
  const answer = await fetch("/admin/log?limit=1", { headers: { Authorization: `Bearer ${entered}` } }).catch(() => null);
  if (!answer || !answer.ok) {
    const json = answer ? await answer.json().catch(() => ({})) : {};
    return say(at("token-said"), answer?.status === 401 ? "That is not the token." : (json.message ?? "signpost does not answer."));
  }
  token = entered;
  sessionStorage.setItem("signpost-admin-token", token);
  showToken();
  at("token-dialog").close();
  answers.token(true);
}

// ---- begin

at("search").addEventListener("submit", search);
at("host-filter").addEventListener("input", () => { shown = SHOWN_AT_FIRST; showHostsSoon(); });
at("host-state").addEventListener("change", () => { shown = SHOWN_AT_FIRST; showHostsSoon(); });
at("host-more").addEventListener("click", () => { shown += 500; showHosts(); });
at("token-button").addEventListener("click", () => (token ? forgetToken() : withToken()));
at("token-form").addEventListener("submit", tryToken);
at("token-cancel").addEventListener("click", () => { at("token-dialog").close(); answers.token(false); });
at("token-dialog").addEventListener("cancel", () => answers.token(false));
at("question-form").addEventListener("submit", () => answers.question(true));
at("question-no").addEventListener("click", () => { at("question").close(); answers.question(false); });
at("question").addEventListener("cancel", () => answers.question(false));

// A tab that nobody sees asks for nothing.
let stream = null;
function follow() {
  if (document.hidden) { stream?.close(); stream = null; return; }
  if (stream) return;
  hosts.clear();
  stream = new EventSource("/status/stream");
  stream.addEventListener("status", (event) => {
    document.body.classList.remove("stale");
    status = JSON.parse(event.data);
    status.heard = performance.now();
    showStatus();
  });
  stream.addEventListener("hosts", (event) => takeHosts(JSON.parse(event.data)));
  stream.addEventListener("chart", (event) => showChart(JSON.parse(event.data)));
  stream.addEventListener("error", () => {
    document.body.classList.add("stale");
    at("health").className = "bad";
    say(at("sentence"), "signpost does not answer: is it running? This page goes on by itself when it does.");
    at("advice").dataset.shown = "";
    at("advice").replaceChildren(make("li", {}, "On its machine: systemctl status signpost, and journalctl -u signpost."));
    if (stream.readyState === EventSource.CLOSED) { stream = null; setTimeout(follow, 3000); }
  });
}
document.addEventListener("visibilitychange", follow);
showToken();
showHeads();
follow();
setInterval(showHostsSoon, 15_000);
