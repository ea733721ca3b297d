// One image: its picture, a line about it, and its maps; made when first in view.

class Card {
  constructor(image) {
    this.image = image;
    this.ofSets = setsOf(image);
    this.loaded = []; // of each set that was chosen: the maps, and the maps smoothed
    this.hovered = this.patch = null; // a rank, and a place in the grid
    this.figure = document.createElement("figure");
    this.figure.innerHTML =
      '<figcaption><span></span></figcaption><canvas class="picture" tabindex="0" role="img"></canvas>' +
      '<p class="description"></p><div class="strip" role="group"></div>';
    [this.caption, this.canvas, this.description, this.strip] = this.figure.children;
    [this.title] = this.caption.children;
    this.title.textContent = image.name;
    this.title.dir = "auto"; // names may be written from right to left
    if (dictionary) this.addSimilar();
    // small pictures are enlarged, so that lines stay thin
    const factor = Math.ceil(512 / Math.max(image.width, image.height));
    this.canvas.width = image.width * factor;
    this.canvas.height = image.height * factor;
    this.canvas.setAttribute("aria-label", `${image.name}; arrow keys move from patch to patch`);
    this.strip.setAttribute("aria-label", `Maps of ${image.name}`);
    this.listen();
  }

  async open() {
    if (this.opening) return;
    this.opening = true;
    try {
      this.photo = new Image();
      this.photo.src = `data:image/jpeg;base64,${this.image.jpeg}`;
      await this.photo.decode();
      const bytes = Uint8Array.from(atob(this.image.pca), (c) => c.charCodeAt(0));
      this.pca = patchCanvas(this.image.grid, (i) => bytes.subarray(3 * i, 3 * i + 3));
      this.opened = true;
      await this.refill();
    } catch (error) {
      this.description.className = "description failed";
      this.description.textContent = `This image cannot be shown (${error.message}). The page needs a browser of 2023 or later.`;
    }
  }

  addSimilar() {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "similar";
    button.textContent = "similar images";
    button.setAttribute("aria-label", `Images similar to ${this.image.name}`);
    button.addEventListener("click", () => {
      findSimilar(this);
      this.figure.scrollIntoView({ block: "center" });
    });
    this.caption.append(button);
  }

  // Beside its name, how similar it is to another card's image.
  showSimilarity(to, value) {
    const shown = to && to !== this ? ` (${value.toFixed(2)})` : "";
    this.title.textContent = this.image.name + shown;
  }

  // Its part of the chosen set of maps: known before the maps are unpacked.
  get packed() {
    return this.ofSets[chosen()];
  }

  has(id) {
    return this.packed.kept.includes(id);
  }

  // Another set of maps: they are unpacked, and its buttons are made again.
  async refill() {
    if (!this.opened) return;
    this.ready = false;
    const which = chosen();
    const packed = this.ofSets[which];
    this.loaded[which] ??= this.load(packed);
    const set = await this.loaded[which];
    if (which !== chosen()) return; // meanwhile another was chosen
    this.about = sets[which];
    this.set = set;
    this.hovered = null;
    this.strip.replaceChildren();
    this.strip.classList.toggle("wide", Boolean(this.about.veiled));
    this.ready = true;
    this.update();
  }

  async load(packed) {
    const maps = await mapsOf(this.image, packed);
    const smoothed = smoothAll(maps, this.image.grid, data.sigma);
    return { maps, smoothed, places: colourPlaces(packed.kept, data.palette.length) };
  }

  name(rank) {
    return this.about.names[this.packed.kept[rank]];
  }

  colour(rank) {
    return data.palette[this.set.places[rank]];
  }

  addButtons(k) {
    for (let rank = this.strip.children.length; rank < k; rank++) {
      const map = this.set.maps[rank];
      const button = document.createElement("button");
      button.type = "button";
      button.dataset.rank = rank;
      button.tabIndex = rank ? -1 : 0;
      button.title = `${this.name(rank)}, rank ${rank + 1}`;
      button.setAttribute("aria-label", button.title);
      button.style.setProperty("--colour", rgb(this.colour(rank)));
      const label = document.createElement("span");
      label.textContent = this.about.labels[this.packed.kept[rank]];
      const small = patchCanvas(this.image.grid, (i) => heatColour(map[i], this.about.scale));
      button.append(small, label);
      this.strip.append(button);
    }
  }

  // Another K, or another set.
  update() {
    if (!this.ready) return;
    this.k = Math.min(Number(slider.value), this.set.maps.length);
    this.hovered = null;
    this.regions = this.k ? regionsOf(this.set.smoothed, this.k) : null; // there may be no part
    this.lead = leadOf(this.set.smoothed, this.k);
    this.areas = new Array(this.k).fill(0);
    for (const rank of this.regions ?? []) this.areas[rank]++;
    this.addButtons(this.k);
    for (const button of this.strip.children) button.hidden = button.dataset.rank >= this.k;
    if (this.strip.querySelector('[tabindex="0"]')?.hidden) this.rove(0);
    this.draw();
  }

