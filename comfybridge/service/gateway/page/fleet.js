// What only admins see: servers, figures of versions, the last hour, what needs attention.

import { confirmed, el, keep, say, svg } from "./elements.js";
import { host } from "./jobs.js";
import { ago, count, has, language, percent, t, time } from "./words.js";

const GB = 2 ** 30;
const ACTIONS = { active: ["pause", "drain", "remove"], paused: ["resume", "drain", "remove"], draining: ["resume", "remove"], removed: [] };

export function serverRow(server, act) {
  return el(
    "li", { class: "server" },
    el("div", { class: "head" }, el("span", { class: "dot" }), el("span", { class: "name" }), el("span", { class: "state" })),
    el("p", { class: "reason" }),
    el("div", { class: "memory" }, el("meter", { min: 0 }), el("span", { class: "facts" })),
    el("p", { class: "facts loaded" }),
    el("div", { class: "buttons", onclick: (event) => event.target.dataset.action && act(event.target.dataset.action, server.url) }),
  );
}

export function showServer(row, server) {
  const health = server.health === "well" && server.running ? "busy" : server.health;
  const isActive = server.mode === "active";
  row.dataset.state = isActive || ["sick", "gone"].includes(health) ? health : server.mode;
  say(row.querySelector(".name"), host(server.url));
  const state = [!isActive && t(`mode_${server.mode}`), (isActive || health !== "well") && t(`health_${health}`)].filter(Boolean);
  say(row.querySelector(".state"), state.join(" · "));
  const reason = (language.now === "zh" && server.reason_zh) || server.reason;
  const line = row.querySelector(".reason");
  say(line, has(reason) ? t(reason) : reason);
  line.hidden = !reason || server.mode === "removed";
  const total = server.devices.reduce((sum, device) => sum + (device.vram_total || 0), 0);
  const free = server.devices.reduce((sum, device) => sum + (device.vram_free || 0), 0);
  const memory = row.querySelector(".memory");
  memory.hidden = !total;
  const meter = memory.querySelector("meter");
  meter.max = total || 1;
  meter.value = total - free;
  meter.setAttribute("aria-label", t("vram_label"));
  const held = server.running + server.waiting > 0 ? ` · ${t("held", server.running, server.waiting)}` : "";
  say(memory.querySelector("span"), t("vram", ((total - free) / GB).toFixed(1), (total / GB).toFixed(0)) + held);
  const loaded = row.querySelector(".loaded");
  say(loaded, server.loaded.length ? t("loaded", server.loaded.join(", ")) : "");
  loaded.title = loaded.textContent;
  loaded.hidden = !server.loaded.length;
  const buttons = row.querySelector(".buttons");
  keep(buttons, ACTIONS[server.mode] || [], (action) => action,
    (action) => el("button", { type: "button", class: "quiet", "data-action": action }),
    (button, action) => {
      say(button, t(action));
      button.setAttribute("aria-label", t("action_of", t(action), host(server.url)));
    });
}

/** Whether it may be done: what stops work is asked for first. */
export async function allowed(action, url) {
  if (action !== "drain" && action !== "remove") return true;
  return confirmed(t(`${action}_ask`, host(url)), t(`${action}_detail`), t(action), t("back"));
}

export function showHour(place, minutes) {
  const byMinute = new Map(minutes.map((minute) => [minute.ago, minute]));
  const most = Math.max(1, ...minutes.map((minute) => minute.succeeded + minute.failed));
  const [wide, high] = [240, 36];
  const bars = [];
  for (let ago = 59; ago >= 0; ago--) {
    const { succeeded = 0, failed = 0 } = byMinute.get(ago) || {};
    const x = (59 - ago) * 4;
    const good = (succeeded / most) * high;
    const bad = (failed / most) * high;
    if (!succeeded && !failed) bars.push(svg("rect", { class: "none", x, y: high - 1, width: 3, height: 1 }));
    if (succeeded) bars.push(svg("rect", { class: "good", x, y: high - good, width: 3, height: good }));
    if (failed) bars.push(svg("rect", { class: "bad", x, y: high - good - bad, width: 3, height: bad }));
  }
  const [good, bad] = totals(minutes);
  place.replaceChildren(svg("svg", {
    viewBox: `0 0 ${wide} ${high}`, preserveAspectRatio: "none", role: "img", "aria-label": t("hour_chart", count(good), count(bad)),
  }, ...bars));
}

