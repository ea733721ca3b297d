// The arithmetic of a dictionary's entries, and of rankings of images. Plain functions, without the
// document, so that a test can run them.

// The maximum of maps, patch by patch: part_maps.py has the same.
function mergeMaps(maps) {
  const merged = Float32Array.from(maps[0]);
  for (const map of maps.slice(1))
    for (let i = 0; i < merged.length; i++) if (map[i] > merged[i]) merged[i] = map[i];
  return merged;
}

// The parts in an image from its entries {kept, counts, distances}; partOf(entry): a part, or -1 for
// none. members: the places of a part's entries. Ordered as in part_maps.py.
function partsOf(entries, partOf) {
  const found = new Map();
  entries.kept.forEach((entry, place) => {
    const part = partOf(entry);
    if (part < 0) return;
    if (!found.has(part)) found.set(part, { part, count: 0, distance: Infinity, members: [] });
    const its = found.get(part);
    its.count += entries.counts[place];
    its.distance = Math.min(its.distance, entries.distances[place]);
    its.members.push(place);
  });
  const parts = [...found.values()].sort((a, b) => b.count - a.count || a.distance - b.distance);
  return {
    kept: parts.map((one) => one.part),
    counts: parts.map((one) => one.count),
    distances: parts.map((one) => one.distance),
    members: parts.map((one) => one.members),
  };
}

// TF-IDF cosine of the image at a place with every image; images: [{kept, counts}] of entries.
function similarities(images, place) {
  const having = new Map();
  for (const { kept } of images) for (const entry of kept) having.set(entry, (having.get(entry) ?? 0) + 1);
  const vectors = images.map(({ kept, counts }) => {
    const values = kept.map((entry, i) => counts[i] * Math.log(images.length / having.get(entry)));
    const length = Math.hypot(...values) || 1;
    return new Map(kept.map((entry, i) => [entry, values[i] / length]));
  });
  const own = vectors[place];
  return vectors.map((other) => {
    let sum = 0;
    for (const [entry, value] of own) sum += value * (other.get(entry) ?? 0);
    return sum;
  });
}

// The places of images, best first, for wanted ids. sets: the same set of maps of each image. Images
// with more of the ids come first; then those with smaller distances, or, without distances, with
// larger maxima. Equal images stay in their order.
function rankedBy(sets, ids) {
  const keys = sets.map((set) => {
    const places = ids.map((id) => set.kept.indexOf(id)).filter((place) => place >= 0);
    const worth = (place) => (set.distances ? -set.distances[place] : set.high[place]);
    return { count: places.length, worth: places.reduce((sum, place) => sum + worth(place), 0) };
  });
  return descending(keys.length, (a, b) => keys[b].count - keys[a].count || keys[b].worth - keys[a].worth);
}

function descending(length, compare) {
  return Array.from({ length }, (_, i) => i).sort(compare);
}

// The places of the maps with the largest values at a patch.
function strongestAt(maps, patch, count) {
  return descending(maps.length, (a, b) => maps[b][patch] - maps[a][patch]).slice(0, count);
}
