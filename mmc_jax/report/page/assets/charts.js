"use strict";
// Charts of lines, bars and matrices. They compute no number: they place those
// of the result.

const charts = (() => {
  // Pixels of a sheet of paper between its margins.
  const PAPER = 680;

  // Drawn anew where the width changes, so that text keeps its size.
  function onWidth(place, draw) {
    let drawn = 0;
    let printing = false;
    window.addEventListener("beforeprint", () => {
      printing = true;
      drawn = PAPER;
      draw(PAPER);
    });
    window.addEventListener("afterprint", () => {
      printing = false;
      again();
    });
    const again = () => {
      const width = Math.max(300, Math.floor(place.clientWidth));
      if (printing || width === drawn) return;
      drawn = width;
      draw(width);
    };
    new ResizeObserver(again).observe(place);
    again();
  }

  function canvas(place, width, height, caption) {
    place.replaceChildren();
    return drawing(place, width, height, caption);
  }

  // Rows by name are drawn in pieces, so that paper cuts none of them.
  const ROWS_OF_A_PIECE = 40;

  function pieces(place, rows, width, heightOf, caption, draw) {
    place.replaceChildren();
    for (let start = 0; start < rows.length; start += ROWS_OF_A_PIECE) {
      const some = rows.slice(start, start + ROWS_OF_A_PIECE);
      const last = start + some.length === rows.length;
      const svg = drawing(place, width, heightOf(some.length, !start, last), caption);
      if (start) svg.attr("role", null).attr("aria-label", null).attr("aria-hidden", "true");
      draw(svg, some, !start, last);
    }
  }

  function drawing(place, width, height, caption) {
    return d3
      .select(place)
      .append("svg")
      .attr("viewBox", `0 0 ${width} ${height}`)
      .attr("width", width)
      .attr("height", height)
      .attr("role", "img")
      .attr("aria-label", caption);
  }

  // Whether two numbers are there, and have a place on an axis.
  const known = (a, b, axis) =>
    Number.isFinite(a) &&
    Number.isFinite(b) &&
    Number.isFinite(axis(a)) &&
    Number.isFinite(axis(b));

  // A log axis where all is above 0, else a linear one.
  function scale(values, range, log, pad = 0.03) {
    let [low, high] = d3.extent(values.filter(Number.isFinite));
    if (low === undefined) [low, high] = [0, 1];
    if (low === high) [low, high] = [low - Math.abs(low || 1) * 0.1, high + Math.abs(high || 1) * 0.1];
    if (log && low > 0) {
      const more = Math.pow(high / low, pad);
      return d3.scaleLog([low / more, high * more], range);
    }
    const more = (high - low) * pad;
    return d3.scaleLinear([low - more, high + more], range);
  }

  function ticks(axis, number, format) {
    if (!axis.base) return [axis.ticks(number), format];
    const [low, high] = axis.domain();
    // Over less than a decade the ticks of a linear axis are the readable ones.
    if (high / low < 8) return [d3.ticks(low, high, number), format];
    let found = axis.ticks(number);
    const many = Math.log10(high / low) > 3 ? [1] : [1, 2, 5];
    found = found.filter((t) =>
      many.includes(Math.round(t / 10 ** Math.floor(Math.log10(t) + 1e-9))),
    );
    while (found.length > number + 2) found = found.filter((_, i) => i % 2 === 0);
    return [found, format];
  }

  function axes(svg, x, y, box, { xLabel, yLabel, xFormat, yFormat }) {
    const [xTicks] = ticks(x, Math.max(3, (box.right - box.left) / 90));
    const [yTicks] = ticks(y, Math.max(3, (box.bottom - box.top) / 55));
    svg
      .append("g")
      .attr("class", "grid")
      .attr("transform", `translate(${box.left},0)`)
      .call(
        d3
          .axisLeft(y)
          .tickValues(yTicks)
          .tickSize(box.left - box.right)
          .tickFormat(""),
      );
    svg
      .append("g")
      .attr("class", "axis")
      .attr("transform", `translate(0,${box.bottom})`)
      .call(d3.axisBottom(x).tickValues(xTicks).tickFormat(xFormat));
    svg
      .append("g")
      .attr("class", "axis")
      .attr("transform", `translate(${box.left},0)`)
      .call(d3.axisLeft(y).tickValues(yTicks).tickFormat(yFormat));
    svg
      .append("text")
      .attr("x", (box.left + box.right) / 2)
      .attr("y", box.bottom + 36)
      .attr("text-anchor", "middle")
      .text(xLabel);
    svg.append("text").attr("x", 4).attr("y", box.top - 10).text(yLabel);
  }

  const DASHES = ["none", "6 3", "1 3", "2 2", "8 3 2 3", "12 4"];
  const COLOURS = [
    "var(--line-oracle)",
    "var(--family-1)",
    "var(--family-0)",
    "var(--family-3)",
    "var(--family-2)",
    "var(--line-single)",
  ];

  function lines(place, spec) {
    const x0 = data.column(spec.x);
    const series = spec.lines.map((line) => ({
      name: line.name,
      y: data.column(line.y),
      band: line.band && line.band.map(data.column),
    }));
    onWidth(place, (width) => {
      const legend = 18 * series.length;
      const height = 330 + legend;
      const box = { left: 58, right: width - 14, top: 26 + legend, bottom: height - 46 };
      const svg = canvas(place, width, height, spec.caption);
      const x = scale(x0, [box.left, box.right], true);
      const y = scale(
        series.flatMap((line) => [...line.y, ...(line.band ?? []).flat()]),
        [box.bottom, box.top],
        true,
      );
      axes(svg, x, y, box, {
        xLabel: spec.xLabel,
        yLabel: spec.yLabel,
        xFormat: shown.cost,
        yFormat: (value) => shown.number(value, ".4~g"),
      });
      const curve = spec.steps ? d3.curveStepAfter : d3.curveLinear;
      series.forEach((line, i) => {
        if (line.band) {
          svg
            .append("path")
            .attr("fill", COLOURS[i])
            .attr("fill-opacity", 0.15)
            .attr(
              "d",
              d3
                .area()
                .curve(curve)
                .defined((_, k) => known(line.band[0][k], line.band[1][k], y))
                .x((_, k) => x(x0[k]))
                .y0((_, k) => y(line.band[0][k]))
                .y1((_, k) => y(line.band[1][k]))(x0),
            );
        }
        svg
          .append("path")
          .attr("fill", "none")
          .attr("stroke", COLOURS[i])
          .attr("stroke-width", 1.8)
          .attr("stroke-dasharray", DASHES[i])
          .attr(
            "d",
            d3
              .line()
              .curve(curve)
              .defined((_, k) => known(line.y[k], line.y[k], y))
              .x((_, k) => x(x0[k]))
              .y((_, k) => y(line.y[k]))(x0),
          );
        if (spec.marks) {
          svg
            .append("g")
            .attr("fill", COLOURS[i])
            .selectAll("circle")
            .data(d3.range(x0.length).filter((k) => known(x0[k], line.y[k], y)))
            .join("circle")
            .attr("r", 2.5)
            .attr("cx", (k) => x(x0[k]))
            .attr("cy", (k) => y(line.y[k]));
        }
        const row = svg.append("g").attr("transform", `translate(4,${12 + 18 * i})`);
        row
          .append("line")
          .attr("x2", 26)
          .attr("stroke", COLOURS[i])
          .attr("stroke-width", 1.8)
          .attr("stroke-dasharray", DASHES[i]);
        row
          .append("text")
          .attr("x", 32)
          .attr("y", 4)
          .text(line.name + (line.band ? ", with its 95% interval" : ""));
      });
    });
  }

  // A colour bar by the family, and its name, beside a row.
  function rowName(svg, model, x, y, most) {
    svg
      .append("text")
      .attr("x", x)
      .attr("y", y)
      .attr("dy", "0.35em")
      .attr("text-anchor", "end")
      .text(shown.name(model.name, most));
  }

  const ROW = 18;

  function bars(place, spec) {
    const rows = [...data.at(spec.rows)].sort((a, b) =>
      d3.descending(a[spec.panels[0].value], b[spec.panels[0].value]),
    ).slice(0, spec.most ?? Infinity);
    onWidth(place, (width) => {
      const narrow = width < 620;
      const panels = narrow ? spec.panels.slice(0, 1) : spec.panels;
      const left = Math.min(220, width * 0.4);
      const topOf = (first) => (first ? 34 : 0);
      const each = (width - left) / panels.length;
      const scales = panels.map((panel, p) => {
        const start = left + p * each;
        const ends = rows.map(
          (row) => row[panel.value] + (panel.error ? row[panel.error] ?? 0 : 0),
        );
        return d3.scaleLinear(
          [
            Math.min(0, d3.min(rows, (row) => row[panel.value])),
            Math.max(d3.max(ends), 1e-300),
          ],
          [start, start + each - 62],
        );
      });
      const heightOf = (number, first) => topOf(first) + ROW * number;
      pieces(place, rows, width, heightOf, spec.caption, (svg, some, first) => {
        const top = topOf(first);
        some.forEach((row, i) => {
          rowName(svg, row, left - 6, top + ROW * (i + 0.5), Math.floor(left / 7.5));
        });
        panels.forEach((panel, p) => {
          const x = scales[p];
          if (first) {
            svg
              .append("text")
              .attr("x", left + p * each)
              .attr("y", 18)
              .attr("font-weight", 600)
              .text(panel.title);
          }
          some.forEach((row, i) => {
            const y = top + ROW * i;
            const value = row[panel.value];
            svg
              .append("rect")
              .attr("x", Math.min(x(0), x(value)))
              .attr("width", Math.max(1, Math.abs(x(value) - x(0))))
              .attr("y", y + 3)
              .attr("height", ROW - 6)
              .attr("fill", families.colour(row.family));
            const error = panel.error ? row[panel.error] : null;
            if (error) {
              svg
                .append("line")
                .attr("x1", x(value - error))
                .attr("x2", x(value + error))
                .attr("y1", y + ROW / 2)
                .attr("y2", y + ROW / 2)
                .attr("stroke", "var(--ink)");
            }
            svg
              .append("text")
              .attr("x", x(value + (error ?? 0)) + 5)
              .attr("y", y + ROW / 2)
              .attr("dy", "0.35em")
              .attr("class", "faint")
              .text(shown.number(value, panel.form));
          });
        });
      });
    });
  }

  // Estimates with their intervals, a row each, and others beside them.
  function estimates(place, spec) {
    const rows = spec.rows.map((row) => ({
      name: row.name,
      value: data.at(row.at) ?? {},
      beside: row.beside ? (data.at(row.beside) ?? {}).value : undefined,
    }));
    onWidth(place, (width) => {
      const left = Math.min(180, width * 0.4);
      const tall = 24;
      const legend = 22;
      const height = legend + tall * rows.length + 46;
      const svg = canvas(place, width, height, spec.caption);
      const values = rows.flatMap((row) => [
        row.value.value,
        row.value.low,
        row.value.high,
        row.beside,
      ]);
      const known = [0, ...values].filter(Number.isFinite);
      const [low, high] = d3.extent(known);
      const more = 0.04 * (high - low || 1);
      const x = d3.scaleLinear([low - more, high + more], [left, width - 14]);
      const bottom = legend + tall * rows.length;
      svg
        .append("g")
        .attr("class", "axis")
        .attr("transform", `translate(0,${bottom})`)
        .call(
          d3
            .axisBottom(x)
            .ticks(Math.max(3, (width - left) / 90))
            .tickFormat(d3.format(".0%")),
        );
      svg
        .append("text")
        .attr("x", (left + width) / 2)
        .attr("y", bottom + 36)
        .attr("text-anchor", "middle")
        .text(spec.unit);
      svg
        .append("line")
        .attr("x1", x(0))
        .attr("x2", x(0))
        .attr("y1", legend)
        .attr("y2", bottom)
        .attr("stroke", "var(--soft)");
      const cross = (g, at) =>
        g
          .append("path")
          .attr("d", d3.symbol(d3.symbolTimes, 40)())
          .attr("transform", `translate(${at})`)
          .attr("stroke", "var(--soft)")
          .attr("stroke-width", 1.5);
      if (rows.some((row) => Number.isFinite(row.beside))) {
        cross(svg, [10, 10]);
        svg.append("text").attr("x", 22).attr("y", 14).text(spec.beside);
      }
      rows.forEach((row, i) => {
        const y = legend + tall * (i + 0.5);
        rowName(svg, row, left - 8, y, Math.floor(left / 7.5));
        const { value, low: from, high: to } = row.value;
        if (Number.isFinite(from) && Number.isFinite(to)) {
          svg
            .append("line")
            .attr("x1", x(from))
            .attr("x2", x(to))
            .attr("y1", y)
            .attr("y2", y)
            .attr("stroke", "var(--line-router)")
            .attr("stroke-width", 2);
        }
        if (Number.isFinite(value)) {
          svg
            .append("circle")
            .attr("cx", x(value))
            .attr("cy", y)
            .attr("r", 4)
            .attr("fill", "var(--line-router)");
        }
        if (Number.isFinite(row.beside)) cross(svg, [x(row.beside), y]);
      });
    });
  }

  // All numbers of a matrix, made when they are asked for: thousands of cells.
  function matrixTable(place, spec, rows, columns, values) {
    const details = document.createElement("details");
    details.className = "behind";
    const summary = document.createElement("summary");
    summary.textContent =
      `All ${rows.length} × ${columns.length} numbers as a table`;
    details.append(summary);
    details.addEventListener(
      "toggle",
      () => {
        const cell = (tag, text, attributes) => {
          const found = document.createElement(tag);
          found.textContent = text;
          for (const [name, value] of Object.entries(attributes)) {
            found.setAttribute(name, value);
          }
          return found;
        };
        const table = document.createElement("table");
        table.append(cell("caption", spec.caption, {}));
        const head = table.createTHead().insertRow();
        head.append(cell("th", "row", { scope: "col" }));
        for (const name of columns) {
          head.append(cell("th", shown.name(name, 24), { scope: "col", class: "r" }));
        }
        const body = table.createTBody();
        rows.forEach((name, r) => {
          const row = body.insertRow();
          row.append(cell("th", shown.name(name, 40), { scope: "row" }));
          columns.forEach((_, c) => {
            row.append(
              cell("td", shown.number(values[r][c], ".4~g"), {
                class: "r n",
                "data-at": `${spec.values}/${r}/${c}`,
              }),
            );
          });
        });
        const region = document.createElement("div");
        region.className = "scroll";
        region.tabIndex = 0;
        region.setAttribute("role", "region");
        region.setAttribute("aria-label", spec.caption);
        region.append(table);
        details.append(region);
      },
      { once: true },
    );
    place.after(details);
  }

  function legendOfFamilies(place, used) {
    const names = families.names.filter((name) => used.has(name));
    if (names.length < 2) return;
    const list = document.createElement("ul");
    list.className = "families";
    for (const family of names) {
      const item = document.createElement("li");
      const svg = d3
        .select(item)
        .append("svg")
        .attr("width", 14)
        .attr("height", 14)
        .attr("aria-hidden", "true");
      mark(svg.append("g").attr("transform", "translate(7,7)"), family, 60);
      const name = document.createElement("bdi");
      name.textContent = shown.name(family || "no family", 28);
      item.append(name);
      list.append(item);
    }
    place.after(list);
  }

  function mark(g, family, size = 44) {
    const colour = families.colour(family);
    return g
      .append("path")
      .attr("d", d3.symbol(families.mark(family), size)())
      .attr("fill", families.hollow(family) ? "none" : colour)
      .attr("stroke", colour);
  }

  // Squares of a matrix, in shades. The pointer, a tap or the arrow keys choose
  // one, and words below say what it holds.
  const SHADES = 24;

  function heat(place, spec) {
    const values = data.at(spec.values);
    const rows = data.column(spec.rows).map((name) => name || "no domain");
    const columns = data.column(spec.columns);
    const models = data.at(spec.families);
    const order = d3
      .range(models.length)
      .sort(
        (a, b) =>
          families.names.indexOf(models[a].family) -
            families.names.indexOf(models[b].family) || a - b,
      );
    const rowOrder = spec.perRow ? d3.range(rows.length) : order;
    const chosen = [0, 0];
    let layout = null;
    if (spec.all) {
      const caption = place.parentElement.querySelector("figcaption");
      matrixTable(caption, spec, rows, columns, values);
    }

    const words = document.createElement("p");
    words.className = "cursor-words";
    words.setAttribute("aria-live", "polite");
    words.textContent = "Point at a square, tap it, or move by arrow keys.";
    const board = document.createElement("div");
    board.className = "points";
    board.tabIndex = 0;
    board.setAttribute("role", "application");
    board.setAttribute("aria-label", `${spec.caption} Arrow keys move.`);
    place.append(board);
    place.after(words);

    function choose(i, j) {
      if (i < 0 || j < 0 || i >= rowOrder.length || j >= order.length) return;
      [chosen[0], chosen[1]] = [i, j];
      const [r, c] = [rowOrder[i], order[j]];
      const { left, top, side, tall, svg } = layout;
      svg
        .select(".chosen")
        .attr("x", left + side * j - 1)
        .attr("y", top + tall * i - 1)
        .attr("width", side + 1)
        .attr("height", tall + 1);
      words.textContent =
        `${shown.name(rows[r], 60)} × ${shown.name(columns[c], 60)}: ` +
        shown.number(values[r][c]);
      words.dataset.at = `${spec.values}/${r}/${c}`;
    }

    function point(event) {
      const [x, y] = d3.pointer(event, layout.svg.node());
      choose(
        Math.floor((y - layout.top) / layout.tall),
        Math.floor((x - layout.left) / layout.side),
      );
    }
    board.addEventListener("pointermove", point);
    board.addEventListener("pointerdown", point);
    board.addEventListener("keydown", (event) => {
      const step = {
        ArrowLeft: [0, -1],
        ArrowRight: [0, 1],
        ArrowUp: [-1, 0],
        ArrowDown: [1, 0],
      }[event.key];
      if (!step || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      choose(chosen[0] + step[0], chosen[1] + step[1]);
    });

    onWidth(place, (width) => {
      const left = Math.min(190, width * 0.34);
      const room = (width - left - 30) / columns.length;
      const side = room >= 3 ? Math.min(30, Math.floor(room)) : room;
      const tall = spec.perRow ? Math.max(side, 18) : side;
      const named = side >= 14;
      const longest = d3.max(columns, (name) => Math.min([...name].length, 20));
      const top = named ? Math.min(140, 26 + 5.6 * longest) : 12;
      const height = top + tall * rowOrder.length + 4;
      const svg = canvas(board, width, height, spec.caption);
      svg.attr("role", null).attr("aria-label", null).attr("aria-hidden", "true");
      layout = { left, top, side, tall, svg };
      const all = d3.extent(values.flat().filter(Number.isFinite));
      const gap = side > 6 ? 1 : 0;
      const shades = d3.range(SHADES).map(() => []);
      rowOrder.forEach((r, i) => {
        const [low, high] = spec.perRow ? d3.extent(values[r]) : all;
        const y = top + tall * i;
        if (tall >= 14) {
          svg
            .append("text")
            .attr("x", left - 6)
            .attr("y", y + tall / 2)
            .attr("dy", "0.35em")
            .attr("text-anchor", "end")
            .text(shown.name(rows[r], Math.floor(left / 7.5)));
        }
        order.forEach((c, j) => {
          const value = values[r][c];
          if (!Number.isFinite(value)) return;
          let share = high > low ? (value - low) / (high - low) : 0;
          // Of losses the least is dark, of gains the largest.
          if (spec.perRow) share = 1 - share;
          const shade = Math.min(SHADES - 1, Math.floor(share * SHADES));
          shades[shade].push(
            `M${(left + side * j).toFixed(1)},${y.toFixed(1)}h${(side - gap).toFixed(1)}` +
              `v${(tall - gap).toFixed(1)}h${(gap - side).toFixed(1)}Z`,
          );
        });
      });
      shades.forEach((squares, shade) => {
        if (!squares.length) return;
        svg
          .append("path")
          .attr("fill", "var(--link)")
          .attr("fill-opacity", 0.05 + (0.95 * shade) / (SHADES - 1))
          .attr("d", squares.join(""));
      });
      order.forEach((c, j) => {
        const x = left + side * j;
        if (named) {
          svg
            .append("text")
            .attr("transform", `translate(${x + side / 2 + 4},${top - 10}) rotate(-55)`)
            .text(shown.name(columns[c], 20));
        }
        svg
          .append("rect")
          .attr("x", x)
          .attr("width", side)
          .attr("y", top - 7)
          .attr("height", 4)
          .attr("fill", families.colour(models[c].family));
      });
      svg.append("rect").attr("class", "chosen");
    });
    legendOfFamilies(words, new Set(models.map((model) => model.family)));
  }

  // Which models are in which subsets of a line.
  function membership(place, spec) {
    const line = data.at(spec.line);
    const models = data.at(spec.models);
    const placeOf = new Map(models.map((model, m) => [model.name, m]));
    const used = new Set(line.models.flat().map((name) => placeOf.get(name)));
    const order = [...used].sort(
      (a, b) =>
        families.names.indexOf(models[a].family) -
          families.names.indexOf(models[b].family) || models[a].cost - models[b].cost,
    );
    onWidth(place, (width) => {
      const left = Math.min(220, width * 0.4);
      const topOf = (first) => (first ? 6 : 0);
      const heightOf = (number, first, last) =>
        topOf(first) + ROW * number + (last ? 30 : 0);
      const x = d3.scaleLinear([0, line.models.length], [left, width - 4]);
      // One path a model: runs of points that have it.
      const runs = new Map(order.map((m) => [m, []]));
      line.models.forEach((subset, i) => {
        for (const name of subset) {
          const of = runs.get(placeOf.get(name));
          const last = of[of.length - 1];
          if (last && last[1] === i) last[1] = i + 1;
          else of.push([i, i + 1]);
        }
      });
      pieces(place, order, width, heightOf, spec.caption, (svg, some, first, last) => {
        some.forEach((m, i) => {
          const y = topOf(first) + ROW * i;
          rowName(svg, models[m], left - 6, y + ROW / 2, Math.floor(left / 7.5));
          svg
            .append("path")
            .attr("fill", families.colour(models[m].family))
            .attr(
              "d",
              runs
                .get(m)
                .map(([a, b]) => `M${x(a)},${y + 3}H${x(b)}v${ROW - 6}H${x(a)}Z`)
                .join(""),
            );
        });
        if (last) {
          svg
            .append("text")
            .attr("x", left)
            .attr("y", heightOf(some.length, first, last) - 10)
            .text(`${line.models.length} subsets, from cheap to dear`);
        }
      });
    });
  }

  return { known, lines, bars, estimates, heat, membership, onWidth, canvas, scale, axes, mark, legendOfFamilies };
})();