  // The maps that are shown large, merged, the regions that stand out, and whether by a map.
  get shown() {
    if (this.hovered !== null) return { ranks: [this.hovered], map: true };
    if (this.patch !== null) return { ranks: [this.regions[this.patch]], map: false };
    const ranks = pins.ids.map((id) => this.packed.kept.indexOf(id)).filter((rank) => rank >= 0);
    return ranks.length ? { ranks, map: true } : null;
  }

  draw() {
    this.figure.classList.toggle("without", pins.ids.length > 0 && !pins.ids.some((id) => this.has(id)));
    if (!this.ready) return;
    const { grid } = this.image;
    const { width, height } = this.canvas;
    const context = this.canvas.getContext("2d");
    const shown = this.shown;
    const alpha = document.getElementById("tint").value / 100;
    const lay = (patches, opacity) => {
      context.globalAlpha = opacity;
      context.imageSmoothingEnabled = false;
      context.drawImage(patches, 0, 0, width, height);
      context.globalAlpha = 1;
    };
    context.drawImage(this.photo, 0, 0, width, height);
    if (view() !== "image" || shown?.map) {
      context.globalCompositeOperation = "saturation";
      context.fillStyle = "#888";
      context.fillRect(0, 0, width, height);
      context.globalCompositeOperation = "source-over";
    }
    if (shown?.map) {
      const map = mergeMaps(shown.ranks.map((rank) => this.set.maps[rank]));
      const { scale } = this.about;
      // where a part is not, the picture stays visible
      const opacity = (value) => (this.about.veiled ? 255 * (0.2 + 0.8 * placeOn(scale, value)) : 255);
      const colour = (i) => [...heatColour(map[i], scale), opacity(map[i])];
      lay(patchCanvas(grid, colour), Math.max(alpha, 0.6));
    } else if (view() === "regions" && this.k) {
      lay(patchCanvas(grid, (i) => this.colour(this.regions[i])), alpha);
      outline(this.canvas, grid, this.regions, () => true, 1);
    } else if (view() === "pca") {
      lay(this.pca, Math.max(alpha, 0.6));
    }
    if (shown && !shown.map) {
      lay(patchCanvas(grid, (i) => [0, 0, 0, this.regions[i] === shown.ranks[0] ? 0 : 150]), 1);
    }
    if (shown && !(shown.map && this.about.veiled)) {
      const its = (a, b) => shown.ranks.includes(a) || shown.ranks.includes(b);
      outline(this.canvas, grid, this.regions, its, 3);
    }
    if (this.patch !== null) frame(this.canvas, grid, this.patch);
    this.tell(shown);
    for (const button of this.strip.children) {
      const rank = Number(button.dataset.rank);
      button.classList.toggle("active", Boolean(shown?.ranks.includes(rank)));
      button.setAttribute("aria-pressed", pins.ids.includes(this.packed.kept[rank]));
    }
  }

  tell(shown) {
    if (!shown) {
      this.describeAll();
      return;
    }
    const [rank] = shown.ranks;
    const { low: dark, high: bright, unit } = this.about.scale;
    const scale = document.createElement("span");
    scale.className = "scale";
    scale.style.background = heatGradient;
    const parts = shown.ranks.flatMap((one) => [" + ", this.coloured(one)]).slice(1);
    if (shown.ranks.length === 1) parts.push(this.details(rank));
    parts.push(` Colours ${dark} `, scale, ` ${bright} ${unit}.`);
    if (this.patch !== null) {
      const best = strongestAt(this.set.maps, this.patch, 3);
      const strongest = best.map((one) => `${this.name(one)} ${number(this.set.maps[one][this.patch])}`);
      parts.push(` Strongest here: ${strongest.join("; ")}.`);
    }
    this.description.replaceChildren(...parts);
  }

  describeAll() {
    if (!this.set.maps.length) {
      this.description.textContent = `No ${this.about.unit} are found here.`;
      return;
    }
    const count = this.areas.filter(Boolean).length;
    const lead = this.lead === null ? "" : `; where one wins, it is ahead by ${number(this.lead)} (median)`;
    const without = this.figure.classList.contains("without") ? "What is pinned is not found here. " : "";
    this.description.textContent = `${without}${counted(count, "regions")} from ${counted(this.k, "maps")}${lead}. `;
    if (view() === "pca") this.description.textContent += `Principal components: ${data.pca}. `;
    this.description.textContent += "Point at the picture or at a map; click to pin it in all images.";
  }

  // Its name, underlined in its colour.
  coloured(rank) {
    const name = document.createElement("b");
    name.append(nameWithLink(this.about, this.packed.kept[rank]));
    name.style.setProperty("--colour", rgb(this.colour(rank)));
    return name;
  }

