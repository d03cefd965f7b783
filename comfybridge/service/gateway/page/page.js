// The page: asks for an overview while it is looked at, at once when the socket says that something changed.

import { confirmed, el, say } from "./elements.js";
import { allowed, serverRow, showAttention, showHour, showServer, showVersions, totals } from "./fleet.js";
import { askToCancel, fill, hear, runningCard, showRunning, showTrouble, showWaiting, troubleRow, waitingRow } from "./jobs.js";
import { showPictures } from "./pictures.js";
import { Refused, Watching, ask, isKeyNeeded, key } from "./server.js";
import { choose, count, language, percent, t, time } from "./words.js";

const EVERY_MS = 2000;
const SOONEST_MS = 400;
const FIGURES_EVERY_MS = 15000;
const isNarrow = matchMedia("(max-width: 820px)");
const WINDOWS = { latest: null, 1: 1, 24: 24, 168: 168 };

const state = { overview: null, figures: null, figuresRead: 0, window: "24", offset: 0, isLive: false, problem: "", isSigningIn: false };
let parts = null;
let timer = 0;
let underway = null;
let asked = 0;
let drawn = 0;

const watching = new Watching(
  (message) => {
    if (message.type === "changed") refreshSoon();
    else {
      hear(message);
      drawn ||= requestAnimationFrame(() => {
        drawn = 0;
        if (parts && state.overview) showJobs();
      });
    }
  },
  (isOpen) => {
    state.isLive = isOpen;
    if (parts) showState();
    if (isOpen) refreshSoon();
  },
);

// Asking

function refreshSoon() {
  clearTimeout(timer);
  timer = setTimeout(refresh, Math.max(0, asked + SOONEST_MS - Date.now()));
}

async function refresh() {
  clearTimeout(timer);
  if (document.hidden) return;
  if (underway) return underway;
  underway = read();
  try {
    await underway;
  } finally {
    underway = null;
    if (parts && !document.hidden) timer = setTimeout(refresh, EVERY_MS);
  }
}

async function read() {
  asked = Date.now();
  try {
    state.overview = await ask(`comfybridge/overview?offset=${state.offset}&limit=${isNarrow.matches ? 6 : 12}`);
    const wasAway = state.problem;
    state.problem = "";
    if (!parts) build();
    watching.start();
    if (wasAway) watching.hurry();
    show();
    await readFigures();
  } catch (error) {
    if (error instanceof Refused && error.status === 401) return signIn(key.get() ? t("key_wrong") : "");
    state.problem = error instanceof Refused ? t("broken", error.message) : t("away");
    if (!parts) build();
    showState();
  }
}

async function readFigures() {
  if (!state.overview.caller.is_admin || Date.now() - state.figuresRead < FIGURES_EVERY_MS) return;
  state.figuresRead = Date.now();
  const hours = WINDOWS[state.window];
  state.figures = await ask(`comfybridge/figures${hours ? `?hours=${hours}` : ""}`);
  showVersions(parts.versions, state.figures.versions, resumeVersion);
}

/** Do something, and say in words what came of it. */
async function act(path, body) {
  try {
    const told = await ask(path, { body });
    if (told.message?.[language.now]) notice(told.message[language.now]);
    refreshSoon();
    return true;
  } catch (error) {
    notice(error instanceof Refused ? t("refused", error.message) : t("away"), "bad");
    return false;
  }
}

async function cancel(job) {
  if (job.state === "running" && !(await askToCancel())) return;
  await act("comfybridge/cancel", { prompt_id: job.prompt_id });
}

async function cancelAll() {
  const { counts, caller } = state.overview;
  const detail = t(caller.is_admin ? "cancel_all_admin" : "cancel_all_mine");
  const waiting = counts.queued + counts.claimed;
  if (await confirmed(t("cancel_all_ask", count(waiting)), detail, t("cancel_all"), t("keep_it"))) {
    state.offset = 0;
    await act("comfybridge/cancel", { waiting: true });
  }
}

