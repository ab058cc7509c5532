"use strict";
// The law's figure: lines, their laws, a cursor over the points, and two
// sliders that read the laws. Every number is a field of the result.

charts.law = (place, spec, figure) => {
  const NAMES = {
    single: "single models",
    router: "a router",
    mixture: "mixtures",
    homogeneous: "oracle, one family",
    heterogeneous: "oracle, mixed families",
    routed: "oracle, one model runs",
    oracle: "oracle, any subset",
  };
  const DASHES = {
    single: "none",
    router: "10 2 2 2",
    mixture: "7 3",
    homogeneous: "2 2",
    heterogeneous: "8 3 2 3",
    routed: "4 4",
    oracle: "none",
  };
  // Lines with more points have no mark at each.
  const MOST_MARKS = 150;
  const MOST_NAMES = 12;

  const views = data.at("/law/views");
  // A router's line is called by its router.
  const router = views.map((one) => one.lines.router?.router).find(Boolean);
  if (router) NAMES.router = `router: ${shown.name(router, 40)}`;
  const models = data.at("/study/models") ?? [];
  const state = {
    view: 0,
    logCost: true,
    logLoss: true,
    hidden: new Set(),
    line: views[0].lines.oracle ? "oracle" : Object.keys(views[0].lines)[0],
    point: 0,
    budget: 0,
    loss: 0,
  };
  const view = () => views[state.view];
  const lines = () =>
    Object.keys(NAMES).filter(
      (name) => view().lines[name] && !state.hidden.has(name),
    );
  const colour = (name) => `var(--line-${name})`;
  const fieldOf = (name) => `/law/views/${state.view}/lines/${name}`;

  // ------------------------------------------------------------- controls
  function make(tag, attributes = {}, ...children) {
    const found = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (name in found && name !== "list") found[name] = value;
      else found.setAttribute(name, value);
    }
    found.append(...children);
    return found;
  }

  function group(title, ...children) {
    return make("fieldset", {}, make("legend", {}, title), ...children);
  }

  function choice(title, values, labels, chosen, onChange) {
    if (values.length < 2) return [];
    const select = make(
      "select",
      { "aria-label": title },
      ...values.map((value, i) =>
        make("option", { value: i, selected: value === chosen }, labels[i]),
      ),
    );
    select.addEventListener("change", () => onChange(values[select.value]));
    return [make("label", {}, `${title} `, select)];
  }

  const distinct = (key) => [...new Set(views.map((one) => one[key]))];
  const of = (key, value) => views.find((one) => one[key] === value);

  function switchTo(key, value) {
    const wanted = { normalisation: view().normalisation, cost: view().cost };
    wanted[key] = value;
    const found = views.findIndex(
      (one) =>
        one.normalisation === wanted.normalisation && one.cost === wanted.cost,
    );
    if (found < 0) return;
    state.view = found;
    if (!view().lines[state.line]) state.line = Object.keys(view().lines)[0];
    state.point = Math.min(state.point, numPoints(state.line) - 1);
    start();
  }

  function tick(title, checked, onChange, swatch) {
    const box = make("input", { type: "checkbox", checked });
    box.addEventListener("change", () => onChange(box.checked));
    const label = make("label", {}, box);
    if (swatch) label.append(swatch);
    label.append(title);
    return label;
  }

  const controls = make("div", { className: "controls" });
  controls.append(
    group(
      "Axes",
      ...choice(
        "Loss",
        distinct("normalisation"),
        distinct("normalisation").map((n) => of("normalisation", n).loss_unit),
        view().normalisation,
        (value) => switchTo("normalisation", value),
      ),
      ...choice(
        "Cost",
        distinct("cost"),
        distinct("cost").map((n) => of("cost", n).cost_label),
        view().cost,
        (value) => switchTo("cost", value),
      ),
      tick("log cost", true, (on) => {
        state.logCost = on;
        redraw();
      }),
      tick("log loss", true, (on) => {
        state.logLoss = on;
        redraw();
      }),
    ),
  );
  const toggles = group("Lines");
  for (const name of Object.keys(NAMES)) {
    if (!views.some((one) => one.lines[name])) continue;
    const swatch = d3.create("svg").attr("width", 26).attr("height", 10).attr("aria-hidden", "true");
    swatch
      .append("line")
      .attr("x2", 26)
      .attr("y1", 5)
      .attr("y2", 5)
      .attr("stroke", colour(name))
      .attr("stroke-width", 3)
      .attr("stroke-dasharray", DASHES[name]);
    toggles.append(
      tick(
        NAMES[name],
        true,
        (on) => {
          if (on) state.hidden.delete(name);
          else state.hidden.add(name);
          if (!lines().includes(state.line) && lines().length) {
            state.line = lines().at(-1);
            state.point = 0;
          }
          redraw();
        },
        swatch.node(),
      ),
    );
  }
  controls.append(toggles);

  // ------------------------------------------------------- points, in words
  const numPoints = (name) => view().lines[name].costs.length;

  // Other columns of the study's own frontier, at the same point.
  function columnsOf(i) {
    if (state.view || state.line !== "oracle") return [];
    const row = data.at(`/study/frontier/${i}`) ?? {};
    const found = [];
    const field = (key) => `/study/frontier/${i}/${key}`;
    if (Number.isFinite(row.loss_low)) {
      found.push([
        "95% interval",
        `${shown.number(row.loss_low)} to ${shown.number(row.loss_high)}`,
        field("loss_low"),
      ]);
    }
    if (Number.isFinite(row.lower_bound)) {
      found.push([
        row.proven ? "proven bound" : "bound",
        shown.number(row.lower_bound),
        field("lower_bound"),
      ]);
    }
    if (Number.isFinite(row.held_out_loss)) {
      found.push([
        "held-out loss",
        shown.number(row.held_out_loss),
        field("held_out_loss"),
      ]);
    }
    const half = data.at(`/study/cross_fitted/budgets/${i}`);
    if (half && half.budget === row.cost) {
      found.push([
        "loss on the half that did not choose",
        shown.number(half.held_out),
        `/study/cross_fitted/budgets/${i}/held_out`,
      ]);
    }
    return found;
  }

  function subsetOf(i) {
    const subset = view().lines[state.line].models[i];
    const names = subset
      .slice(0, MOST_NAMES)
      .map((name) => shown.name(name, 40));
    const more = subset.length - names.length;
    return names.join(", ") + (more > 0 ? ` and ${more} more` : "");
  }

  function wordsOf(i) {
    const line = view().lines[state.line];
    const rest = columnsOf(i).map(([title, value]) => `${title} ${value}`);
    const number = line.models[i].length;
    return [
      `${NAMES[state.line]}, point ${i + 1} of ${line.costs.length}`,
      `cost ${shown.cost(line.costs[i])}`,
      `loss ${shown.number(line.losses[i])}`,
      ...rest,
      `${number} ${number === 1 ? "model" : "models"}: ${subsetOf(i)}`,
    ].join("; ");
  }

  const cursor = make("div", {
    className: "points",
    tabIndex: 0,
    role: "slider",
    "aria-label":
      "Points of the lines. Left and right move along a line, up and down from line to line.",
  });
  const words = make("p", { className: "cursor-words" });
  const laws = make("div", { className: "laws" });

  // --------------------------------------------------------------- drawing
  let drawn = null;

  function redraw() {
    if (drawn) draw(drawn.width);
  }

  function scales(width, box) {
    const costs = [];
    const losses = [];
    for (const name of lines()) {
      costs.push(...view().lines[name].costs);
      losses.push(...view().lines[name].losses);
    }
    costs.push(...view().model_costs);
    const [least, most] = d3.extent(losses);
    // Models far above all lines would press the lines together.
    const room = least + (most - least) * 1.25;
    losses.push(...view().model_losses.filter((loss) => loss <= room));
    costs.push(view().budgets.at(-1));
    for (const name of lines()) {
      const readings = view().lines[name].readings;
      if (readings) losses.push(readings.loss.at(-1));
    }
    return [
      charts.scale(costs, [box.left, box.right], state.logCost, 0.01),
      charts.scale(losses, [box.bottom, box.top], state.logLoss),
    ];
  }

  function draw(width) {
    const height = Math.max(340, Math.min(560, width * 0.62));
    const box = { left: 54, right: width - 12, top: 30, bottom: height - 46 };
    const svg = charts.canvas(cursor, width, height, figure.querySelector("figcaption").textContent);
    // The slider around it speaks for it.
    svg.attr("role", null).attr("aria-label", null).attr("aria-hidden", "true");
    const [x, y] = scales(width, box);
    drawn = { width, x, y, box, svg };
    charts.axes(svg, x, y, box, {
      xLabel: view().cost_label,
      yLabel: `Loss (${view().loss_unit})`,
      xFormat: shown.cost,
      yFormat: (value) => shown.number(value, ".4~g"),
    });
    const clip = "law-clip";
    svg
      .append("clipPath")
      .attr("id", clip)
      .append("rect")
      .attr("x", box.left)
      .attr("y", box.top)
      .attr("width", box.right - box.left)
      .attr("height", box.bottom - box.top);
    const inside = svg.append("g").attr("clip-path", `url(#${clip})`);
    const dearest = view().budgets[view().num_budgets_inside - 1];
    // Beyond the data: where laws are all there is.
    inside
      .append("rect")
      .attr("class", "beyond-data")
      .attr("x", x(dearest))
      .attr("width", Math.max(0, box.right - x(dearest)))
      .attr("y", box.top)
      .attr("height", box.bottom - box.top);
    models.forEach((model, m) => {
      const at = [x(view().model_costs[m]), y(view().model_losses[m])];
      if (!at.every(Number.isFinite)) return;
      charts
        .mark(inside.append("g").attr("transform", `translate(${at})`), model.family)
        .attr("fill-opacity", 0.75);
    });
    for (const name of lines()) drawLine(inside, name, x, y);
    inside.append("g").attr("class", "read");
    inside.append("g").attr("class", "cursor");
    drawReading();
    drawCursor();
  }

  function drawLine(svg, name, x, y) {
    const line = view().lines[name];
    const { readings } = line;
    if (readings) {
      const budgets = view().budgets;
      if (readings.loss_low.some((value) => value !== null)) {
        svg
          .append("path")
          .attr("fill", colour(name))
          .attr("fill-opacity", 0.1)
          .attr(
            "d",
            d3
              .area()
              .defined((_, i) =>
                charts.known(readings.loss_low[i], readings.loss_high[i], y),
              )
              .x((_, i) => x(budgets[i]))
              .y0((_, i) => y(readings.loss_low[i]))
              .y1((_, i) => y(readings.loss_high[i]))(budgets),
          );
      }
      svg
        .append("path")
        .attr("class", "fitted")
        .attr("fill", "none")
        .attr("stroke", colour(name))
        .attr("stroke-dasharray", "1 3")
        .attr(
          "d",
          d3
            .line()
            .defined((_, i) => charts.known(readings.loss[i], readings.loss[i], y))
            .x((_, i) => x(budgets[i]))
            .y((_, i) => y(readings.loss[i]))(budgets),
        );
    }
    svg
      .append("path")
      .attr("class", "line")
      .attr("data-line", name)
      .attr("fill", "none")
      .attr("stroke", colour(name))
      .attr("stroke-width", name === "oracle" ? 2.4 : 1.8)
      .attr("stroke-dasharray", DASHES[name])
      .attr(
        "d",
        d3
          .line()
          .curve(name === "routed" ? d3.curveLinear : d3.curveStepAfter)
          .defined((_, i) =>
            charts.known(line.costs[i], line.costs[i], x) &&
            charts.known(line.losses[i], line.losses[i], y),
          )
          .x((_, i) => x(line.costs[i]))
          .y((_, i) => y(line.losses[i]))(line.costs),
      );
    if (line.costs.length <= MOST_MARKS) {
      svg
        .append("g")
        .attr("fill", colour(name))
        .selectAll("circle")
        .data(d3.range(line.costs.length).filter(
          (i) => Number.isFinite(x(line.costs[i])) && Number.isFinite(line.losses[i]),
        ))
        .join("circle")
        .attr("r", 2.2)
        .attr("cx", (i) => x(line.costs[i]))
        .attr("cy", (i) => y(line.losses[i]));
    }
  }

  function drawCursor() {
    const { svg, x, y, box } = drawn;
    const g = svg.select(".cursor");
    g.selectAll("*").remove();
    if (!lines().includes(state.line)) {
      words.textContent = "No line is shown.";
      return;
    }
    const line = view().lines[state.line];
    const at = [x(line.costs[state.point]), y(line.losses[state.point])];
    if (at.every(Number.isFinite)) {
      g.append("line").attr("x1", at[0]).attr("x2", at[0]).attr("y1", box.top).attr("y2", box.bottom);
      g.append("circle").attr("cx", at[0]).attr("cy", at[1]).attr("r", 6).attr("stroke", colour(state.line));
    }
    const said = wordsOf(state.point);
    words.textContent = said;
    words.dataset.from = JSON.stringify([
      `${fieldOf(state.line)}/costs/${state.point}`,
      `${fieldOf(state.line)}/losses/${state.point}`,
      ...columnsOf(state.point).map((row) => row[2]),
    ]);
    words.style.borderLeftColor = colour(state.line);
    cursor.setAttribute("aria-valuemin", 1);
    cursor.setAttribute("aria-valuemax", line.costs.length);
    cursor.setAttribute("aria-valuenow", state.point + 1);
    cursor.setAttribute("aria-valuetext", said);
  }

  // ------------------------------------------------------ pointer and keys
  function nearest(event) {
    const [px, py] = d3.pointer(event, drawn.svg.node());
    let best = [Infinity, null, 0];
    for (const name of lines()) {
      const line = view().lines[name];
      for (let i = 0; i < line.costs.length; i += 1) {
        const dx = drawn.x(line.costs[i]) - px;
        const dy = drawn.y(line.losses[i]) - py;
        const far = dx * dx + dy * dy;
        if (far < best[0]) best = [far, name, i];
      }
    }
    return best;
  }

  function point(event) {
    const [, name, i] = nearest(event);
    if (name === null) return;
    state.line = name;
    state.point = i;
    drawCursor();
  }
  cursor.addEventListener("pointermove", point);
  cursor.addEventListener("pointerdown", point);

  cursor.addEventListener("keydown", (event) => {
    const shownLines = lines();
    if (!shownLines.length || event.ctrlKey || event.metaKey || event.altKey) {
      return;
    }
    const last = numPoints(state.line) - 1;
    const far = Math.max(1, Math.round(last / 10));
    const moves = {
      ArrowLeft: -1,
      ArrowRight: 1,
      PageDown: -far,
      PageUp: far,
      Home: -Infinity,
      End: Infinity,
    };
    if (event.key in moves) {
      state.point = Math.max(0, Math.min(last, state.point + moves[event.key]));
    } else if (event.key === "ArrowUp" || event.key === "ArrowDown") {
      const step = event.key === "ArrowDown" ? 1 : -1;
      const at = shownLines.indexOf(state.line) + step;
      if (!shownLines[at]) return;
      // The point of the other line that the same budget buys.
      const cost = view().lines[state.line].costs[state.point];
      state.line = shownLines[at];
      state.point = Math.max(0, d3.bisectRight(view().lines[state.line].costs, cost) - 1);
    } else {
      return;
    }
    event.preventDefault();
    drawCursor();
  });

  // -------------------------------------------------- the reading of laws
  const reader = make("div", { className: "reader" });
  const sliders = {};
  for (const [key, title] of [
    ["budget", "Budget"],
    ["loss", "Loss"],
  ]) {
    const id = `read-${key}`;
    const slider = make("input", { type: "range", id, min: 0, step: 1 });
    const value = make("output", { id: `${id}-value` });
    value.setAttribute("for", id);
    slider.addEventListener("input", () => {
      state[key] = Number(slider.value);
      state.reading = key;
      read();
      drawReading();
    });
    sliders[key] = { slider, value };
    const label = make("label", {}, title);
    label.setAttribute("for", id);
    reader.append(label, slider, value);
  }

  function read() {
    const { budgets, losses, num_budgets_inside: inside } = view();
    const budget = budgets[state.budget];
    const loss = losses[state.loss];
    const beyond = state.budget >= inside;
    sliders.budget.value.textContent =
      shown.cost(budget) + (beyond ? " (beyond the data)" : "");
    sliders.loss.value.textContent = shown.number(loss);
    sliders.budget.slider.setAttribute("aria-valuetext", sliders.budget.value.textContent);
    sliders.loss.slider.setAttribute("aria-valuetext", sliders.loss.value.textContent);
    const body = make("tbody");
    for (const name of Object.keys(NAMES).filter((n) => view().lines[n])) {
      const { readings } = view().lines[name];
      const row = make("tr", {}, make("th", { scope: "row" }, NAMES[name]));
      if (!readings) {
        row.append(make("td", { colSpan: 2 }, "no law"));
        body.append(row);
        continue;
      }
      const takes = readings.budget[state.loss];
      const cells = [
        [
          shown.interval(
            readings.loss[state.budget],
            readings.loss_low[state.budget],
            readings.loss_high[state.budget],
            (value) => shown.number(value, ".4g"),
          ),
          beyond,
          `loss/${state.budget}`,
        ],
        [
          takes === null
            ? "never: the floor is above it"
            : shown.interval(
                takes,
                readings.budget_low[state.loss],
                readings.budget_high[state.loss],
                shown.cost,
              ),
          takes === null || takes > budgets[inside - 1],
          takes === null ? null : `budget/${state.loss}`,
        ],
      ];
      for (const [text, far, field] of cells) {
        const cell = make("td", { className: far ? "r beyond" : "r" }, text);
        if (field) cell.dataset.at = `${fieldOf(name)}/readings/${field}`;
        row.append(cell);
      }
      body.append(row);
    }
    laws.replaceChildren(
      make(
        "table",
        {},
        make("caption", {}, "What the laws say, with 95% intervals over texts; grey and slanted beyond the data"),
        make(
          "thead",
          {},
          make(
            "tr",
            {},
            make("th", { scope: "col" }, "line"),
            make("th", { scope: "col", className: "r" }, `loss at ${shown.cost(budget)}`),
            make("th", { scope: "col", className: "r" }, `budget for loss ${shown.number(loss)}`),
          ),
        ),
        body,
      ),
    );
  }

  function drawReading() {
    const { svg, x, y, box } = drawn;
    const g = svg.select(".read");
    g.selectAll("*").remove();
    const at = x(view().budgets[state.budget]);
    const high = y(view().losses[state.loss]);
    if (state.reading === "budget" && Number.isFinite(at)) {
      g.append("line").attr("x1", at).attr("x2", at).attr("y1", box.top).attr("y2", box.bottom);
    }
    if (state.reading === "loss" && Number.isFinite(high)) {
      g.append("line").attr("x1", box.left).attr("x2", box.right).attr("y1", high).attr("y2", high);
    }
  }

  // ----------------------------------------------------------------- start
  function start() {
    const { budgets, losses, num_budgets_inside: inside } = view();
    state.budget = inside - 1;
    state.loss = Math.floor(losses.length / 2);
    sliders.budget.slider.max = budgets.length - 1;
    sliders.loss.slider.max = losses.length - 1;
    sliders.budget.slider.value = state.budget;
    sliders.loss.slider.value = state.loss;
    read();
    redraw();
  }

  state.point = numPoints(state.line) - 1;
  const region = make("div", { className: "scroll" }, laws);
  region.tabIndex = 0;
  region.setAttribute("role", "region");
  region.setAttribute("aria-label", "What the laws say");
  place.before(controls);
  place.append(cursor);
  place.after(
    words,
    make("h3", {}, "Read the laws"),
    reader,
    region,
  );
  charts.legendOfFamilies(place, new Set(models.map((model) => model.family)));
  start();
  charts.onWidth(place, draw);
};
