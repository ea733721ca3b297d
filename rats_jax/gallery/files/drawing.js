// How maps, regions and numbers are drawn: helpers of the cards.

const data = JSON.parse(document.getElementById("data").textContent);
const rgb = (colour, alpha = 1) => `rgb(${colour.join(" ")} / ${alpha})`;
const percent = (part) => `${(100 * part).toFixed(1)} %`;
const counted = (count, units) => `${count} ${count === 1 ? units.slice(0, -1) : units}`;
const heatGradient = `linear-gradient(to right, ${data.heat.map((c) => rgb(c)).join(", ")})`;

function heatColour(value, scale) {
  const place = placeOn(scale, value) * (data.heat.length - 1);
  const low = Math.min(Math.floor(place), data.heat.length - 2);
  return data.heat[low].map((c, i) => c + (place - low) * (data.heat[low + 1][i] - c));
}

function number(value) {
  const size = Math.abs(value);
  return size && size < 0.01 ? value.toExponential(1) : value.toFixed(size < 0.1 ? 3 : 2);
}

// A canvas of one pixel a patch; colour(i) gives red, green, blue and maybe alpha (0 to 255).
function patchCanvas([h, w], colour, canvas = document.createElement("canvas")) {
  canvas.width = w;
  canvas.height = h;
  const context = canvas.getContext("2d");
  const pixels = context.createImageData(w, h);
  for (let i = 0; i < h * w; i++) {
    const [r, g, b, a = 255] = colour(i);
    pixels.data.set([r, g, b, a], 4 * i);
  }
  context.putImageData(pixels, 0, 0);
  return canvas;
}

// White lines between patches of different regions, dark beneath, where wanted(one, other).
function outline(canvas, [h, w], regions, wanted, thickness) {
  const [dx, dy] = [canvas.width / w, canvas.height / h];
  const path = new Path2D();
  const line = (x, y, toX, toY) => {
    path.moveTo(x * dx, y * dy);
    path.lineTo(toX * dx, toY * dy);
  };
  for (let i = 0; i < h * w; i++) {
    const [x, y] = [i % w, Math.floor(i / w)];
    const at = regions[i];
    const [right, below] = [regions[i + 1], regions[i + w]];
    if (x + 1 < w && right !== at && wanted(at, right)) line(x + 1, y, x + 1, y + 1);
    if (y + 1 < h && below !== at && wanted(at, below)) line(x, y + 1, x + 1, y + 1);
  }
  if (thickness > 1) stroke(canvas, path, "#000", thickness + 2);
  stroke(canvas, path, "#fff", thickness);
}

// Around one patch.
function frame(canvas, [h, w], patch) {
  const [dx, dy] = [canvas.width / w, canvas.height / h];
  const path = new Path2D();
  path.rect((patch % w) * dx, Math.floor(patch / w) * dy, dx, dy);
  stroke(canvas, path, "#000", 5);
  stroke(canvas, path, "#ffe000", 2.5);
}

function stroke(canvas, path, colour, width) {
  const context = canvas.getContext("2d");
  context.lineCap = "square";
  context.strokeStyle = colour;
  context.lineWidth = width;
  context.stroke(path);
}
