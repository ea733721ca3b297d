// The sets of maps to choose from: parts and entries of the dictionary, if there is one, then those
// that every model has. A set is the same for all images; `setsOf` gives an image's part of each.

const { dictionary } = data;
const sets = [...(dictionary ? dictionarySets() : []), ...data.sets];

function dictionarySets() {
  const { scale, names, entries: of, parts } = dictionary;
  const entries = {
    title: "entries of the dictionary",
    unit: "entries",
    veiled: true, // drawn more clearly where the map is stronger
    scale,
    labels: {},
    names: {},
    about: {},
  };
  for (const [entry, { part, purity, count }] of Object.entries(of)) {
    const name = part < 0 ? "" : `, ${parts[part]}`;
    entries.names[entry] = `entry ${entry}${name}`;
    entries.labels[entry] = `${entry}${name && ` ${parts[part]}`}`;
    entries.about[entry] = `${purity === null ? "" : `purity ${purity.toFixed(2)}, `}${count} in training`;
  }
  if (!names) return [entries];
  const title = "parts, by the dictionary's names";
  return [{ title, unit: "parts", veiled: true, scale, labels: parts, names: parts, about: {} }, entries];
}

function setsOf(image) {
  if (!dictionary) return image.sets;
  const { entries } = image;
  if (!dictionary.names) return [entries, ...image.sets];
  const parts = partsOf(entries, (entry) => dictionary.entries[entry].part);
  return [parts, entries, ...image.sets];
}

// The maps of an image's part of a set.
async function mapsOf(image, packed) {
  if (!packed.members) return unpack(packed, image.grid);
  const maps = await unpack(image.entries, image.grid);
  return packed.members.map((places) => mergeMaps(places.map((place) => maps[place])));
}
