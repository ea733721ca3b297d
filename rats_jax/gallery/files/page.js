// The bar, and a card for each image.

const bar = document.getElementById("bar");
const slider = document.getElementById("k");
const chosenSet = document.getElementById("set");
const cards = [];

const view = () => bar.elements.view.value;

function bound() {
  const most = data.images[0].sets[chosenSet.value].low.length;
  slider.max = most;
  slider.value = Math.min(slider.value, most);
  document.getElementById("count").textContent = `${slider.value} of ${most}`;
}

const note = data.note ? `. ${data.note}` : "";
document.getElementById("origin").textContent = `${data.images.length} image${data.images.length > 1 ? "s" : ""}, seen by ${data.origin}${note}`;
for (const [which, file] of Object.entries(data.neighbours)) {
  if (!file) continue;
  const link = document.createElement("a");
  link.href = file;
  link.textContent = `${which} page`;
  document.getElementById("pages").append(link, " ");
}
data.sets.forEach((set, i) => chosenSet.add(new Option(set.title, i)));
document.getElementById("which").hidden = data.sets.length < 2;
slider.max = 65535;
slider.value = data.topK;
bound();

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

bar.addEventListener("submit", (event) => event.preventDefault());
bar.addEventListener("input", (event) => {
  bound();
  for (const card of cards) {
    if (event.target === chosenSet) card.refill();
    else if (event.target === slider) card.update();
    else card.draw();
  }
});
