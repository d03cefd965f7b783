const cards = Array.from(document.querySelectorAll("article"), card => ({ card, text: card.textContent.toLowerCase(), outcome: card.dataset.outcome }));
const words = document.querySelector("input"), outcome = document.querySelector("select"), shown = document.querySelector("output");
let waiting;
function filter() {
  const wanted = words.value.toLowerCase().split(/\s+/).filter(Boolean);
  let count = 0;
  for (const each of cards) {
    const fits = (!outcome.value || each.outcome === outcome.value) && wanted.every(word => each.text.includes(word));
    each.card.hidden = !fits;
    count += fits;
  }
  shown.value = `${count} / ${cards.length}`;
}
words.addEventListener("input", () => { clearTimeout(waiting); waiting = setTimeout(filter, 120); });
outcome.addEventListener("change", filter);
document.querySelector("form").addEventListener("submit", event => event.preventDefault());
filter();
