// The arithmetic of the page: maps as page.py packs them, and regions as parts/regions.py makes
// them. Plain functions of arrays, without the document, so that a test can run them.

async function inflate(text) {
  const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

// {low, high, levels, root, data} -> one Float32Array [h * w] a map, in order of rank.
async function unpack(packed, [h, w]) {
  const numbers = await inflate(packed.data);
  return packed.low.map((low, m) => {
    const at = numbers.subarray(m * h * w, (m + 1) * h * w);
    for (let i = 0; i < h * w; i++) {
      const left = i % w ? at[i - 1] : -1;
      const above = i >= w ? at[i - w] : -1;
      if (left >= 0 && above >= 0) at[i] += (left + above) >> 1;
      else if (i) at[i] += Math.max(left, above);
    }
    const [from, to] = packed.root ? [Math.sqrt(low), Math.sqrt(packed.high[m])] : [low, packed.high[m]];
    const values = Float32Array.from(at, (n) => from + (n / packed.levels) * (to - from));
    return packed.root ? values.map((value) => value * value) : values;
  });
}

// Row i: the weights of the inputs to output i. Cut at 4 sigma, reflected at the border.
function gaussianMatrix(length, sigma) {
  const radius = Math.floor(4 * sigma + 0.5);
  const weights = [];
  for (let o = -radius; o <= radius; o++) weights.push(Math.exp(-0.5 * (o / sigma) ** 2));
  const sum = weights.reduce((a, b) => a + b);
  return Array.from({ length }, (_, i) => {
    const row = new Float64Array(length);
    weights.forEach((weight, place) => {
      const period = 2 * length;
      const source = (((i + place - radius) % period) + period) % period;
      row[Math.min(source, period - 1 - source)] += weight / sum;
    });
    return row;
  });
}

function smooth(map, [h, w], down, across) {
  const between = new Float64Array(h * w);
  const out = new Float32Array(h * w);
  for (let x = 0; x < w; x++)
    for (let s = 0; s < w; s++) {
      const weight = across[x][s];
      if (weight) for (let y = 0; y < h; y++) between[y * w + x] += weight * map[y * w + s];
    }
  for (let y = 0; y < h; y++)
    for (let s = 0; s < h; s++) {
      const weight = down[y][s];
      if (weight) for (let x = 0; x < w; x++) out[y * w + x] += weight * between[s * w + x];
    }
  return out;
}

function smoothAll(maps, grid, sigma) {
  const [down, across] = grid.map((length) => gaussianMatrix(length, sigma));
  return maps.map((map) => smooth(map, grid, down, across));
}

// The rank whose smoothed map is largest at each patch, of the K best; ties to the better rank.
function regionsOf(smoothed, k) {
  const labels = new Uint16Array(smoothed[0].length);
  for (let i = 0; i < labels.length; i++)
    for (let rank = 1; rank < k; rank++)
      if (smoothed[rank][i] > smoothed[labels[i]][i]) labels[i] = rank;
  return labels;
}

// By how much the strongest of the K best smoothed maps is ahead of the second: the median over
// patches. null for a single map.
function leadOf(smoothed, k) {
  if (k < 2) return null;
  const leads = smoothed[0].map((_, i) => {
    let [first, second] = [-Infinity, -Infinity];
    for (let rank = 0; rank < k; rank++) {
      const value = smoothed[rank][i];
      if (value > first) [first, second] = [value, first];
      else if (value > second) second = value;
    }
    return first - second;
  }).sort();
  const half = leads.length >> 1;
  return leads.length % 2 ? leads[half] : (leads[half - 1] + leads[half]) / 2;
}

// Where a value is on a scale, 0 (dark) to 1 (bright): sheets.py has the same.
function placeOn({ low, high, log }, value) {
  const place = log ? Math.log(Math.max(value, low) / low) / Math.log(high / low) : (value - low) / (high - low);
  return Math.min(Math.max(place, 0), 1);
}

// A place in the palette for each rank: that of its register where it is free, else the next free.
function colourPlaces(kept, length) {
  const taken = new Set();
  return kept.map((register) => {
    let place = register % length;
    if (taken.size < length) while (taken.has(place)) place = (place + 1) % length;
    taken.add(place);
    return place;
  });
}
