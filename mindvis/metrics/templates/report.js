"use strict";
// Unfolds everything for printing. Lays out, sorts and filters the cards; the choices live in the
// address, so that a view can be kept and sent.
(() => {
  const folded = Array.from(document.querySelectorAll("details"));
  let open = [];
  window.addEventListener("beforeprint", () => {
    open = folded.map((part) => part.open);
    for (const part of folded) part.open = true;
    if (gallery) cards.filter((card) => !card.hidden).forEach(show);
  });
  window.addEventListener("afterprint", () => folded.forEach((part, i) => { part.open = open[i]; }));

  const form = document.getElementById("toolbar");
  const gallery = document.getElementById("gallery");
  if (!form || !gallery) return;
  const read = (id) => JSON.parse(document.getElementById(id).textContent);
  const blank = document.getElementById("blank").content.firstElementChild;
  const cards = read("entries").map((entry) => {
    const card = document.createElement("article");
    card.className = "card";
    card.entry = entry;
    return card;
  });
  gallery.append(...cards);

  // The words of a card; its pictures are given their source by `show`.
  function fill(card) {
    if (card.childElementCount) return;
    const entry = card.entry;
    const copy = blank.cloneNode(true);
    const find = (selector) => copy.querySelector(selector);
    const name = entry.label || entry.stimulus;
    find("h3").textContent = name;
    find("header div > p").firstChild.data = entry.subject + " · " + entry.stimulus + " ";
    if (entry.seen !== "unseen") find(".badge").remove();
    find(".score").textContent = Object.values(entry.shown)[0];
    find(".truth img").alt = "seen: " + name;
    const first = find(".tile:not(.truth)");
    entry.draws.forEach(([judged, hit], draw) => {
      const tile = first.cloneNode(true);
      const image = tile.firstElementChild;
      image.alt = "decoded, draw " + draw + (judged ? "; the judge says " + judged : "");
      image.title = "draw " + draw + (judged ? ": judged " + judged : "");
      if (hit !== null) tile.classList.add(hit ? "hit" : "miss");
      first.before(tile);
    });
    first.remove();
    for (const line of copy.querySelectorAll("dd")) line.textContent = entry.shown[line.dataset.name];
    card.append(...copy.children);
  }

  let images = null;
  function show(card) {
    fill(card);
    images ??= read("images");
    card.querySelectorAll("img:not([src])").forEach((image, i) => { image.src = images[card.entry.first + i]; });
  }

  const seen = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (entry.isIntersecting) { show(entry.target); seen.unobserve(entry.target); }
    }
  }, { rootMargin: "800px" });
  for (const card of cards) seen.observe(card);
  // once the page stands, the words of the other cards, for those who search in it or hear it
  const rest = cards.slice();
  const idle = window.requestIdleCallback ?? ((work) => setTimeout(work, 50));
  const more = () => { rest.splice(0, 40).forEach(fill); if (rest.length) idle(more); };
  window.addEventListener("load", () => idle(more));

  const names = ["class", "subject", "seen", "sort", "order", "min", "max", "size"];
  const fields = Object.fromEntries(
    names.map((name) => [name, document.getElementById("f-" + name)]).filter(([, field]) => field)
  );
  const collator = new Intl.Collator(undefined, { numeric: true });

  const value = (name) => (fields[name] ? fields[name].value : "");
  const score = (card, name) => card.entry.scores[name] ?? NaN;

  function fits(card) {
    const wanted = value("class").trim().toLowerCase();
    const { label, category, subject, seen } = card.entry;
    if (wanted && ![label, category].some((text) => text.toLowerCase().includes(wanted))) return false;
    if (value("subject") && subject !== value("subject")) return false;
    if (value("seen") && seen !== value("seen")) return false;
    const own = score(card, value("sort"));
    if (value("min") !== "" && !(own >= Number(value("min")))) return false;
    return value("max") === "" || own <= Number(value("max"));
  }

  function compare(a, b) {
    const by = (key) => collator.compare(a.entry[key], b.entry[key]);
    const last = by("stimulus") || by("subject");
    if (value("order") === "stimulus") return last;
    if (value("order") === "class") return by("label") || last;
    const x = score(a, value("sort"));
    const y = score(b, value("sort"));
    if (Number.isNaN(x) || Number.isNaN(y)) return Number.isNaN(x) - Number.isNaN(y) || last;
    const lower = fields.sort.selectedOptions[0].hasAttribute("data-lower");
    return (lower === (value("order") === "best") ? x - y : y - x) || last;
  }

  function update() {
    const shown = cards.filter(fits);
    for (const card of cards) card.hidden = true;
    for (const card of shown) card.hidden = false;
    gallery.append(...cards.sort(compare));
    document.getElementById("count").textContent = shown.length + " of " + cards.length;
    document.getElementById("empty").hidden = shown.length > 0;
    document.body.classList.toggle("large", value("size") === "large");
  }

  function remember() {
    const chosen = new URLSearchParams();
    for (const name of Object.keys(fields)) {
      const first = fields[name].querySelector("option[selected]") || fields[name].options?.[0];
      if (fields[name].value !== (first ? first.value : "")) chosen.set(name, fields[name].value);
    }
    const address = chosen.size ? "#view?" + chosen : location.pathname + location.search;
    history.replaceState(null, "", address);
  }

  function recall() {
    if (!location.hash.startsWith("#view?")) return false;
    for (const [name, text] of new URLSearchParams(location.hash.slice(6))) {
      if (fields[name]) fields[name].value = text;
    }
    form.scrollIntoView({ behavior: "instant" });
    return true;
  }

  form.addEventListener("input", () => { update(); remember(); });
  form.addEventListener("reset", () => setTimeout(() => { update(); remember(); }));
  form.addEventListener("submit", (event) => event.preventDefault());
  window.addEventListener("hashchange", () => { recall(); update(); });
  if (recall()) update();  // without a kept view the cards are in their first order already
})();