  // What is known of one map, in words.
  details(rank) {
    const { counts, distances, kept } = this.packed;
    const place = `, rank ${rank + 1} of ${this.set.maps.length}`;
    if (counts) {
      const about = this.about.about[kept[rank]];
      return `${about ? ` (${about})` : ""}${place}: ${counted(counts[rank], dictionary.units)}, distance ${number(distances[rank])}.`;
    }
    const map = this.set.maps[rank];
    const area = rank < this.k ? `Region: ${percent(this.areas[rank] / this.regions.length)} of the image.` : `Not among the best ${this.k}.`;
    let [low, high] = [Infinity, -Infinity];
    for (const value of map) [low, high] = [Math.min(low, value), Math.max(high, value)];
    const here = this.patch === null ? "" : `, here ${number(map[this.patch])}`;
    return `${place}. ${area} Values ${number(low)} to ${number(high)}${here}.`;
  }

  patchAt(event) {
    if (!this.k) return null;
    const box = this.canvas.getBoundingClientRect();
    const [h, w] = this.image.grid;
    // object-fit: contain leaves margins where the height is bounded
    const scale = Math.min(box.width / this.image.width, box.height / this.image.height);
    const x = (event.clientX - box.left - (box.width - this.image.width * scale) / 2) / scale;
    const y = (event.clientY - box.top - (box.height - this.image.height * scale) / 2) / scale;
    const column = Math.floor((x / this.image.width) * w);
    const row = Math.floor((y / this.image.height) * h);
    return column >= 0 && column < w && row >= 0 && row < h ? row * w + column : null;
  }

  pointAt(patch) {
    this.patch = patch;
    this.draw();
    if (patch === null) return;
    const button = this.strip.children[this.regions[patch]];
    const [top, bottom] = [this.strip.scrollTop, this.strip.scrollTop + this.strip.clientHeight];
    if (button.offsetTop < top || button.offsetTop + button.offsetHeight > bottom)
      this.strip.scrollTop = button.offsetTop - 3;
  }

  hover(rank) {
    this.hovered = rank;
    this.draw();
  }

  pin(rank, event) {
    this.hovered = null;
    if (rank !== undefined) pin(this.packed.kept[rank], event.shiftKey);
  }

  // One button at a time can be reached by Tab; the arrow keys go on from there.
  rove(rank) {
    for (const button of this.strip.children)
      button.tabIndex = Number(button.dataset.rank) === rank ? 0 : -1;
  }

  listen() {
    const rankOf = (event) => {
      const button = event.target.closest("button");
      return button ? Number(button.dataset.rank) : null;
    };
    const ready = (handler) => (event) => this.ready && handler(event);
    const on = (element, kind, handler) => element.addEventListener(kind, ready(handler));
    on(this.canvas, "pointermove", (event) => {
      const patch = this.patchAt(event);
      if (patch !== this.patch) this.pointAt(patch);
    });
    on(this.canvas, "pointerleave", (event) => event.pointerType === "mouse" && this.pointAt(null));
    on(this.canvas, "click", (event) => {
      const patch = this.patchAt(event);
      if (patch === null) return;
      const rank = this.regions[patch];
      this.pointAt(null);
      this.pin(rank, event);
    });
    on(this.canvas, "keydown", (event) => this.keyOnPicture(event));
    on(this.canvas, "blur", () => this.pointAt(null));
    on(this.strip, "pointerover", (event) => {
      if (event.pointerType === "mouse") this.hover(rankOf(event));
    });
    on(this.strip, "pointerleave", () => this.hover(null));
    on(this.strip, "focusin", (event) => {
      if (event.target.matches(":focus-visible")) this.hover(rankOf(event));
      this.rove(rankOf(event));
    });
    on(this.strip, "focusout", () => this.hover(null));
    on(this.strip, "click", (event) => {
      this.patch = null;
      if (rankOf(event) !== null) this.pin(rankOf(event), event);
    });
    on(this.strip, "keydown", (event) => this.keyOnMaps(event, rankOf(event)));
    // Only the card in use speaks: the slider changes all at once.
    on(this.figure, "focusin", () => this.description.setAttribute("aria-live", "polite"));
    on(this.figure, "focusout", () => this.description.removeAttribute("aria-live"));
    on(this.figure, "keydown", (event) => {
      if (event.key !== "Escape") return;
      this.hovered = this.patch = null;
      unpinAll();
    });
  }

  keyOnPicture(event) {
    const [h, w] = this.image.grid;
    const steps = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    if (event.key in steps && this.k) {
      const at = this.patch ?? Math.floor(h / 2) * w + Math.floor(w / 2);
      const [x, y] = steps[event.key];
      const column = Math.min(Math.max((at % w) + x, 0), w - 1);
      const row = Math.min(Math.max(Math.floor(at / w) + y, 0), h - 1);
      this.pointAt(row * w + column);
    } else if ((event.key === "Enter" || event.key === " ") && this.patch !== null) {
      this.pin(this.regions[this.patch], event);
    } else return;
    event.preventDefault();
  }

  keyOnMaps(event, rank) {
    const last = this.k - 1;
    const to = { ArrowLeft: rank - 1, ArrowUp: rank - 1, ArrowRight: rank + 1, ArrowDown: rank + 1, Home: 0, End: last }[event.key];
    if (to === undefined) return;
    this.strip.children[Math.min(Math.max(to, 0), last)].focus();
    event.preventDefault();
  }
}
