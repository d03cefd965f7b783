// Plain DOM: texts become text nodes, never markup.

/** An element: attributes, properties with a leading dot, listeners with "on", then what it holds. */
export function el(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (key.startsWith(".")) element[key.slice(1)] = value;
    else element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== undefined && child !== null && child !== false));
  return element;
}

export function svg(name, attributes = {}, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

/** Set a text only where it changed, so that selections and screen readers are left alone. */
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** The children of a list as the items say: known ones stay, with their focus and their pictures. */
export function keep(list, items, keyOf, make, update) {
  const wanted = new Set(items.map((item) => String(keyOf(item))));
  for (const child of [...list.children]) if (!wanted.has(child.dataset.key)) leave(child);
  const known = new Map([...list.children].map((child) => [child.dataset.key, child]));
  const focused = list.contains(document.activeElement) && document.activeElement;
  let place = list.firstElementChild;
  for (const item of items) {
    const key = String(keyOf(item));
    let child = known.get(key);
    if (!child) {
      child = make(item);
      child.dataset.key = key;
    }
    if (child === place) place = place.nextElementSibling;
    else list.insertBefore(child, place);
    update(child, item);
  }
  // Who is moved in the document loses the keyboard.
  if (focused && document.activeElement !== focused) focused.focus({ preventScroll: true });
}

/** Take a child out; whoever was at it with the keyboard goes on at the next one. */
function leave(child) {
  const hadFocus = child.contains(document.activeElement);
  const next = child.nextElementSibling ?? child.previousElementSibling;
  child.dispatchEvent(new Event("gone"));
  child.remove();
  if (hadFocus) (next?.querySelector("button") ?? next)?.focus();
}

/** Ask before what cannot be taken back; whether the answer was yes. */
export function confirmed(question, detail, yes, no) {
  return new Promise((resolve) => {
    const dialog = el(
      "dialog", { class: "ask", "aria-labelledby": "ask-title", "aria-describedby": "ask-detail" },
      el("h2", { id: "ask-title" }, question), el("p", { id: "ask-detail" }, detail),
      el("form", { method: "dialog", class: "buttons" },
        el("button", { value: "no", class: "quiet", autofocus: true }, no),
        el("button", { value: "yes", class: "danger" }, yes)),
    );
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(dialog.returnValue === "yes");
    });
    document.body.append(dialog);
    dialog.showModal();
  });
}