async function change(action, url) {
  if (await allowed(action, url)) await act("comfybridge/servers", { action, url });
}

async function resumeVersion({ template, version }) {
  const ok = await confirmed(t("resume_ask", `${template}@${version}`), t("resume_detail"), t("resume_version"), t("back"));
  if (!ok) return;
  await act("comfybridge/versions", { template, version, action: "resume" });
  state.figuresRead = 0;
}

function notice(text, kind = "") {
  const told = el("p", { class: kind, role: kind === "bad" ? "alert" : "status" }, text);
  parts.notices.append(told);
  setTimeout(() => told.remove(), 8000);
}

// Signing in

function signIn(problem) {
  watching.stop();
  clearTimeout(timer);
  Object.assign(state, { overview: null, figures: null, figuresRead: 0, offset: 0 });
  parts = null;
  state.isSigningIn = true;
  const input = el("input", { id: "key", type: "password", autocomplete: "current-password", required: true, spellcheck: "false" });
  const told = el("p", { class: "problem", role: "alert", id: "problem" }, problem);
  const form = el(
    "form", { class: "sign-in" }, mark("h1"), el("p", { class: "lead" }, t("sign_in_lead")),
    el("label", { for: "key" }, t("key")), input, told, el("button", { class: "primary" }, t("sign_in")),
    el("p", { class: "hint" }, t("key_hint")),
    el("details", {}, el("summary", {}, t("key_how")), el("code", {}, "comfybridge keys add NAME")),
    languages(() => signIn("")),
  );
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    try {
      await ask("comfybridge/overview", { as: input.value.trim() });
      key.set(input.value.trim());
      state.isSigningIn = false;
      refresh();
    } catch (error) {
      say(told, error instanceof Refused ? (error.status === 401 ? t("key_wrong") : t("refused", error.message)) : t("away"));
      input.select();
      input.setAttribute("aria-invalid", "true");
      input.setAttribute("aria-describedby", "problem");
    }
  });
  document.body.replaceChildren(el("main", { class: "entrance" }, form));
  document.documentElement.lang = language.now === "zh" ? "zh-CN" : "en";
  input.focus();
}

function mark(level) {
  return el(level, { class: "mark" }, el("img", { src: "comfybridge/page/icon.svg", alt: "", width: 24, height: 24 }), el("span", { class: "mark-name" }, "comfybridge"));
}

function languages(again) {
  const button = (tag, name, lang) =>
    el("button", { type: "button", lang, "aria-pressed": String(language.now === tag), onclick: () => {
      choose(tag);
      again();
    } }, name);
  return el("div", { class: "languages", role: "group", "aria-label": t("language") }, button("en", "EN", "en"), button("zh", "中文", "zh-CN"));
}

// Showing

function build() {
  document.documentElement.lang = language.now === "zh" ? "zh-CN" : "en";
  const isAdmin = Boolean(state.overview?.caller.is_admin);
  parts = {
    isAdmin,
    live: el("span", { class: "live", role: "status" }),
    who: el("span", { class: "who" }),
    problem: el("p", { class: "banner", role: "alert", hidden: true }),
    figures: el("dl", { class: "figures" }),
    hour: el("div", { class: "hour" }),
    attention: el("section", { class: "attention", hidden: true, "aria-label": t("attention") }, el("ul")),
    running: section("running", el("ul", { class: "cards" }), el("p", { class: "empty" }, t("no_running"))),
    pictures: section("pictures", el("ul", { class: "thumbs" }), firstJob()),
    waiting: section("waiting", el("ul", { class: "rows" }), el("p", { class: "empty" }, t("no_waiting")), pager()),
    troubles: section("troubles", el("ul", { class: "rows" }), el("p", { class: "empty" }, t("no_troubles"))),
    notices: el("div", { class: "notices", "aria-live": "polite" }),
  };
  if (isAdmin) {
    parts.servers = section("servers", el("ul", { class: "rows" }), noServers());
    parts.versions = versionsSection();
  }
  const all = el("button", { type: "button", class: "quiet", onclick: cancelAll }, t("cancel_all"));
  parts.cancelAll = all;
  parts.waiting.querySelector("header").append(all);
  const again = () => {
    build();
    show();
    if (state.figures && parts.versions) showVersions(parts.versions, state.figures.versions, resumeVersion);
  };
  const leave = el("button", { type: "button", class: "quiet", onclick: () => {
    key.set("");
    signIn("");
  } }, t("sign_out"));
  parts.leave = leave;
  document.body.replaceChildren(
    el("header", { class: "top" }, mark("h1"), parts.live, el("span", { class: "space" }), parts.who, leave, languages(again)),
    parts.problem,
    el("main", {},
      el("div", { class: "summary" }, parts.figures, isAdmin && parts.hour), parts.attention,
      el("div", { class: "columns" },
        el("div", { class: "wide" }, parts.running, parts.pictures, parts.versions),
        el("div", { class: "narrow" }, parts.servers, parts.waiting, parts.troubles))),
    parts.notices,
  );
}

