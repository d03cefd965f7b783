// The last pictures, and one of them large.

import { el, keep, say } from "./elements.js";
import { nameOf } from "./jobs.js";
import { ago, t, time } from "./words.js";

const small = (file) => `${file.link}&preview=webp;75`;
const isPicture = (file) => file.mime.startsWith("image/");
const keyOf = (file) => `${file.prompt_id}/${file.filename}`;

let shown = [];

export function showPictures(section, files) {
  shown = files;
  const list = section.querySelector("ul");
  keep(list, files, keyOf, make, (item, file) => {
    item.firstChild.setAttribute("aria-label", t("open_picture", nameOf(file)));
  });
  section.classList.toggle("is-empty", files.length === 0);
}

function make(file) {
  const button = el("button", { type: "button", class: "thumb", title: nameOf(file), onclick: () => open(keyOf(file)) });
  if (isPicture(file)) button.append(el("img", { src: small(file), alt: "", loading: "lazy", decoding: "async" }));
  else if (file.mime.startsWith("video/")) {
    button.append(el("video", { src: file.link, preload: "metadata", ".muted": true, tabindex: -1 }), el("span", { class: "kind" }, "▶"));
  } else button.append(el("span", { class: "kind sound" }, "♪"));
  return el("li", {}, button);
}

function open(key) {
  const stage = el("div", { class: "stage" });
  const name = el("p", { class: "name" });
  const facts = el("p", { class: "facts" });
  const original = el("a", { target: "_blank", rel: "noopener" }, t("original"));
  const turn = (by) => {
    const now = shown.findIndex((file) => keyOf(file) === key);
    const next = shown[now + by];
    if (next) present(next);
  };
  const previous = el("button", { type: "button", class: "turn", "aria-label": t("previous"), onclick: () => turn(-1) }, "‹");
  const following = el("button", { type: "button", class: "turn", "aria-label": t("next"), onclick: () => turn(1) }, "›");
  const dialog = el(
    "dialog", { class: "large", "aria-label": t("pictures") },
    el("form", { method: "dialog" }, el("button", { class: "close", "aria-label": t("close"), autofocus: true }, "×")),
    stage, el("footer", {}, el("div", { class: "what" }, name, facts), previous, following, original),
  );
  function present(file) {
    key = keyOf(file);
    const kind = file.mime.split("/")[0];
    const attributes = { src: file.link, controls: kind !== "image" };
    stage.replaceChildren(kind === "image" ? el("img", { ...attributes, alt: nameOf(file) }) : el(kind, attributes));
    say(name, nameOf(file));
    say(facts, [file.text && file.template, file.key && t("by", file.key), file.seconds && time(file.seconds), ago(file.ended), file.filename].filter(Boolean).join(" · "));
    original.href = file.link;
    const now = shown.findIndex((other) => keyOf(other) === key);
    previous.disabled = now <= 0;
    following.disabled = now < 0 || now >= shown.length - 1;
  }
  present(shown.find((file) => keyOf(file) === key));
  dialog.addEventListener("keydown", (event) => {
    if (event.key === "ArrowLeft") turn(-1);
    else if (event.key === "ArrowRight") turn(1);
  });
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog || event.target === stage) dialog.close();
  });
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
}
