// What is pinned in all images, and in which order the images are. The address holds both, so that
// a link shows the same.

const pins = { ids: [], similar: null }; // of the chosen set; the card that others are compared with
const chips = document.getElementById("chips");
const adding = document.getElementById("add");
const ordering = document.getElementById("order");

const chosen = () => Number(chosenSet.value);

// Pins one map in all images, or releases it; several adds it to, or takes it from, those pinned.
function pin(id, several = false) {
  const has = pins.ids.includes(id);
  if (several) pins.ids = has ? pins.ids.filter((other) => other !== id) : [...pins.ids, id];
  else pins.ids = has && pins.ids.length === 1 ? [] : [id];
  showPins();
}

function unpinAll() {
  pins.ids = [];
  showPins();
}

function showPins() {
  if (!pins.ids.length && ordering.value === "pinned") ordering.value = "given";
  ordering.querySelector('[value="pinned"]').disabled = !pins.ids.length;
  const about = sets[chosen()];
  const focused = chips.contains(document.activeElement);
  chips.replaceChildren(...pins.ids.map((id) => chip(about, id)));
  if (focused) (chips.querySelector("button") ?? adding).focus();
  const having = cards.filter((card) => pins.ids.some((id) => card.has(id))).length;
  document.getElementById("having").textContent = pins.ids.length ? `in ${having} of ${cards.length} images` : "";
  for (const card of cards) card.draw();
  arrange();
  writeAddress();
}

function chip(about, id) {
  const one = document.createElement("span");
  one.className = "chip";
  const off = document.createElement("button");
  off.type = "button";
  off.textContent = "×";
  off.setAttribute("aria-label", `Unpin ${about.names[id]}`);
  off.title = "Unpin";
  off.addEventListener("click", () => pin(id, true));
  one.append(nameWithLink(about, id), off);
  return one;
}

// Its name; for an entry, a link to the page of its best images.
function nameWithLink(about, id) {
  if (about.unit !== "entries") return about.names[id];
  const link = document.createElement("a");
  link.href = `entries/${id}.html`;
  link.textContent = about.names[id];
  link.title = "The images nearest to this entry";
  return link;
}

// All maps of the chosen set that some image has, to pin one without searching for it.
function fillAdding() {
  const about = sets[chosen()];
  const images = new Map();
  for (const card of cards) for (const id of card.packed.kept) images.set(id, (images.get(id) ?? 0) + 1);
  const named = [...images].map(([id, count]) => [about.names[id], id, count]);
  named.sort((a, b) => a[0].localeCompare(b[0], undefined, { numeric: true }));
  const everywhere = named.every(([, , count]) => count === cards.length);
  adding.replaceChildren(
    new Option("choose", ""),
    ...named.map(([name, id, count]) => new Option(everywhere ? name : `${name} (${count})`, id)),
  );
}

// The cards in the chosen order.
function arrange() {
  const similar = ordering.value === "similar" && pins.similar;
  let places = cards.map((_, i) => i);
  let values = null;
  if (ordering.value === "pinned") places = rankedBy(cards.map((card) => card.packed), pins.ids);
  if (similar) {
    values = similarities(cards.map((card) => card.image.entries), cards.indexOf(similar));
    values[cards.indexOf(similar)] = Infinity; // it comes first, also if another is the same
    places = descending(cards.length, (a, b) => values[b] - values[a]);
  }
  cards.forEach((card, i) => card.showSimilarity(similar, values?.[i]));
  const main = document.getElementById("images");
  const wanted = places.map((i) => cards[i].figure);
  if (wanted.every((figure, i) => main.children[i] === figure)) return;
  const focused = document.activeElement;
  main.append(...wanted);
  if (main.contains(focused)) focused.focus({ preventScroll: true });
}

function findSimilar(card) {
  pins.similar = card;
  const option = ordering.querySelector('[value="similar"]');
  option.hidden = option.disabled = false;
  option.textContent = `similar to ${card.image.name}`;
  ordering.value = "similar";
  arrange();
  writeAddress();
}

function writeAddress() {
  const parts = new URLSearchParams();
  if (pins.ids.length) parts.set("pin", `${sets[chosen()].unit}:${pins.ids.join(",")}`);
  if (ordering.value === "pinned") parts.set("order", "pinned");
  if (ordering.value === "similar") parts.set("similar", pins.similar.image.name);
  const hash = parts.size ? `#${parts}`.replaceAll("%3A", ":").replaceAll("%2C", ",") : "";
  history.replaceState(null, "", hash || location.pathname + location.search);
  for (const link of document.querySelectorAll("#pages a")) link.hash = parts.has("pin") ? hash : "";
}

// #pin=UNIT:ID,ID&order=pinned&similar=NAME&image=NAME; what the page does not have is ignored.
function readAddress() {
  const parts = new URLSearchParams(location.hash.slice(1));
  const named = (key) => cards.find((card) => card.image.name === parts.get(key));
  const [unit, ids] = (parts.get("pin") ?? "").split(":");
  const which = sets.findIndex((set) => set.unit === unit);
  if (which >= 0 && ids) {
    if (which !== chosen()) {
      chosenSet.value = which;
      changeSet();
    }
    pins.ids = ids.split(",").map(Number).filter((id) => id in sets[which].names);
  }
  if (pins.ids.length && parts.get("order") === "pinned") ordering.value = "pinned";
  if (dictionary && named("similar")) findSimilar(named("similar"));
  showPins();
  named("image")?.figure.scrollIntoView();
}