function section(name, ...inside) {
  return el("section", { class: name, "aria-labelledby": `title-${name}` },
    el("header", {}, el("h2", { id: `title-${name}` }, t(name)), el("span", { class: "amount" })), ...inside);
}

function firstJob() {
  const here = new URL(".", document.baseURI);
  const fromDocker = new URL(here);
  fromDocker.hostname = "host.docker.internal";
  const isOfThisMachine = ["localhost", "127.0.0.1", "[::1]"].includes(here.hostname);
  const written = (url) => url.href.replace(/\/$/, "");
  const hasKey = Boolean(key.get());
  return el("div", { class: "empty welcome" }, el("p", {}, t("no_jobs")),
    el("dl", {}, el("dt", {}, "base_url"),
      el("dd", {}, el("code", {}, written(here)), isOfThisMachine && el("p", { class: "docker" }, t("no_jobs_docker", written(fromDocker)))),
      el("dt", {}, "api_key"), el("dd", {}, t(hasKey ? "no_jobs_key" : "no_jobs_no_key"))),
    el("p", {}, t("no_jobs_after")),
    el("code", { class: "line" }, `curl ${written(here)}/prompt${hasKey ? " -H 'Authorization: Bearer …'" : ""} -d @job.json`));
}

function noServers() {
  return el("div", { class: "empty" }, el("p", {}, t("no_servers")),
    el("code", { class: "line" }, "comfybridge servers add http://gpu1:8188 --data /srv/comfybridge"));
}

function pager() {
  const move = (by) => () => {
    state.offset = Math.max(0, state.offset + by * state.overview.waiting.page);
    refreshSoon();
  };
  return el("nav", { class: "pager", "aria-label": t("waiting") },
    el("button", { type: "button", class: "quiet", "aria-label": t("newer"), onclick: move(-1) }, "‹"), el("span"),
    el("button", { type: "button", class: "quiet", "aria-label": t("older"), onclick: move(1) }, "›"));
}

function versionsSection() {
  const select = el("select", { id: "window", onchange: () => {
    state.window = select.value;
    state.figuresRead = 0;
    refreshSoon();
  } }, ...Object.keys(WINDOWS).map((name) => el("option", { value: name, selected: name === state.window }, t(`window_${name}`))));
  const made = section("versions",
    el("table", {}, el("thead", {}, el("tr", {}, ...["version", "gets", "success", "median", "p95", "runs"].map((name) => el("th", { scope: "col", class: name }, t(name))))), el("tbody")),
    el("p", { class: "empty" }, t("no_versions")));
  made.querySelector("header").append(el("label", { for: "window", class: "unseen" }, t("window")), select);
  return made;
}