export function totals(minutes) {
  return [minutes.reduce((sum, minute) => sum + minute.succeeded, 0), minutes.reduce((sum, minute) => sum + minute.failed, 0)];
}

export function showAttention(place, told) {
  const lines = [
    ...told.alerts.map((alert) => ["bad", has(`alert_${alert.name}`) ? t(`alert_${alert.name}`, alert.subject) : `${alert.name}: ${alert.subject}`, alert.began]),
    ...told.events.map((event) => [
      "warn",
      [t(`event_${event.kind}`, `${event.data.template}@${event.data.version}`), event.data.reason?.[language.now]].filter(Boolean).join(" "),
      event.created,
    ]),
    ...told.problems.map((problem) => ["warn", problem[language.now], null]),
    ...(told.undelivered ? [["warn", t("undelivered", count(told.undelivered)), null]] : []),
  ];
  const list = place.querySelector("ul");
  keep(list, lines, ([, text]) => text, ([kind]) => el("li", { class: kind }, el("span"), el("time")), (item, [, text, when]) => {
    say(item.firstChild, text);
    say(item.lastChild, when ? ago(when) : "");
  });
  place.hidden = lines.length === 0;
}

export function showVersions(section, versions, resume) {
  const body = section.querySelector("tbody");
  const slowest = Math.max(...versions.map((version) => version.median_s || 0)) || 1;
  const before = new Map();
  keep(body, versions, (version) => `${version.template}@${version.version}`, () => row(resume), (line, version) => {
    line.version = version;
    const [name, gets, success, median, p95, runs] = line.children;
    const isFirst = !before.has(version.template);
    before.set(version.template, true);
    line.classList.toggle("first", isFirst);
    say(name.firstChild, `${version.template}`);
    say(name.lastChild, `@${version.version}`);
    gets.dataset.label = t("gets");
    const gone = version.rolled_back;
    say(gets.firstChild, gone ? t("rolled_back") : version.is_stable ? [t("stable"), version.share < 100 && t("share", version.share)].filter(Boolean).join(" ") : [version.share > 0 && t("share", version.share), ...version.keys].filter(Boolean).join(", ") || "–");
    gets.firstChild.className = gone ? "tag bad" : version.is_stable ? "tag" : "tag new";
    gets.title = gone ? gone.reason?.[language.now] || "" : "";
    gets.lastChild.hidden = !gone;
    say(gets.lastChild, t("resume_version"));
    const counted = version.runs > 0 && version.success !== null;
    draw(success, counted ? version.success : 0, counted ? percent(version.success) : "–", counted && version.success < 0.9);
    draw(median, (version.median_s || 0) / slowest, time(version.median_s), false);
    say(p95, time(version.p95_s));
    say(runs, count(version.runs));
    for (const [cell, label] of [[success, "success"], [median, "median"], [p95, "p95"], [runs, "runs"]]) cell.dataset.label = t(label);
  });
  section.classList.toggle("is-empty", versions.length === 0);
}

function row(resume) {
  const bar = () => el("td", { class: "measure" }, el("span", { class: "track" }, el("i")), el("span"));
  const line = el(
    "tr", {}, el("th", { scope: "row" }, el("span"), el("span", { class: "number" })),
    el("td", {}, el("span", { class: "tag" }), el("button", { type: "button", class: "quiet", onclick: () => resume(line.version) })),
    bar(), bar(), el("td", { class: "figure" }), el("td", { class: "figure" }),
  );
  return line;
}

function draw(cell, share, text, isBad) {
  cell.querySelector("i").style.width = `${Math.round(share * 100)}%`;
  cell.classList.toggle("bad", isBad);
  say(cell.lastChild, text);
}
