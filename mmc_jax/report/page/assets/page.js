"use strict";
// Starts the page: draws the charts, and says where a number comes from.

(() => {
  const source = document.getElementById("source");

  // What the fields of a number are, in full.
  function words(element) {
    const given = element.dataset.at ?? element.dataset.from;
    const fields = given.startsWith("[") ? JSON.parse(given) : [given];
    return fields
      .map((field) => {
        const value = data.at(field);
        return `result.json#${shown.printable(field)} = ${shown.name(
          typeof value === "string" ? value : JSON.stringify(value),
          80,
        )}`;
      })
      .join("\n");
  }

  function show(event) {
    const number =
      event.target instanceof Element
        ? event.target.closest("[data-at], [data-from]") ??
          event.target.querySelector?.(":scope > [data-at]")
        : null;
    if (!number) {
      if (event.type !== "pointerover") source.hidden = true;
      return;
    }
    source.textContent = words(number);
    source.hidden = false;
  }
  document.addEventListener("pointerover", show);
  document.addEventListener("pointerdown", show);
  document.addEventListener("focusin", show);
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") source.hidden = true;
  });

  // One tab stop a table; arrow keys go from cell to cell.
  const STEPS = {
    ArrowLeft: [0, -1],
    ArrowRight: [0, 1],
    ArrowUp: [-1, 0],
    ArrowDown: [1, 0],
  };
  document.addEventListener("keydown", (event) => {
    const region = event.target.closest?.(".scroll");
    const step = STEPS[event.key];
    if (!region || !step || event.ctrlKey || event.metaKey || event.altKey) {
      return;
    }
    const rows = [...region.querySelectorAll("tbody tr")];
    const cell = event.target.closest("td, th");
    let row = 0;
    let place = 1;
    if (cell) {
      row = rows.indexOf(cell.parentElement) + step[0];
      place = cell.cellIndex + step[1];
    }
    const next = rows[row]?.cells[place];
    if (!next) return;
    event.preventDefault();
    next.tabIndex = -1;
    next.focus();
    next.scrollIntoView({ block: "nearest", inline: "nearest" });
  });

  for (const figure of document.querySelectorAll("figure[data-chart]")) {
    const spec = JSON.parse(figure.dataset.chart);
    const place = figure.querySelector(".drawing");
    try {
      charts[spec.kind](place, spec, figure);
    } catch (error) {
      // The other charts, and the table behind this one, are still there.
      place.textContent = "This chart could not be drawn.";
      console.error(error);
    }
  }
  document.documentElement.dataset.ready = "yes";
})();