function show() {
  const { caller, counts, waiting, troubles, pictures } = state.overview;
  if (caller.is_admin !== parts.isAdmin) build();
  showState();
  say(parts.who, [caller.name, caller.is_admin && caller.name && t("admin")].filter(Boolean).join(" · "));
  parts.leave.hidden = !key.get();
  showFigures();
  showJobs();
  const queued = counts.queued;
  if (waiting.offset && waiting.offset >= queued) state.offset = 0;
  const next = waiting.offset ? [] : state.overview.running.filter((job) => job.state === "claimed");
  fill(parts.waiting, [...next, ...waiting.jobs], (job) => waitingRow(job, cancel), showWaiting);
  say(parts.waiting.querySelector(".amount"), count(queued + counts.claimed));
  parts.cancelAll.hidden = queued + counts.claimed < 2;
  const nav = parts.waiting.querySelector(".pager");
  nav.hidden = queued <= waiting.page;
  say(nav.children[1], t("page_of", count(waiting.offset + 1), count(waiting.offset + waiting.jobs.length), count(queued)));
  nav.children[0].disabled = waiting.offset === 0;
  nav.children[2].disabled = waiting.offset + waiting.page >= queued;
  showPictures(parts.pictures, pictures);
  fill(parts.troubles, troubles, troubleRow, showTrouble);
  say(parts.troubles.querySelector(".amount"), troubles.length ? count(troubles.length) : "");
  parts.troubles.hidden = troubles.length === 0;
  if (caller.is_admin) showFleet();
}

function showJobs() {
  const { running, counts } = state.overview;
  fill(parts.running, running.filter((job) => job.state === "running"), (job) => runningCard(job, cancel), showRunning);
  say(parts.running.querySelector(".amount"), count(counts.running));
}

function showFleet() {
  const told = state.overview;
  const there = told.servers.filter((server) => server.mode !== "removed");
  fill(parts.servers, there, (server) => serverRow(server, change), showServer);
  say(parts.servers.querySelector(".amount"), count(there.length));
  showHour(parts.hour, told.minutes);
  showAttention(parts.attention, told);
}

function showFigures() {
  const { counts, servers, minutes } = state.overview;
  const figures = [[count(counts.running), t("n_running")], [count(counts.queued + counts.claimed), t("n_waiting")], [counts.oldest_s === null ? "–" : time(Math.floor(counts.oldest_s)), t("oldest")]];
  if (servers) {
    const there = servers.filter((server) => server.mode !== "removed");
    const up = there.filter((server) => server.health === "well" && server.mode === "active").length;
    const [good, bad] = totals(minutes);
    figures.push([`${up}/${there.length}`, t("servers_up")], [count(good + bad), t("jobs_hour")], [good + bad ? percent(good / (good + bad)) : "–", t("last_hour")]);
  }
  if (parts.figures.children.length !== figures.length || parts.figures.lang !== language.now) {
    parts.figures.lang = language.now;
    parts.figures.replaceChildren(...figures.map(() => el("div", {}, el("dt"), el("dd"))));
  }
  figures.forEach(([value, name], number) => {
    const [term, figure] = parts.figures.children[number].children;
    say(term, name);
    say(figure, value);
  });
  document.title = counts.running + counts.queued ? `(${count(counts.running + counts.queued + counts.claimed)}) comfybridge` : "comfybridge";
}

function showState() {
  const name = state.problem ? "away" : state.isLive ? "live" : "polled";
  parts.live.dataset.state = name;
  say(parts.live, t(name === "away" ? "away_short" : name));
  parts.live.title = state.problem || t(`${name}_hint`);
  say(parts.problem, state.problem);
  parts.problem.hidden = !state.problem;
  document.body.classList.toggle("is-away", Boolean(state.problem));
}

document.addEventListener("visibilitychange", () => {
  if (document.hidden) {
    clearTimeout(timer);
    watching.stop();
    state.isLive = false;
  } else if (!state.isSigningIn) {
    if (parts && !state.problem) watching.start();
    refresh();
  }
});

if (isKeyNeeded() && !key.get()) signIn("");
else refresh();
