// What runs, with its previews; what waits; what did not succeed.

import { confirmed, el, keep, say } from "./elements.js";
import { ago, count, has, language, t, time } from "./words.js";

const live = new Map(); // prompt_id -> where it is, as the socket tells: node, value, max, nodes, picture

export const nameOf = (job) => job.text || job.template || t("no_text");
const facts = (...several) => several.filter(Boolean).join(" · ");
export const host = (url) => url.replace(/^https?:\/\//, "");

export function hear({ type, data }) {
  const known = live.get(data.prompt_id) || {};
  if (type === "executing") known.node = data.node;
  else if (type === "progress") Object.assign(known, { node: data.node ?? known.node, value: data.value, max: data.max });
  else if (type === "progress_state") known.nodes = data.nodes;
  else if (type === "preview") known.picture = data.picture;
  live.set(data.prompt_id, known);
}

/** Where a job is: what was heard last, else what its worker wrote down. */
function place(job) {
  const heard = { ...(job.progress || {}), ...(live.get(job.prompt_id) || {}) };
  const nodes = Object.values(heard.nodes || {});
  const now = nodes.find((node) => node.state === "running");
  const all = Object.keys(job.titles).length;
  const done = nodes.filter((node) => node.state === "finished").length;
  const node = now?.node_id ?? heard.node;
  return {
    title: job.titles[now?.display_node_id ?? node] || job.titles[node] || "",
    value: now?.value ?? heard.value ?? 0,
    max: now?.max ?? heard.max ?? 0,
    done: Math.min(done, all),
    all,
    picture: heard.picture,
  };
}

export function runningCard(job, cancel) {
  const picture = el("img", { alt: "", hidden: true });
  const card = el(
    "li", { class: "job" },
    el("div", { class: "preview" }, picture, el("span", { class: "node" })),
    el("div", { class: "about" },
      el("p", { class: "name" }),
      el("p", { class: "facts" }),
      el("div", { class: "bar" }, el("progress", {}), el("span", { class: "step" })),
      el("button", { class: "quiet cancel", type: "button", onclick: () => cancel(card.job) })),
  );
  card.addEventListener("gone", () => {
    live.delete(job.prompt_id);
    URL.revokeObjectURL(picture.src);
  });
  return card;
}

export function showRunning(card, job) {
  card.job = job;
  const at = place(job);
  const picture = card.querySelector("img");
  if (at.picture && card.shown !== at.picture) {
    const before = picture.src;
    picture.src = URL.createObjectURL(at.picture);
    card.shown = at.picture;
    picture.onload = () => before && URL.revokeObjectURL(before);
    picture.hidden = false;
    card.classList.add("is-seen");
  }
  picture.alt = t("preview_of", nameOf(job));
  say(card.querySelector(".node"), at.title || t("starting"));
  const name = card.querySelector(".name");
  say(name, nameOf(job));
  name.title = nameOf(job);
  say(card.querySelector(".facts"), facts(
    job.text && job.template, job.key && t("by", job.key), t("on", host(job.server)),
    job.runs_s !== null && time(Math.floor(job.runs_s))));
  const bar = card.querySelector("progress");
  const steps = at.max > 1;
  const [value, max] = steps ? [at.value, at.max] : [at.done, at.all];
  bar.max = max || 1;
  bar.value = value;
  bar.setAttribute("aria-label", t("progress"));
  say(card.querySelector(".step"), steps ? `${at.value}/${at.max}` : at.all ? `${at.done}/${at.all}` : "");
  const button = card.querySelector(".cancel");
  button.disabled = job.is_ending;
  say(button, job.is_ending ? t("cancelling") : t("cancel"));
  button.setAttribute("aria-label", t("cancel_of", nameOf(job)));
}

export function waitingRow(job, cancel) {
  const row = el(
    "li", { class: "row" },
    el("span", { class: "position" }),
    el("div", { class: "what" }, el("p", { class: "name" }), el("p", { class: "facts" })),
    el("button", { class: "cancel cross", type: "button", onclick: () => cancel(row.job) }, "×"),
  );
  return row;
}

export function showWaiting(row, job) {
  row.job = job;
  say(row.querySelector(".position"), job.state === "claimed" ? "" : count(job.position));
  const name = row.querySelector(".name");
  say(name, nameOf(job));
  name.title = nameOf(job);
  const rank = `priority_${job.priority}`;
  say(row.querySelector(".facts"), facts(
    job.state === "claimed" && t("next_on", host(job.server)), job.text && job.template, job.key && t("by", job.key),
    has(rank) && t(rank), time(Math.floor(job.waits_s))));
  const button = row.querySelector(".cancel");
  button.title = t("cancel");
  button.setAttribute("aria-label", t("cancel_of", nameOf(job)));
}

export function troubleRow() {
  return el("li", { class: "row" },
    el("div", { class: "what" }, el("p", { class: "name" }), el("p", { class: "reason" }), el("p", { class: "facts" })));
}

export function showTrouble(row, job) {
  say(row.querySelector(".name"), nameOf(job));
  const reason = job.reason[language.now] || job.reason.en || t(`outcome_${job.outcome}`);
  const line = row.querySelector(".reason");
  say(line, reason);
  line.title = reason;
  say(row.querySelector(".facts"), facts(
    t(`outcome_${job.outcome}`), job.text && job.template, job.key && t("by", job.key), job.server && host(job.server), ago(job.ended)));
}

/** Fill a list, or say what is to be said of an empty one. */
export function fill(section, items, make, update) {
  const list = section.querySelector("ul");
  keep(list, items, (item) => item.prompt_id || item.url, make, update);
  section.classList.toggle("is-empty", items.length === 0);
}

export const askToCancel = () =>
  confirmed(t("cancel_running_ask"), "", t("cancel"), t("keep_it"));
