// The bar, and a card for each image.

const bar = document.getElementById("bar");
const slider = document.getElementById("k");
const chosenSet = document.getElementById("set");
const cards = [];

const view = () => bar.elements.view.value;

function bound() {
  const most = Math.max(...cards.map((card) => card.packed.kept.length));
  slider.max = most;
  slider.value = Math.min(slider.value, most);
  document.getElementById("count").textContent = `${slider.value} of ${most}`;
}

// Another set of maps: what was pinned is of the set before.
function changeSet() {
  pins.ids = [];
  for (const card of cards) card.refill();
  bound();
  fillAdding();
}

const note = data.note ? `. ${data.note}` : "";
document.getElementById("origin").textContent = `${counted(data.images.length, "images")}, seen by ${data.origin}${note}`;
for (const [which, file] of Object.entries(data.neighbours)) {
  if (!file) continue;
  const link = document.createElement("a");
  link.href = file;
  link.textContent = `${which} page`;
  document.getElementById("pages").append(link, " ");
}
if (dictionary) {
  const link = document.createElement("a");
  link.href = "entries.html";
  link.textContent = "all entries";
  document.getElementById("dictionary").append(`Dictionary: ${dictionary.about}; `, link);
}
sets.forEach((set, i) => chosenSet.add(new Option(set.title, i)));
document.getElementById("which").hidden = sets.length < 2;

const inView = new IntersectionObserver(
  (entries) => {
    for (const entry of entries) if (entry.isIntersecting) entry.target.card.open();
  },
  { rootMargin: "300px" },
);
for (const image of data.images) {
  const card = new Card(image);
  card.figure.card = card;
  cards.push(card);
  document.getElementById("images").append(card.figure);
  inView.observe(card.figure);
}
slider.max = 65535;
slider.value = data.topK;
bound();
fillAdding();
readAddress();
window.addEventListener("hashchange", readAddress);

adding.addEventListener("change", (event) => {
  event.stopPropagation();
  const id = adding.value;
  adding.value = "";
  if (id !== "" && !pins.ids.includes(Number(id))) pin(Number(id), true);
});
ordering.addEventListener("change", () => {
  arrange();
  writeAddress();
});
bar.addEventListener("submit", (event) => event.preventDefault());
bar.addEventListener("input", (event) => {
  if (event.target === adding || event.target === ordering) return;
  if (event.target === chosenSet) {
    changeSet();
    showPins();
    return;
  }
  bound();
  for (const card of cards) {
    if (event.target === slider) card.update();
    else card.draw();
  }
});
