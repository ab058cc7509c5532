"use strict";
// The result that the page embeds, and how names and numbers of it are shown.

const data = (() => {
  const embedded = JSON.parse(document.getElementById("data").textContent);

  // Objects without a prototype: a model may be called "__proto__".
  const unescaped = (key) => (key.startsWith("$") ? key.slice(1) : key);

  // The decoder of encoding.py; a column that occurs again is decoded once.
  const columns = new Map();
  function decoded(value) {
    if (Array.isArray(value)) return value.map(decoded);
    if (value === null || typeof value !== "object") return value;
    if (Object.hasOwn(value, "$again")) {
      const place = value.$again;
      if (!columns.has(place)) {
        columns.set(place, decoded(embedded.columns[place]));
      }
      return columns.get(place);
    }
    if (Object.hasOwn(value, "$words")) {
      return value.$words.map((some) => some.map((w) => embedded.words[w]));
    }
    if (Object.hasOwn(value, "$bits")) {
      return value.$bits.map((bits) => {
        const found = [];
        // Four words a digit, the first words last.
        for (let i = 0; i < bits.length; i += 1) {
          const digit = parseInt(bits[bits.length - 1 - i], 16);
          for (let b = 0; b < 4; b += 1) {
            if ((digit >> b) & 1) found.push(embedded.words[4 * i + b]);
          }
        }
        return found;
      });
    }
    if (Object.hasOwn(value, "$columns")) {
      const table = Object.entries(value.$columns).map(([key, column]) => [
        unescaped(key),
        decoded(column),
      ]);
      return table[0][1].map((_, i) => {
        const row = Object.create(null);
        for (const [key, column] of table) row[key] = column[i];
        return row;
      });
    }
    const found = Object.create(null);
    for (const [key, item] of Object.entries(value)) {
      found[unescaped(key)] = decoded(item);
    }
    return found;
  }

  const content = decoded(embedded.content);

  // The value of a field by its JSON Pointer (RFC 6901).
  function at(pointer) {
    return pointer
      .split("/")
      .slice(1)
      .reduce((value, word) => {
        if (value === null || value === undefined) return undefined;
        return value[word.replaceAll("~1", "/").replaceAll("~0", "~")];
      }, content);
  }

  // One key of each object of a list; "a/b" is the key b of the object at a.
  const column = ([rows, key]) =>
    (at(rows) ?? []).map((row) =>
      key.split("/").reduce((value, word) => value?.[word], row),
    );

  return { content, at, column };
})();

const shown = (() => {
  const HIDDEN = /(?! )[\p{C}\p{Z}]/gu;

  // Characters that cannot be seen, or that turn the direction of writing, are
  // written as escapes.
  function printable(text) {
    return String(text).replace(HIDDEN, (mark) => {
      const code = mark.codePointAt(0);
      const digits = code.toString(16);
      if (code < 0x100) return "\\x" + digits.padStart(2, "0");
      if (code < 0x10000) return "\\u" + digits.padStart(4, "0");
      return "\\U" + digits.padStart(8, "0");
    });
  }

  function name(text, most = 32) {
    const marks = [...printable(text)];
    if (marks.length <= most) return marks.join("");
    const last = Math.floor(most / 3);
    return (
      marks.slice(0, most - last - 1).join("") + "…" + marks.slice(-last).join("")
    );
  }

  function cost(value) {
    if (value === null || value === undefined) return "–";
    for (const [size, prefix] of [
      [1e12, "T"],
      [1e9, "B"],
      [1e6, "M"],
      [1e3, "k"],
    ]) {
      if (Math.abs(value) >= size * 0.9995) {
        return d3.format(".3~r")(value / size) + prefix;
      }
    }
    return d3.format(".3~r")(value);
  }

  function number(value, form = ".5~g") {
    if (value === null || value === undefined) return "–";
    if (typeof value !== "number") return printable(value);
    return d3.format(form)(value);
  }

  function interval(value, low, high, format) {
    if (value === null || value === undefined) return "–";
    if (low === null || low === undefined) return format(value);
    // A budget without an upper end: some resamples never reach the loss.
    const end = high === null || high === undefined ? "no end" : format(high);
    return `${format(value)} [${format(low)}, ${end}]`;
  }

  return { printable, name, cost, number, interval };
})();

// A colour and a mark for each family, the same on every figure.
const families = (() => {
  const COLOURS = 8;
  const MARKS = [
    d3.symbolCircle,
    d3.symbolSquare,
    d3.symbolTriangle,
    d3.symbolDiamond,
    d3.symbolCross,
    d3.symbolStar,
    d3.symbolWye,
  ];
  const models = data.at("/study/models") ?? [];
  const names = [...new Set(models.map((model) => model.family))];
  const place = new Map(names.map((family, i) => [family, i]));
  return {
    names,
    // 8 and 7 have no common divisor: 56 pairs before one comes again, hollow.
    colour: (family) => `var(--family-${(place.get(family) ?? 0) % COLOURS})`,
    mark: (family) => MARKS[(place.get(family) ?? 0) % MARKS.length],
    hollow: (family) =>
      Math.floor((place.get(family) ?? 0) / (COLOURS * MARKS.length)) % 2 === 1,
  };
})();
